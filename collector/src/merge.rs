//! Merging (pure): rows that speak of one GPU and time become one sample, and the newest values of each GPU one row.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use nexus_common::domain::{METRICS, Merged, Metric, Sample, Timestamp};
use nexus_common::queue::{Feed, FeedEntry};

use crate::work::{Reading, Work};

/// The samples of several batches, in order of GPU and time.
#[derive(Debug, Default)]
pub(crate) struct Harvest {
    pub(crate) samples: BTreeMap<(i32, Timestamp), (Sample, i32)>,
    pub(crate) latest: BTreeMap<i32, Latest>,
}

/// The newest value of each metric of one GPU, with its time.
#[derive(Debug, Clone)]
pub(crate) struct Latest {
    pub(crate) timestamp: Timestamp,
    pub(crate) values: [Option<(f64, Timestamp)>; METRICS],
    pub(crate) ext: BTreeMap<String, (f64, Timestamp)>,
}

impl Harvest {
    /// Takes one message's rows in. Where two values meet, the one taken in later stands.
    pub(crate) fn add(&mut self, gpu_id: i32, reading: &Reading) {
        let (sample, conflicts) =
            self.samples.entry((gpu_id, reading.timestamp)).or_insert_with(|| (Sample::new(reading.timestamp), 0));
        let latest = self.latest.entry(gpu_id).or_insert_with(|| Latest::new(reading.timestamp));
        latest.timestamp = latest.timestamp.max(reading.timestamp);
        for (metric, value) in reading.rows.iter().flat_map(|row| &row.values) {
            if sample.set(metric, *value) == Merged::Conflicts {
                *conflicts += 1;
            }
            if let Some(value) = value {
                latest.set(metric, *value, reading.timestamp);
            }
        }
    }
}

impl Latest {
    fn new(timestamp: Timestamp) -> Self {
        Latest { timestamp, values: [None; METRICS], ext: BTreeMap::new() }
    }

    fn set(&mut self, metric: &Metric, value: f64, at: Timestamp) {
        match metric {
            Metric::Known(index) => {
                let slot = &mut self.values[usize::from(*index)];
                if slot.is_none_or(|(_, before)| before <= at) {
                    *slot = Some((value, at));
                }
            }
            Metric::Other(name) => match self.ext.entry(name.to_string()) {
                Entry::Vacant(slot) => _ = slot.insert((value, at)),
                Entry::Occupied(mut slot) if slot.get().1 <= at => _ = slot.insert((value, at)),
                Entry::Occupied(_) => {}
            },
        }
    }
}

/// What a batch stored, as the live feed tells it; `untold` batches before it were not told.
pub(crate) fn feed_of(work: &Work, untold: usize, traceparent: Option<&str>) -> Vec<u8> {
    fn place(reading: &Reading) -> (&str, &str, Option<&str>, Timestamp) {
        let gpu = &reading.described.gpu;
        (gpu.host.as_str(), gpu.gpu.as_str(), gpu.uuid.as_deref(), reading.timestamp)
    }
    let mut readings: Vec<_> = work.readings.iter().collect();
    // Stable: where two values meet, the later one still stands.
    readings.sort_by(|a, b| place(a).cmp(&place(b)));
    let entries = readings.chunk_by(|a, b| place(a) == place(b)).filter_map(|same| {
        let (host_id, gpu_id, uuid, timestamp) = place(same.first()?);
        let mut data = Sample::new(timestamp);
        for (metric, value) in same.iter().flat_map(|reading| &reading.rows).flat_map(|row| &row.values) {
            let _ = data.set(metric, *value);
        }
        Some(FeedEntry { host_id, gpu_id, uuid, timestamp_us: timestamp.0, data })
    });
    Feed::encode_traced(&work.claimed.batch.to_string(), entries, untold, traceparent)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use nexus_common::domain::GpuIdentity;
    use nexus_common::queue::MessageRow;

    fn reading(at: i64, metric: &str, value: Option<f64>) -> Reading {
        Reading {
            message: 0,
            described: Arc::new(GpuIdentity { host: "h".into(), gpu: "0".into(), uuid: None, mig: None }.into()),
            timestamp: Timestamp(at),
            rows: vec![MessageRow { line: 1, byte: 0, values: vec![(Metric::named(metric), value)] }],
        }
    }

    #[test]
    fn rows_of_one_time_become_one_sample_and_conflicts_are_counted() {
        let mut harvest = Harvest::default();
        harvest.add(1, &reading(5, "gpu_util", Some(1.0)));
        harvest.add(1, &reading(5, "xid", Some(79.0)));
        harvest.add(1, &reading(5, "gpu_util", Some(1.0)));
        harvest.add(1, &reading(5, "gpu_util", None));
        harvest.add(1, &reading(5, "gpu_util", Some(2.0)));
        let (sample, conflicts) = &harvest.samples[&(1, Timestamp(5))];
        assert_eq!(*conflicts, 1);
        let reported: Vec<_> = sample.reported().map(|(metric, value)| (metric.name().to_owned(), value)).collect();
        assert_eq!(reported, [("gpu_utilization".to_owned(), 2.0), ("xid".to_owned(), 79.0)]);
    }

    #[test]
    fn the_newest_value_of_each_metric_never_goes_back() {
        let mut harvest = Harvest::default();
        harvest.add(1, &reading(9, "gpu_util", Some(9.0)));
        harvest.add(1, &reading(5, "gpu_util", Some(5.0)));
        harvest.add(1, &reading(7, "power", Some(7.0)));
        harvest.add(1, &reading(9, "odd", Some(1.0)));
        harvest.add(1, &reading(8, "odd", Some(2.0)));
        let latest = &harvest.latest[&1];
        assert_eq!(latest.timestamp, Timestamp(9));
        assert_eq!(latest.values.iter().flatten().count(), 2);
        assert_eq!(latest.values[0], Some((9.0, Timestamp(9))));
        assert_eq!(latest.ext["odd"], (1.0, Timestamp(9)));
    }
}
