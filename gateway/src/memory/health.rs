//! How a host and its GPUs are, worked out once for all who ask, and kept for as long as it stays so.
//!
//! It follows from the values and from nothing else, but for silence, which comes with the clock. So what was worked out
//! holds until something of the host changes, or the next of its GPUs has been silent for too long: what is kept is what
//! would be worked out anew, and a thousand who ask at once cost one.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nexus_common::domain::{Condition, Finding, Severity, Status, Thresholds, Timestamp, is_silent};

use super::{Gpu, Machine};

/// How a host is.
#[derive(Debug)]
pub(crate) struct Health {
    /// Degraded where a GPU is missing, never reported, or something worse than idleness is the matter with it.
    pub(crate) status: Status,
    /// Its GPUs, in the machine's order.
    pub(crate) gpus: Vec<GpuHealth>,
    /// What is the matter with those it should have and that never reported, by index.
    pub(crate) never_seen: Vec<(String, Vec<Finding>)>,
    /// Those, and those it goes on without.
    pub(crate) missing: Vec<String>,
    /// Its places for GPUs, by whether they report.
    pub(crate) places: Places,
    /// Until when all of this stays so where nothing is reported: the last moment before another GPU is silent.
    until: Timestamp,
}

/// How a GPU is.
#[derive(Debug, PartialEq)]
pub(crate) struct GpuHealth {
    /// Degraded where something worse than idleness is the matter with it.
    pub(crate) status: Status,
    /// What is the matter with it.
    pub(crate) findings: Vec<Finding>,
}

/// Places for GPUs on a host, by whether they report.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Places {
    pub(crate) ok: u32,
    pub(crate) stale: u32,
    /// Without any value yet.
    pub(crate) empty: u32,
    /// When the one that reported last did.
    pub(crate) newest: Option<Timestamp>,
    /// The same of the one that has been silent for longest.
    pub(crate) oldest: Option<Timestamp>,
}

impl Health {
    pub(crate) fn of(machine: &Machine, now: Timestamp, thresholds: &Thresholds) -> Self {
        let host = machine.host();
        let places = Places::of(host.times(), now, thresholds);
        let gpus: Vec<_> = machine.gpus().values().map(|gpu| GpuHealth::of(machine, gpu, now, thresholds)).collect();
        let indices = host.never_seen().into_iter().map(|index| index.to_string());
        let never_seen = indices.map(|index| {
            let findings = machine.never_seen_findings(&index, now, thresholds);
            (index, findings)
        });
        let never_seen: Vec<_> = never_seen.collect();
        let reported = machine.gpus().values().all(|gpu| gpu.last_seen.is_some());
        let complete = reported && never_seen.is_empty() && !gpus.iter().any(|gpu| gpu.findings.iter().any(degrades));
        Health {
            status: Status::of(places.newest, now, thresholds.stale_after, complete),
            gpus,
            never_seen,
            missing: host.missing(thresholds.stale_after),
            places,
            until: until(machine, now, thresholds.stale_after),
        }
    }

    /// What is the matter with its GPUs, those that never reported among them.
    pub(crate) fn findings(&self) -> impl Iterator<Item = &Finding> {
        let never_seen = self.never_seen.iter().flat_map(|(_, findings)| findings);
        self.gpus.iter().flat_map(|gpu| &gpu.findings).chain(never_seen)
    }
}

/// The last moment at which nobody else is silent than now.
fn until(machine: &Machine, now: Timestamp, stale_after: Duration) -> Timestamp {
    let after = i64::try_from(stale_after.as_micros()).unwrap_or(i64::MAX);
    let times = machine.gpus().values().map(|gpu| gpu.last_seen).chain(machine.host().times()).flatten();
    let speaking = times.filter(|seen| !is_silent(*seen, now, stale_after));
    speaking.min().map_or(Timestamp(i64::MAX), |seen| Timestamp(seen.0.saturating_add(after)))
}

impl GpuHealth {
    fn of(machine: &Machine, gpu: &Gpu, now: Timestamp, thresholds: &Thresholds) -> Self {
        let findings = machine.findings(gpu, now, thresholds);
        let status = Status::of(gpu.last_seen, now, thresholds.stale_after, !findings.iter().any(degrades));
        GpuHealth { status, findings }
    }
}

/// Idle GPUs cost money, but nothing is wrong with them; and what only deserves a notice does not degrade a host.
fn degrades(finding: &Finding) -> bool {
    finding.condition != Condition::IdleAllocated && finding.severity >= Severity::Warning
}

impl Places {
    fn of(times: impl Iterator<Item = Option<Timestamp>>, now: Timestamp, thresholds: &Thresholds) -> Self {
        let mut places = Places::default();
        for seen in times {
            *match seen {
                None => &mut places.empty,
                Some(seen) if is_silent(seen, now, thresholds.stale_after) => &mut places.stale,
                Some(_) => &mut places.ok,
            } += 1;
            places.newest = places.newest.max(seen);
            places.oldest = [places.oldest, seen].into_iter().flatten().min();
        }
        places
    }
}

/// What was worked out of a host last, and since when it holds.
#[derive(Debug, Default)]
pub(super) struct Kept(Mutex<Option<(Timestamp, Arc<Health>)>>);

impl Kept {
    /// What holds at this moment: what is kept, or what is worked out now.
    pub(super) fn at(&self, now: Timestamp, work_out: impl FnOnce() -> Health) -> Arc<Health> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*kept {
            // A clock that was set back could call somebody silent who is not.
            Some((since, health)) if (*since..=health.until).contains(&now) => Arc::clone(health),
            _ => {
                let health = Arc::new(work_out());
                *kept = Some((now, Arc::clone(&health)));
                health
            }
        }
    }

    /// Something changed.
    pub(super) fn forget(&mut self) {
        *self.0.get_mut().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashSet};

    use nexus_common::domain::{Metric, Sign, SignKind};
    use nexus_common::queue::{Feed, FeedSample};
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::memory::{Entry, Fleet, Identity, Noted};

    const SECOND: i64 = 1_000_000;
    const START: Timestamp = Timestamp(1_750_000_000 * SECOND);

    fn at(second: i64) -> Timestamp {
        START.shifted(second * SECOND)
    }

    /// What can happen to a fleet of two hosts with four places each. Times are seconds.
    #[derive(Debug, Clone)]
    enum Act {
        Tell {
            host: u8,
            gpu: u8,
            metric: usize,
            value: f64,
            second: i64,
        },
        /// A GPU can be somewhere else than before.
        Enter {
            id: i32,
            host: u8,
            gpu: u8,
            second: Option<i64>,
        },
        Settle {
            found: u16,
        },
        Remember {
            host: u8,
            gpu: u8,
            since: i64,
        },
        Wait {
            seconds: i64,
        },
    }

    const METRICS: [&str; 4] = ["temperature_celsius", "xid", "gpu_utilization", "memory_used_mib"];

    fn act() -> impl Strategy<Value = Act> {
        let place = || (0..2_u8, 0..4_u8);
        let tell = (place(), 0..METRICS.len(), prop::sample::select(vec![0.0, 79.0, 90.0, 4096.0]), 0..900_i64);
        prop_oneof![
            4 => tell.prop_map(|((host, gpu), metric, value, second)| Act::Tell { host, gpu, metric, value, second }),
            3 => (0..8, place(), prop::option::of(0..900_i64)).prop_map(|(id, (host, gpu), second)| Act::Enter { id, host, gpu, second }),
            1 => any::<u16>().prop_map(|found| Act::Settle { found }),
            1 => (place(), 0..900_i64).prop_map(|((host, gpu), since)| Act::Remember { host, gpu, since }),
            // Back, too: clocks are set.
            3 => (-200..400_i64).prop_map(|seconds| Act::Wait { seconds }),
        ]
    }

    fn name(host: u8) -> String {
        format!("h{host}")
    }

    fn feed(host: u8, gpu: u8, metric: usize, value: f64, second: i64) -> Feed {
        let sample = FeedSample {
            host_id: name(host),
            gpu_id: gpu.to_string(),
            uuid: None,
            timestamp_us: at(second).0,
            data: BTreeMap::from([(METRICS[metric].to_owned(), value)]),
        };
        Feed {
            v: 1,
            batch: String::new(),
            samples: vec![sample],
            left_out: 0,
            untold: 0,
            events: Vec::new(),
            traceparent: None,
        }
    }

    fn entry(id: i32, host: u8, gpu: u8, second: Option<i64>) -> Entry {
        let identity =
            Identity { id, gpu_id: gpu.to_string(), uuid: None, model: None, device: None, labels: Value::Null };
        let mut gpu = Gpu::new(identity);
        if let Some(second) = second {
            gpu.take(&Metric::named("power_watts"), 71.5, at(second));
        }
        Entry { cluster_id: "c".to_owned(), host_id: name(host), gpu }
    }

    fn noted(host: u8, gpu: u8, since: i64) -> Noted {
        let sign = Sign { kind: SignKind::Hot, since: at(since), seen: at(since), value: 90.0 };
        Noted { cluster_id: "c".to_owned(), host_id: name(host), gpu_id: gpu.to_string(), sign }
    }

    proptest! {
        /// Whatever happens between two questions, and however much time passes.
        #[test]
        fn what_is_kept_is_what_would_be_worked_out_anew(acts in prop::collection::vec(act(), 1..60)) {
            let (mut fleet, thresholds, mut now) = (Fleet::default(), Thresholds::default(), at(450));
            for act in acts {
                match act {
                    Act::Tell { host, gpu, metric, value, second } => {
                        fleet.take("c", &feed(host, gpu, metric, value, second), now, &thresholds);
                    }
                    Act::Enter { id, host, gpu, second } => fleet.enter(entry(id, host, gpu, second)),
                    Act::Settle { found } => {
                        let found: HashSet<i32> = (0..8).filter(|id| found & (1 << id) != 0).collect();
                        fleet.settle(&found, &HashSet::new());
                    }
                    Act::Remember { host, gpu, since } => fleet.remember(vec![noted(host, gpu, since)]),
                    Act::Wait { seconds } => now = now.shifted(seconds * SECOND),
                }
                for machine in fleet.clusters.values().flat_map(BTreeMap::values) {
                    let (kept, anew) = (machine.health(now, &thresholds), Health::of(machine, now, &thresholds));
                    prop_assert_eq!((&kept.places, &kept.gpus), (&anew.places, &anew.gpus));
                    prop_assert_eq!((kept.status, &kept.never_seen, &kept.missing), (anew.status, &anew.never_seen, &anew.missing));
                }
            }
        }
    }

    #[test]
    fn it_is_worked_out_once_until_somebody_is_silent() {
        let (mut fleet, thresholds) = (Fleet::default(), Thresholds::default());
        fleet.enter(entry(0, 0, 0, Some(0)));
        fleet.enter(entry(1, 0, 1, Some(60)));
        fleet.settle(&HashSet::from([0, 1]), &HashSet::new());
        let machine = &fleet.clusters["c"]["h0"];
        let health = |second| machine.health(at(second), &thresholds);
        let first = health(100);
        assert_eq!((first.status, first.places.ok), (Status::Ok, 2));
        assert!(Arc::ptr_eq(&first, &health(300)), "nothing changed");
        let second = health(301);
        assert_eq!((second.places.ok, second.places.stale), (1, 1), "no value for longer than five minutes");
        assert!(Arc::ptr_eq(&second, &health(360)));
        let third = health(361);
        assert_eq!((third.status, third.places.stale), (Status::Stale, 2));
        assert!(Arc::ptr_eq(&third, &health(1_000_000)), "nobody is left who could fall silent");
        assert_eq!(health(99).status, Status::Ok, "the clock was set back");
    }
}
