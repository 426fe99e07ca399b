//! One GPU as the memory holds it.

use std::collections::BTreeMap;
use std::sync::Arc;

use nexus_common::domain::{Metric, Sign, Thresholds, Timestamp, Vital, Vitals, carry_on, examine};
use serde_json::Value;

/// What the registry says of a GPU.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Identity {
    /// Number in the registry: what samples are found by.
    pub(crate) id: i32,
    /// Index on its host.
    pub(crate) gpu_id: String,
    pub(crate) uuid: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) device: Option<String>,
    pub(crate) labels: Value,
}

/// A GPU and the newest value of each of its metrics.
#[derive(Debug, Clone)]
pub(crate) struct Gpu {
    pub(crate) identity: Identity,
    /// Of all its metrics.
    pub(crate) last_seen: Option<Timestamp>,
    /// The catalogue's metrics that were reported, by index.
    known: Vec<(u8, f64, Timestamp)>,
    /// The others, by name.
    other: BTreeMap<Arc<str>, (f64, Timestamp)>,
    /// Signs that hold, each since when: what the next look carries on.
    pub(super) held: Vec<Sign>,
    /// The same as the collectors noted it, from before this gateway's time.
    pub(super) noted: Vec<Sign>,
}

impl Gpu {
    /// Of which no value is known yet.
    pub(crate) fn new(identity: Identity) -> Self {
        Gpu {
            identity,
            last_seen: None,
            known: Vec::new(),
            other: BTreeMap::new(),
            held: Vec::new(),
            noted: Vec::new(),
        }
    }

    /// Takes a value in: of two the newer one stands, and of two of one time the one that came later.
    pub(crate) fn take(&mut self, metric: &Metric, value: f64, at: Timestamp) {
        self.last_seen = self.last_seen.max(Some(at));
        match metric {
            Metric::Known(index) => match self.known.binary_search_by_key(index, |(index, ..)| *index) {
                Ok(found) if self.known[found].2 <= at => self.known[found] = (*index, value, at),
                Ok(_) => {}
                Err(place) => self.known.insert(place, (*index, value, at)),
            },
            Metric::Other(name) => {
                let known = self.other.entry(Arc::clone(name)).or_insert((value, at));
                if known.1 <= at {
                    *known = (value, at);
                }
            }
        }
    }

    /// Takes all of another's values in.
    pub(super) fn merge(&mut self, values: &Gpu) {
        for (metric, value, at) in values.readings() {
            self.take(&metric, value, at);
        }
        self.last_seen = self.last_seen.max(values.last_seen);
    }

    /// Its values, the catalogue's first and in its order.
    pub(crate) fn readings(&self) -> impl Iterator<Item = (Metric, f64, Timestamp)> + '_ {
        let known = self.known.iter().map(|(index, value, at)| (Metric::Known(*index), *value, *at));
        known.chain(self.other.iter().map(|(name, (value, at))| (Metric::Other(Arc::clone(name)), *value, *at)))
    }

    /// The value of one metric.
    pub(crate) fn reading(&self, metric: &Metric) -> Option<(f64, Timestamp)> {
        match metric {
            Metric::Known(index) => {
                let found = self.known.binary_search_by_key(index, |(index, ..)| *index).ok()?;
                let (_, value, at) = self.known[found];
                Some((value, at))
            }
            Metric::Other(name) => self.other.get(name).copied(),
        }
    }

    /// The names outside the catalogue.
    pub(super) fn others(&self) -> impl Iterator<Item = &Arc<str>> {
        self.other.keys()
    }

    /// What is the case with it now, each since when.
    pub(super) fn signs(
        &self,
        host_last_seen: Option<Timestamp>,
        now: Timestamp,
        thresholds: &Thresholds,
    ) -> Vec<Sign> {
        let reading = |vital: Vital| self.reading(vital.metric());
        let vitals = Vitals { last_seen: self.last_seen, host_last_seen, reading: &reading };
        let mut signs = examine(&vitals, now, thresholds);
        carry_on(&mut signs, &self.held);
        carry_on(&mut signs, &self.noted);
        signs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn gpu() -> Gpu {
        Gpu::new(Identity { id: 1, gpu_id: "0".into(), uuid: None, model: None, device: None, labels: Value::Null })
    }

    proptest! {
        /// Values can come in any order, from the feed and from PostgreSQL: the memory ends up the same.
        #[test]
        fn the_newest_value_of_each_metric_stands(
            mut values in proptest::collection::vec((0..3_u8, 0..50_i64), 1..40), seed in any::<u64>(),
        ) {
            let names = ["power_watts", "xid", "job_slots"].map(Metric::named);
            // One value per metric and time, so that what stands does not depend on the order.
            let value = |metric: u8, at: i64| f64::from(metric) * 1000.0 + f64::from(i32::try_from(at).unwrap());
            let mut forth = gpu();
            for (metric, at) in &values {
                forth.take(&names[usize::from(*metric)], value(*metric, *at), Timestamp(*at));
            }
            let middle = usize::try_from(seed).unwrap_or(0) % values.len();
            values.rotate_left(middle);
            let (mut back, mut part) = (gpu(), gpu());
            for (metric, at) in values.iter().rev() {
                part.take(&names[usize::from(*metric)], value(*metric, *at), Timestamp(*at));
            }
            back.merge(&part);
            prop_assert_eq!(forth.readings().collect::<Vec<_>>(), back.readings().collect::<Vec<_>>());
            prop_assert_eq!(forth.last_seen, values.iter().map(|(_, at)| Timestamp(*at)).max());
        }
    }
}
