//! The JSON of samples and of newest values: what serde writes of them, byte for byte, but sooner.
//!
//! An answer has hundreds of them, and most of it are the same names time and again, which serde looks through for what has to
//! be escaped. Here each metric's is looked through once.

use std::sync::LazyLock;

use nexus_common::domain::{CATALOGUE, Metric};
use serde_json::{Result, Value, to_writer};

use super::values::Number;
use super::{Latest, Reading, Readings, Sample, Values};

/// The names of the catalogue's metrics, as an entry begins.
static NAMES: LazyLock<Vec<String>> =
    LazyLock::new(|| CATALOGUE.iter().map(|metric| format!("{}:", Value::from(metric.name))).collect());

impl Sample {
    /// Writes it behind what is there.
    ///
    /// # Errors
    /// None that is known: see [`serde_json::to_writer`].
    pub(crate) fn write(&self, to: &mut Vec<u8>) -> Result<()> {
        let Sample { cluster_id, host_id, gpu_id, uuid, timestamp, data } = self;
        place(to, [cluster_id, host_id, gpu_id], uuid.as_deref())?;
        to.extend_from_slice(b",\"timestamp\":");
        timestamp.write(to);
        to.extend_from_slice(b",\"data\":");
        data.write(to)?;
        to.push(b'}');
        Ok(())
    }
}

impl Latest {
    /// Writes it behind what is there.
    ///
    /// # Errors
    /// None that is known: see [`serde_json::to_writer`].
    pub(crate) fn write(&self, to: &mut Vec<u8>) -> Result<()> {
        let Latest { cluster_id, host_id, gpu_id, uuid, status, timestamp, data, readings } = self;
        place(to, [cluster_id, host_id, gpu_id], uuid.as_deref())?;
        to.extend_from_slice(b",\"status\":");
        to_writer(&mut *to, status.as_str())?;
        to.extend_from_slice(b",\"timestamp\":");
        timestamp.write(to);
        to.extend_from_slice(b",\"data\":");
        data.write(to)?;
        to.extend_from_slice(b",\"readings\":");
        readings.write(to)?;
        to.push(b'}');
        Ok(())
    }
}

impl Values {
    fn write(&self, to: &mut Vec<u8>) -> Result<()> {
        entries(to, &self.0, |to, value| to_writer(to, &Number(*value)))
    }
}

impl Readings {
    fn write(&self, to: &mut Vec<u8>) -> Result<()> {
        entries(to, &self.0, |to, reading| {
            let Reading { value, unit, timestamp, stale } = reading;
            to.extend_from_slice(b"{\"value\":");
            to_writer(&mut *to, &Number(*value))?;
            to.extend_from_slice(b",\"unit\":");
            to_writer(&mut *to, unit)?;
            to.extend_from_slice(b",\"timestamp\":");
            timestamp.write(to);
            to.extend_from_slice(if *stale { b",\"stale\":true}" } else { b",\"stale\":false}" });
            Ok(())
        })
    }
}

/// The beginning of an object: which GPU it is about.
fn place(to: &mut Vec<u8>, [cluster_id, host_id, gpu_id]: [&str; 3], uuid: Option<&str>) -> Result<()> {
    to.extend_from_slice(b"{\"cluster_id\":");
    to_writer(&mut *to, cluster_id)?;
    to.extend_from_slice(b",\"host_id\":");
    to_writer(&mut *to, host_id)?;
    to.extend_from_slice(b",\"gpu_id\":");
    to_writer(&mut *to, gpu_id)?;
    to.extend_from_slice(b",\"uuid\":");
    to_writer(&mut *to, &uuid)
}

/// An object of metric to whatever `write` makes of it.
fn entries<T>(to: &mut Vec<u8>, all: &[(Metric, T)], write: impl Fn(&mut Vec<u8>, &T) -> Result<()>) -> Result<()> {
    to.push(b'{');
    for (at, (metric, what)) in all.iter().enumerate() {
        if at > 0 {
            to.push(b',');
        }
        match metric {
            Metric::Known(index) => to.extend_from_slice(NAMES[usize::from(*index)].as_bytes()),
            Metric::Other(name) => {
                to_writer(&mut *to, &**name)?;
                to.push(b':');
            }
        }
        write(to, what)?;
    }
    to.push(b'}');
    Ok(())
}

#[cfg(test)]
mod tests {
    use nexus_common::domain::{Status, Timestamp};
    use proptest::prelude::*;

    use super::*;
    use crate::read::Time;

    fn metric() -> impl Strategy<Value = Metric> {
        prop_oneof![
            (0..u8::try_from(CATALOGUE.len()).unwrap()).prop_map(Metric::Known),
            ".*".prop_map(|name| Metric::Other(name.as_str().into())),
        ]
    }

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![8 => any::<f64>(), 1 => prop::sample::select(vec![f64::NAN, f64::INFINITY, 0.0, -0.0, 81_007.0])]
    }

    fn values() -> impl Strategy<Value = Values> {
        prop::collection::vec((metric(), value()), 0..4).prop_map(Values)
    }

    fn time() -> impl Strategy<Value = Time> {
        (0..4_000_000_000_000_000_i64).prop_map(|micros| Time(Timestamp(micros)))
    }

    fn reading() -> impl Strategy<Value = Reading> {
        let unit = prop::option::of(prop::sample::select(vec!["", "W", "\u{b0}C", "\"\n"]));
        (value(), unit, time(), any::<bool>()).prop_map(|(value, unit, timestamp, stale)| Reading {
            value,
            unit,
            timestamp,
            stale,
        })
    }

    fn readings() -> impl Strategy<Value = Readings> {
        prop::collection::vec((metric(), reading()), 0..4).prop_map(Readings)
    }

    fn written(write: impl Fn(&mut Vec<u8>) -> Result<()>) -> String {
        let mut to = b"[".to_vec();
        write(&mut to).unwrap();
        String::from_utf8(to).unwrap()
    }

    proptest! {
        #[test]
        fn a_sample_is_written_as_serde_does(
            names in prop::array::uniform3(".*"), uuid in prop::option::of(".*"), timestamp in time(), data in values(),
        ) {
            let [cluster_id, host_id, gpu_id] = names;
            let sample = Sample { cluster_id, host_id, gpu_id, uuid, timestamp, data };
            let serdes = serde_json::to_string(&sample).unwrap();
            prop_assert_eq!(written(|to| sample.write(to)), format!("[{serdes}"));
        }

        #[test]
        fn newest_values_are_written_as_serde_does(
            names in prop::array::uniform3(".*"), uuid in prop::option::of(".*"), timestamp in time(), data in values(),
            readings in readings(), status in prop::sample::select(vec![Status::Ok, Status::Degraded, Status::Stale, Status::Empty]),
        ) {
            let [cluster_id, host_id, gpu_id] = names;
            let latest = Latest { cluster_id, host_id, gpu_id, uuid, status, timestamp, data, readings };
            let serdes = serde_json::to_string(&latest).unwrap();
            prop_assert_eq!(written(|to| latest.write(to)), format!("[{serdes}"));
        }
    }
}
