//! A sample: everything one GPU reported for one moment, merged from the rows that speak of it.

use std::collections::BTreeMap;

use super::{METRICS, Metric, Timestamp};

/// The merged values of one (GPU, time).
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// When the GPU was read.
    pub timestamp: Timestamp,
    /// The catalogue's metrics, by index; `None` where no row had a value.
    pub values: [Option<f64>; METRICS],
    /// Values of metrics outside the catalogue.
    pub ext: BTreeMap<String, f64>,
}

/// What merging a value did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merged {
    /// The metric had no value yet, or the same one.
    Agrees,
    /// It had another value: the later one stands, and the caller counts a conflict.
    Conflicts,
}

impl Sample {
    /// A sample in which nothing is reported yet.
    pub fn new(timestamp: Timestamp) -> Self {
        Sample { timestamp, values: [None; METRICS], ext: BTreeMap::new() }
    }

    /// Takes one value in. Absence never overwrites a value.
    pub fn set(&mut self, metric: &Metric, value: Option<f64>) -> Merged {
        let Some(value) = value else { return Merged::Agrees };
        let before = match metric {
            Metric::Known(index) => self.values[usize::from(*index)].replace(value),
            Metric::Other(name) => self.ext.insert(name.to_string(), value),
        };
        match before {
            Some(before) if before != value => Merged::Conflicts,
            _ => Merged::Agrees,
        }
    }

    /// The reported values, by name.
    pub fn reported(&self) -> impl Iterator<Item = (Metric, f64)> + '_ {
        let known = self.values.iter().zip(0u8..).filter_map(|(value, index)| Some((Metric::Known(index), (*value)?)));
        known.chain(self.ext.iter().map(|(name, value)| (Metric::Other(name.as_str().into()), *value)))
    }
}
