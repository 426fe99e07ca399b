//! One frame of the feed: what one revision of a feed key said, as every protocol shows it.

use std::sync::{Arc, OnceLock};

use axum::extract::ws::Utf8Bytes;
use nexus_common::domain::{Condition, Event, EventKind, Metric, Severity, Timestamp};
use nexus_common::queue::{Feed, FeedSample};
use serde::Serialize;

use super::Position;
use super::traced::Traced;
use crate::read::{Time, Values};

/// What was stored at one revision; or, with `skipped`, the newest of several.
#[derive(Debug)]
pub struct Frame {
    /// Where a client stands that has seen it.
    pub position: Position,
    /// The cluster it is about.
    pub cluster_id: Arc<str>,
    /// What it says.
    pub content: Content,
    /// Samples or events that did not fit: whoever needs them asks the API.
    pub left_out: usize,
    /// Frames that this one stands for besides itself, because the client was slower than the feed.
    pub skipped: u64,
    /// Why something before this frame was never told to anybody.
    pub loss: Option<Arc<str>>,
    /// Where its batch is traced.
    pub(super) traced: Option<Arc<Traced>>,
    pub(super) text: OnceLock<Utf8Bytes>,
}

/// What a frame says.
#[derive(Debug)]
pub enum Content {
    /// What GPUs reported.
    Telemetry(Vec<Sample>),
    /// What happened to GPUs.
    Events(Vec<Event>),
}

/// One GPU at one time. Cheap to clone but for its values.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sample {
    /// Host name.
    pub host_id: Arc<str>,
    /// Index on the host.
    pub gpu_id: Arc<str>,
    /// Where the source had one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<Arc<str>>,
    /// When the GPU was read.
    pub timestamp: Time,
    /// What was reported.
    pub data: Values,
}

impl Frame {
    /// Of some content.
    pub fn new(position: Position, cluster_id: impl Into<Arc<str>>, content: Content) -> Self {
        let cluster_id = cluster_id.into();
        let (loss, traced, text) = (None, None, OnceLock::new());
        Frame { position, cluster_id, content, left_out: 0, skipped: 0, loss, traced, text }
    }

    /// What a feed value says.
    pub fn of(position: Position, cluster_id: &str, feed: Feed) -> Self {
        let traced = Traced::of(&feed).map(Arc::new);
        let content = if feed.events.is_empty() {
            Content::Telemetry(feed.samples.into_iter().map(Sample::of).collect())
        } else {
            Content::Events(feed.events)
        };
        let untold = (feed.untold > 0).then(|| {
            format!(
                "{} batches were stored without being told, because etcd was full; ask the API for them",
                feed.untold
            )
        });
        let (left_out, loss) = (feed.left_out, untold.map(Into::into));
        Frame { left_out, loss, traced, ..Frame::new(position, cluster_id, content) }
    }

    /// A revision of which nothing can be shown.
    pub fn lost(position: Position, cluster_id: &str, reason: impl Into<Arc<str>>) -> Self {
        Frame { loss: Some(reason.into()), ..Frame::new(position, cluster_id, Content::Telemetry(Vec::new())) }
    }

    /// The samples; none where it tells events.
    pub fn samples(&self) -> &[Sample] {
        match &self.content {
            Content::Telemetry(samples) => samples,
            Content::Events(_) => &[],
        }
    }

    /// The events; none where it tells samples.
    pub fn events(&self) -> &[Event] {
        match &self.content {
            Content::Telemetry(_) => &[],
            Content::Events(events) => events,
        }
    }

    /// Whether there is nothing in it that a client could want.
    pub fn is_empty(&self) -> bool {
        self.samples().is_empty() && self.events().is_empty() && self.left_out == 0
    }

    /// `telemetry` or `events`.
    pub fn kind(&self) -> &'static str {
        match self.content {
            Content::Telemetry(_) => "telemetry",
            Content::Events(_) => "events",
        }
    }

    /// As JSON: encoded once, however many clients get it.
    pub fn text(&self) -> Utf8Bytes {
        // Only text is in here: it cannot fail.
        let encode = || serde_json::to_string(&Message::of(self)).unwrap_or_default().into();
        self.text.get_or_init(encode).clone()
    }

    /// About how much memory it takes, its text included.
    pub fn bytes(&self) -> usize {
        let of_sample = |sample: &Sample| {
            let values = sample.data.0.len() * size_of::<(Metric, f64)>();
            size_of::<Sample>() + sample.host_id.len() + sample.gpu_id.len() + 80 + values
        };
        let content = match &self.content {
            Content::Telemetry(samples) => samples.iter().map(of_sample).sum::<usize>(),
            Content::Events(events) => events.iter().map(|event| size_of::<Event>() + event.detail.len()).sum(),
        };
        size_of::<Frame>() + content + self.text.get().map_or(0, |text| text.len())
    }
}

impl Sample {
    /// The same GPU and time with other values.
    pub(super) fn with(&self, data: Values) -> Self {
        let (host_id, gpu_id) = (Arc::clone(&self.host_id), Arc::clone(&self.gpu_id));
        Sample { host_id, gpu_id, uuid: self.uuid.clone(), timestamp: self.timestamp, data }
    }

    fn of(sample: FeedSample) -> Self {
        let mut values: Vec<(Metric, f64)> =
            sample.data.into_iter().map(|(name, value)| (Metric::named(&name), value)).collect();
        values.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        Sample {
            host_id: sample.host_id.into(),
            gpu_id: sample.gpu_id.into(),
            uuid: sample.uuid.map(Into::into),
            timestamp: Time(Timestamp(sample.timestamp_us)),
            data: Values(values),
        }
    }
}

/// A frame as it is written.
#[derive(Serialize)]
struct Message<'a> {
    r#type: &'static str,
    position: Position,
    revision: i64,
    cluster_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    samples: Option<&'a [Sample]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    events: Option<Vec<Happened<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    left_out: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<u64>,
}

/// An event with the names every protocol uses.
#[derive(Serialize)]
struct Happened<'a> {
    id: i64,
    cluster_id: &'a str,
    host_id: &'a str,
    gpu_id: &'a str,
    uuid: Option<&'a str>,
    timestamp: Time,
    kind: EventKind,
    condition: Option<Condition>,
    severity: Severity,
    since: Time,
    code: Option<i64>,
    detail: &'a str,
}

impl<'a> Message<'a> {
    fn of(frame: &'a Frame) -> Self {
        let happened = |event: &'a Event| Happened {
            id: event.id,
            cluster_id: &frame.cluster_id,
            host_id: &event.host_id,
            gpu_id: &event.gpu_id,
            uuid: event.uuid.as_deref(),
            timestamp: Time(event.at),
            kind: event.kind,
            condition: event.condition,
            severity: event.severity,
            since: Time(event.since),
            code: event.code,
            detail: &event.detail,
        };
        let (samples, events) = match &frame.content {
            Content::Telemetry(samples) => (Some(samples.as_slice()), None),
            Content::Events(events) => (None, Some(events.iter().map(happened).collect())),
        };
        Message {
            r#type: frame.kind(),
            position: frame.position,
            revision: frame.position.revision,
            cluster_id: &frame.cluster_id,
            samples,
            events,
            left_out: (frame.left_out > 0).then_some(frame.left_out),
            skipped: (frame.skipped > 0).then_some(frame.skipped),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn position() -> Position {
        "00000000000000ab.7".parse().unwrap()
    }

    #[test]
    fn a_frame_is_written_with_the_names_and_numbers_of_the_api() {
        let feed = json!({"v": 1, "batch": "b", "left_out": 2, "samples": [
            {"host_id": "h", "gpu_id": "0", "timestamp_us": 1_500_000, "data": {"zeta": 0.1, "power_watts": 71.0}},
        ]});
        let frame = Frame::of(position(), "c", serde_json::from_value(feed).unwrap());
        assert_eq!(
            frame.text().as_str(),
            concat!(
                r#"{"type":"telemetry","position":"00000000000000ab.7","revision":7,"cluster_id":"c","#,
                r#""samples":[{"host_id":"h","gpu_id":"0","timestamp":"1970-01-01T00:00:01.5Z","#,
                r#""data":{"power_watts":71,"zeta":0.1}}],"left_out":2}"#
            )
        );
        assert_eq!(frame.text().as_ptr(), frame.text().as_ptr(), "encoded once");
    }

    #[test]
    fn events_are_written_as_the_api_writes_them() {
        let feed = json!({"v": 1, "batch": "b", "samples": [], "events": [{
            "id": 3, "host_id": "h", "gpu_id": "0", "uuid": null, "at": 2_000_000, "kind": "xid", "condition": "sick",
            "severity": "critical", "since": 1_000_000, "code": 79, "detail": "XID 79",
        }]});
        let frame = Frame::of(position(), "c", serde_json::from_value(feed).unwrap());
        let written: Value = serde_json::from_str(&frame.text()).unwrap();
        assert_eq!(written["type"], "events");
        let event = json!({
            "id": 3, "cluster_id": "c", "host_id": "h", "gpu_id": "0", "uuid": null, "timestamp": "1970-01-01T00:00:02Z",
            "kind": "xid", "condition": "sick", "severity": "critical", "since": "1970-01-01T00:00:01Z", "code": 79,
            "detail": "XID 79",
        });
        assert_eq!(written["events"], json!([event]));
    }
}
