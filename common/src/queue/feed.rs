//! The live feed: what the last acknowledged batch stored. Whoever watches its key sees what is committed, as it is
//! committed.

use std::collections::BTreeMap;
use std::io::Write;

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use super::VERSION;
use crate::domain::{Event, Sample};

/// The most a feed value may hold, in bytes: with the deletes of an acknowledgement it must fit one request.
pub const FEED_LIMIT_BYTES: usize = 256 << 10;

/// The value of the feed key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Feed {
    /// Version of this value.
    pub v: u32,
    /// The batch it comes from.
    pub batch: String,
    /// Its samples, in order of host, GPU and time.
    pub samples: Vec<FeedSample>,
    /// Samples or events that did not fit: a reader that needs them asks the database.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: usize,
    /// Batches that this collector acknowledged without a feed since its last one, because etcd was full: a reader that
    /// needs them asks the database.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub untold: usize,
    /// What happened to GPUs; a value with events has no samples.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Event>,
    /// The step that acknowledged the batch, as W3C trace context; of a batch that is traced only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

/// One GPU at one time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeedSample {
    /// Host name.
    pub host_id: String,
    /// Index on the host.
    pub gpu_id: String,
    /// Of the GPU, where the source had one: an index can pass from one GPU to another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// Microseconds since 1970.
    pub timestamp_us: i64,
    /// Metric to value.
    pub data: BTreeMap<String, f64>,
}

/// A [`FeedSample`] to be written: nothing is copied for it.
#[derive(Debug, Serialize)]
pub struct FeedEntry<'a> {
    /// Host name.
    pub host_id: &'a str,
    /// Index on the host.
    pub gpu_id: &'a str,
    /// Of the GPU, where the source had one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<&'a str>,
    /// Microseconds since 1970.
    pub timestamp_us: i64,
    /// Metric to value.
    #[serde(serialize_with = "reported")]
    pub data: Sample,
}

fn reported<S: Serializer>(sample: &Sample, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(None)?;
    for (metric, value) in sample.reported() {
        map.serialize_entry(metric.name(), &value)?;
    }
    map.end()
}

/// What stands in the place of the batch where a value tells of events.
const EVENTS: &str = "events";

impl Feed {
    /// The value to put: as many samples as fit the limit, each as a [`FeedSample`] or a [`FeedEntry`]. `untold`: batches
    /// acknowledged without a feed before this one.
    pub fn encode(batch: &str, samples: impl IntoIterator<Item: Serialize>, untold: usize) -> Vec<u8> {
        Feed::encode_traced(batch, samples, untold, None)
    }

    /// The same, of a batch that may be traced.
    pub fn encode_traced(
        batch: &str,
        samples: impl IntoIterator<Item: Serialize>,
        untold: usize,
        traceparent: Option<&str>,
    ) -> Vec<u8> {
        /// What may stand behind the samples.
        const TAIL_BYTES: usize = 64 + 96;
        let mut value = Vec::with_capacity(16 << 10);
        // Into memory, and nothing here that JSON cannot hold: writing does not fail.
        let _ = write!(value, "{{\"v\":{VERSION},\"batch\":");
        let _ = serde_json::to_writer(&mut value, batch);
        value.extend_from_slice(b",\"samples\":[");
        let (begin, mut left_out) = (value.len(), 0);
        for sample in samples {
            let before = value.len();
            if left_out == 0 {
                if before > begin {
                    value.push(b',');
                }
                let _ = serde_json::to_writer(&mut value, &sample);
            }
            if left_out > 0 || value.len() + TAIL_BYTES > FEED_LIMIT_BYTES {
                value.truncate(before);
                left_out += 1;
            }
        }
        let _ = write!(value, "],\"left_out\":{left_out},\"untold\":{untold}");
        if let Some(traceparent) = traceparent {
            let _ = write!(value, ",\"traceparent\":");
            let _ = serde_json::to_writer(&mut value, traceparent);
        }
        value.push(b'}');
        value
    }

    /// The values to put, one after the other, that tell of these events: each within the limit. The last one says how
    /// many are `left_out` altogether.
    pub fn encode_events(events: &[Event], left_out: usize) -> Vec<Vec<u8>> {
        let (batch, samples) = (EVENTS.to_owned(), Vec::new());
        let feed = Feed { v: VERSION, batch, samples, left_out, untold: 0, events: events.to_vec(), traceparent: None };
        let encoded = serde_json::to_vec(&feed).unwrap_or_default();
        match events.len() {
            0 => Vec::new(),
            many if many > 1 && encoded.len() > FEED_LIMIT_BYTES => {
                let (first, second) = events.split_at(many / 2);
                [Feed::encode_events(first, 0), Feed::encode_events(second, left_out)].concat()
            }
            _ => vec![encoded],
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Condition, EventKind, Severity, Timestamp};

    #[test]
    fn a_feed_fits_its_limit_and_says_what_it_left_out() {
        let sample = |index: usize| FeedSample {
            host_id: format!("host-{index:05}"),
            gpu_id: "0".into(),
            uuid: None,
            timestamp_us: 1,
            data: [("gpu_utilization".to_owned(), 1.0)].into(),
        };
        let encoded = Feed::encode("b", (0..10_000).map(sample), 3);
        assert!(encoded.len() <= FEED_LIMIT_BYTES);
        let feed: Feed = serde_json::from_slice(&encoded).unwrap();
        assert_eq!(feed.samples.len() + feed.left_out, 10_000);
        assert!(feed.samples.len() > 1_000);
        assert_eq!(feed.untold, 3);
    }

    #[test]
    fn only_a_traced_batch_has_a_trace_and_whoever_knows_none_reads_it() {
        let untraced = Feed::encode("b", Vec::<FeedSample>::new(), 0);
        assert_eq!(untraced, br#"{"v":1,"batch":"b","samples":[],"left_out":0,"untold":0}"#);
        let traced = Feed::encode_traced("b", Vec::<FeedSample>::new(), 0, Some("00-a-b-01"));
        let feed: Feed = serde_json::from_slice(&traced).unwrap();
        assert_eq!(feed.traceparent.as_deref(), Some("00-a-b-01"));
        let later = br#"{"v":1,"batch":"b","samples":[],"of a later version":{"any":[1]}}"#;
        assert_eq!(serde_json::from_slice::<Feed>(later).unwrap().batch, "b");
    }

    #[test]
    fn many_events_are_many_values_within_the_limit() {
        let event = |id: i64| Event {
            id,
            host_id: format!("host-{id:05}"),
            gpu_id: "0".into(),
            uuid: None,
            at: Timestamp(id),
            kind: EventKind::Stale,
            condition: Some(Condition::Stale),
            severity: Severity::Warning,
            since: Timestamp(0),
            code: None,
            detail: "no new value for 6m".into(),
        };
        let events: Vec<_> = (0..5_000).map(event).collect();
        let values = Feed::encode_events(&events, 7);
        assert!(values.len() > 1 && values.iter().all(|value| value.len() <= FEED_LIMIT_BYTES));
        let feeds: Vec<Feed> = values.iter().map(|value| serde_json::from_slice(value).unwrap()).collect();
        assert!(feeds.iter().all(|feed| feed.samples.is_empty() && feed.batch == "events"));
        assert_eq!(feeds.iter().map(|feed| feed.left_out).sum::<usize>(), 7);
        assert_eq!(feeds.into_iter().flat_map(|feed| feed.events).collect::<Vec<_>>(), events);
        assert!(Feed::encode_events(&[], 0).is_empty());
    }
}
