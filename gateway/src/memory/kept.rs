//! What was worked out, kept for as long as it stays so: many who ask at once cost one.
//!
//! How things are follows from what the memory holds, and from the clock only where something is too old. So what was worked
//! out holds until the memory changes, or until the next value is too old: what is kept is what would be worked out anew.

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nexus_common::domain::{Timestamp, is_silent};

/// What was worked out last, and when it holds. Whoever asks while it is worked out waits.
#[derive(Debug)]
pub(super) struct Kept<T>(Mutex<Option<(RangeInclusive<Timestamp>, Arc<T>)>>);

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Kept(Mutex::default())
    }
}

impl<T> Kept<T> {
    /// What holds at this moment: what is kept, or what is worked out now and says when it holds.
    pub(super) fn at(&self, now: Timestamp, work_out: impl FnOnce() -> (T, RangeInclusive<Timestamp>)) -> Arc<T> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*kept {
            Some((holds, what)) if holds.contains(&now) => Arc::clone(what),
            _ => {
                let (what, holds) = work_out();
                let what = Arc::new(what);
                *kept = Some((holds, Arc::clone(&what)));
                what
            }
        }
    }

    /// Something changed.
    pub(super) fn forget(&mut self) {
        *self.0.get_mut().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// The moments at which the same of these times are too long ago as now.
pub(super) fn holds(
    times: impl Iterator<Item = Timestamp>,
    now: Timestamp,
    stale_after: Duration,
) -> RangeInclusive<Timestamp> {
    let after = i64::try_from(stale_after.as_micros()).unwrap_or(i64::MAX);
    let (mut first, mut last) = (i64::MIN, i64::MAX);
    for seen in times {
        let last_spoken = seen.0.saturating_add(after);
        if is_silent(seen, now, stale_after) {
            first = first.max(last_spoken.saturating_add(1));
        } else {
            last = last.min(last_spoken);
        }
    }
    Timestamp(first)..=Timestamp(last)
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
    const METRICS: [&str; 5] =
        ["temperature_celsius", "xid", "gpu_utilization", "memory_used_mib", "somebody_elses_metric"];

    fn at(second: i64) -> Timestamp {
        START.shifted(second * SECOND)
    }

    /// A place for a GPU: cluster, host and index.
    #[derive(Debug, Clone, Copy)]
    struct At {
        cluster: u8,
        host: u8,
        index: &'static str,
    }

    impl At {
        fn cluster(self) -> String {
            format!("c{}", self.cluster)
        }

        fn host(self) -> String {
            format!("h{}", self.host)
        }
    }

    /// What can happen to a fleet of two clusters with two hosts each. Times are seconds.
    #[derive(Debug, Clone, Copy)]
    enum Act {
        Tell {
            place: At,
            uuid: Option<i32>,
            metric: usize,
            value: f64,
            second: i64,
        },
        /// A GPU can be somewhere else than before.
        Enter {
            id: i32,
            place: At,
            second: Option<i64>,
        },
        Name {
            place: At,
        },
        Settle {
            found: u16,
        },
        Remember {
            place: At,
            since: i64,
        },
        /// To within a microsecond of a whole second, and back, too: clocks are set.
        Wait {
            seconds: i64,
            micros: i64,
        },
    }

    fn act() -> impl Strategy<Value = Act> {
        // MIG instances and names among the indices.
        let index = || prop::sample::select(vec!["0", "1", "3", "1:0", "left"]);
        let place = || (0..2_u8, 0..2_u8, index()).prop_map(|(cluster, host, index)| At { cluster, host, index });
        let value = || prop::sample::select(vec![0.0, 79.0, 90.0, 4096.0]);
        let tell = (place(), prop::option::of(0..8), 0..METRICS.len(), value(), 0..900_i64);
        prop_oneof![
            4 => tell.prop_map(|(place, uuid, metric, value, second)| Act::Tell { place, uuid, metric, value, second }),
            4 => (0..8, place(), prop::option::of(0..900_i64))
                .prop_map(|(id, place, second)| Act::Enter { id, place, second }),
            1 => place().prop_map(|place| Act::Name { place }),
            1 => any::<u16>().prop_map(|found| Act::Settle { found }),
            1 => (place(), 0..900_i64).prop_map(|(place, since)| Act::Remember { place, since }),
            3 => (-200..400_i64, -1..=1_i64).prop_map(|(seconds, micros)| Act::Wait { seconds, micros }),
        ]
    }

    /// Every second GPU has one.
    fn uuid(id: i32) -> Option<String> {
        (id % 2 == 0).then(|| format!("GPU-{id}"))
    }

    fn feed(place: At, uuid: Option<String>, metric: usize, value: f64, second: i64) -> Feed {
        let sample = FeedSample {
            host_id: place.host(),
            gpu_id: place.index.to_owned(),
            uuid,
            timestamp_us: at(second).0,
            data: BTreeMap::from([(METRICS[metric].to_owned(), value)]),
        };
        let (batch, samples, events) = (String::new(), vec![sample], Vec::new());
        Feed { v: 1, batch, samples, left_out: 0, untold: 0, events, traceparent: None }
    }

    fn entry(id: i32, place: At, second: Option<i64>) -> Entry {
        let model = Some(format!("model {}", id % 3));
        let (gpu_id, uuid, labels) = (place.index.to_owned(), uuid(id), Value::Null);
        let mut gpu = Gpu::new(Identity { id, gpu_id, uuid, model, device: None, labels });
        if let Some(second) = second {
            gpu.take(&Metric::named("power_watts"), 71.5, at(second));
        }
        Entry { cluster_id: place.cluster(), host_id: place.host(), gpu }
    }

    fn noted(place: At, since: i64) -> Noted {
        let sign = Sign { kind: SignKind::Hot, since: at(since), seen: at(since), value: 90.0 };
        Noted { cluster_id: place.cluster(), host_id: place.host(), gpu_id: place.index.to_owned(), sign }
    }

    fn happens(fleet: &mut Fleet, act: Act, now: &mut Timestamp, thresholds: &Thresholds) {
        match act {
            Act::Tell { place, uuid: told, metric, value, second } => {
                let feed = feed(place, told.and_then(uuid), metric, value, second);
                fleet.take(&place.cluster(), &feed, *now, thresholds);
            }
            Act::Enter { id, place, second } => fleet.enter(entry(id, place, second)),
            Act::Name { place } => fleet.name(&place.cluster(), Some(&place.host())),
            Act::Settle { found } => {
                let found: HashSet<i32> = (0..8).filter(|id| found & (1 << id) != 0).collect();
                let named = HashSet::from([("c0".to_owned(), Some("h0".to_owned()))]);
                fleet.settle(&found, &named);
            }
            Act::Remember { place, since } => fleet.remember(vec![noted(place, since)]),
            Act::Wait { seconds, micros } => *now = now.shifted(seconds * SECOND + micros),
        }
    }

    proptest! {
        /// Whatever happens between two questions, and however much time passes.
        #[test]
        fn what_is_kept_is_what_would_be_worked_out_anew(acts in prop::collection::vec(act(), 1..60)) {
            let (mut fleet, thresholds, mut now) = (Fleet::default(), Thresholds::default(), at(450));
            for act in acts {
                happens(&mut fleet, act, &mut now, &thresholds);
                for hosts in fleet.clusters.values() {
                    prop_assert_eq!(&*hosts.spread(now, &thresholds), &spread(hosts, now, thresholds.stale_after).0);
                    for machine in hosts.values() {
                        prop_assert_eq!(&*machine.health(now, &thresholds), &Health::of(machine, now, &thresholds));
                    }
                }
            }
        }
    }

    #[test]
    fn it_is_worked_out_once_until_somebody_is_silent() {
        let (mut fleet, thresholds) = (Fleet::default(), Thresholds::default());
        let place = |index| At { cluster: 0, host: 0, index };
        fleet.enter(entry(0, place("0"), Some(0)));
        fleet.enter(entry(1, place("1"), Some(60)));
        fleet.settle(&HashSet::from([0, 1]), &HashSet::new());
        let machine = &fleet.clusters["c0"]["h0"];
        let health = |moment| machine.health(moment, &thresholds);
        let first = health(at(100));
        assert_eq!((first.status, first.places.ok), (Status::Ok, 2));
        assert!(Arc::ptr_eq(&first, &health(at(300))), "nothing changed");
        let second = health(at(300).shifted(1));
        assert_eq!((second.places.ok, second.places.stale), (1, 1), "no value for longer than five minutes");
        assert!(Arc::ptr_eq(&second, &health(at(360))));
        let third = health(at(360).shifted(1));
        assert_eq!((third.status, third.places.stale), (Status::Stale, 2));
        assert!(Arc::ptr_eq(&third, &health(at(1_000_000))), "nobody is left who could fall silent");
        assert_eq!(health(at(360)).places.stale, 1, "the clock was set back");
    }
}
