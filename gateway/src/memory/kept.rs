//! What was worked out, kept for as long as it stays so: many who ask at once cost one.
//!
//! How things are follows from the values and from nothing else, but for silence, which comes with the clock. So what was
//! worked out holds until a value changes, or until the next one is too old: what is kept is what would be worked out anew.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nexus_common::domain::{Timestamp, is_silent};

/// What was worked out last, since when it holds and until when.
#[derive(Debug)]
pub(super) struct Kept<T>(Mutex<Option<(Timestamp, Timestamp, Arc<T>)>>);

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Kept(Mutex::default())
    }
}

impl<T> Kept<T> {
    /// What holds at this moment: what is kept, or what is worked out now, together with until when it holds.
    pub(super) fn at(&self, now: Timestamp, work_out: impl FnOnce() -> (T, Timestamp)) -> Arc<T> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*kept {
            // A clock that was set back could call something too old that is not.
            Some((since, until, what)) if (*since..=*until).contains(&now) => Arc::clone(what),
            _ => {
                let (what, until) = work_out();
                let what = Arc::new(what);
                *kept = Some((now, until, Arc::clone(&what)));
                what
            }
        }
    }

    /// Something changed.
    pub(super) fn forget(&mut self) {
        *self.0.get_mut().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// The last moment at which no more of these times are too long ago than now.
pub(super) fn until(times: impl Iterator<Item = Timestamp>, now: Timestamp, stale_after: Duration) -> Timestamp {
    let after = i64::try_from(stale_after.as_micros()).unwrap_or(i64::MAX);
    let oldest = times.filter(|seen| !is_silent(*seen, now, stale_after)).min();
    oldest.map_or(Timestamp(i64::MAX), |seen| Timestamp(seen.0.saturating_add(after)))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashSet};

    use nexus_common::domain::{Metric, Sign, SignKind, Status, Thresholds};
    use nexus_common::queue::{Feed, FeedSample};
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::memory::health::Health;
    use crate::memory::spread::spread;
    use crate::memory::{Entry, Fleet, Gpu, Identity, Noted};

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
                for hosts in fleet.clusters.values() {
                    prop_assert_eq!(&*hosts.spread(now, &thresholds), &spread(hosts, now, thresholds.stale_after).0);
                }
                for machine in fleet.clusters.values().flat_map(|hosts| hosts.values()) {
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
