//! The live feed: what the last acknowledged batch stored. Whoever watches its key sees what is committed, as it is
//! committed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::VERSION;
use crate::domain::Event;

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

/// What stands in the place of the batch where a value tells of events.
const EVENTS: &str = "events";

impl Feed {
    /// The value to put: as many samples as fit the limit. `untold`: batches acknowledged without a feed before this one.
    pub fn encode(batch: String, samples: Vec<FeedSample>, untold: usize) -> Vec<u8> {
        let mut feed = Feed { v: VERSION, batch, samples, left_out: 0, untold, events: Vec::new() };
        loop {
            let encoded = serde_json::to_vec(&feed).unwrap_or_default();
            if encoded.len() <= FEED_LIMIT_BYTES || feed.samples.is_empty() {
                return encoded;
            }
            let fit = feed.samples.len() * FEED_LIMIT_BYTES / encoded.len();
            let keep = fit.min(feed.samples.len() - 1);
            feed.left_out += feed.samples.len() - keep;
            feed.samples.truncate(keep);
        }
    }

    /// The values to put, one after the other, that tell of these events: each within the limit. The last one says how
    /// many are `left_out` altogether.
    pub fn encode_events(events: &[Event], left_out: usize) -> Vec<Vec<u8>> {
        let (batch, samples) = (EVENTS.to_owned(), Vec::new());
        let feed = Feed { v: VERSION, batch, samples, left_out, untold: 0, events: events.to_vec() };
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
        let encoded = Feed::encode("b".into(), (0..10_000).map(sample).collect(), 3);
        assert!(encoded.len() <= FEED_LIMIT_BYTES);
        let feed: Feed = serde_json::from_slice(&encoded).unwrap();
        assert_eq!(feed.samples.len() + feed.left_out, 10_000);
        assert!(feed.samples.len() > 1_000);
        assert_eq!(feed.untold, 3);
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
