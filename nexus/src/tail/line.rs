//! Messages of the feed as lines for people. Pure.

use std::borrow::Cow;
use std::fmt::Write;

use nexus_common::domain::Metric;
use serde::Deserialize;
use serde_json::{Map, Number};

/// What the feed says, as far as it is shown.
#[derive(Debug, Deserialize)]
pub(super) struct Message {
    r#type: String,
    pub(super) position: Option<String>,
    #[serde(default)]
    cluster_id: String,
    #[serde(default)]
    samples: Vec<Sample>,
    #[serde(default)]
    events: Vec<Event>,
    #[serde(default)]
    left_out: u64,
    #[serde(default)]
    skipped: u64,
    after: Option<String>,
    before: Option<String>,
    reason: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Sample {
    host_id: String,
    gpu_id: String,
    timestamp: String,
    data: Map<String, serde_json::Value>,
}

#[derive(Debug, Deserialize)]
struct Event {
    host_id: String,
    gpu_id: String,
    timestamp: String,
    kind: String,
    severity: String,
    detail: String,
}

/// How lines look.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lines {
    /// They name the cluster.
    pub(super) cluster: bool,
    /// What matters stands out.
    pub(super) coloured: bool,
}

const RED: &str = "\x1b[1;31m";
const YELLOW: &str = "\x1b[1;33m";
const BOLD: &str = "\x1b[1m";
const PLAIN: &str = "\x1b[0m";

impl Message {
    /// Whether a program that reads the feed wants it.
    pub(super) fn has_data(&self) -> bool {
        !matches!(self.r#type.as_str(), "position" | "welcome")
    }

    /// What is not data, but should be known.
    pub(super) fn remark(&self) -> Option<String> {
        let mut remarks = Vec::new();
        if self.r#type == "gap" {
            let (after, before) = (self.after.as_deref().unwrap_or("?"), self.before.as_deref());
            let before = before.map(|before| format!(" and before {before}")).unwrap_or_default();
            let reason = self.reason.as_deref().unwrap_or("nobody says why");
            remarks.push(format!("gap: what came after {after}{before} is missing: {reason}"));
        }
        if self.skipped > 0 {
            remarks.push(format!("{} frames were merged, because the feed is faster than this", self.skipped));
        }
        if self.left_out > 0 {
            remarks.push(format!("{} values did not fit the feed; the API has them", self.left_out));
        }
        (!remarks.is_empty()).then(|| plain(&remarks.join("; ")).into_owned())
    }
}

impl Lines {
    /// One line a sample or event.
    pub(super) fn of(self, message: &Message) -> Vec<String> {
        let samples = message.samples.iter().map(|sample| self.sample(&message.cluster_id, sample));
        samples.chain(message.events.iter().map(|event| self.event(&message.cluster_id, event))).collect()
    }

    fn sample(self, cluster: &str, sample: &Sample) -> String {
        let mut line = self.place(&sample.timestamp, cluster, &sample.host_id, &sample.gpu_id);
        for (name, value) in &sample.data {
            let unit = Metric::known(name).and_then(|metric| metric.definition()).map_or("", |metric| metric.unit);
            let value = value.as_number().map_or_else(|| plain(&value.to_string()).into_owned(), Number::to_string);
            let space = if unit.is_empty() { "" } else { " " };
            // Writing to a string does not fail.
            let _ = write!(line, "  {} {value}{space}{unit}", plain(name));
        }
        line
    }

    fn event(self, cluster: &str, event: &Event) -> String {
        let place = self.place(&event.timestamp, cluster, &event.host_id, &event.gpu_id);
        let (severity, kind, detail) = (event.severity.to_uppercase(), plain(&event.kind), plain(&event.detail));
        let text = format!("{}: {kind}: {detail}", plain(&severity));
        let colour = match event.severity.as_str() {
            "critical" => RED,
            "warning" => YELLOW,
            _ => BOLD,
        };
        if self.coloured { format!("{place}  {colour}{text}{PLAIN}") } else { format!("{place}  {text}") }
    }

    fn place(self, time: &str, cluster: &str, host: &str, gpu: &str) -> String {
        let cluster = if self.cluster { format!("  {}", plain(cluster)) } else { String::new() };
        format!("{}{cluster}  {}/{}", plain(time), plain(host), plain(gpu))
    }
}

/// A text that does nothing to a terminal.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    if text.chars().any(char::is_control) {
        text.chars().map(|c| if c.is_control() { '?' } else { c }).collect::<String>().into()
    } else {
        text.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn lines(message: serde_json::Value, cluster: bool, coloured: bool) -> Vec<String> {
        Lines { cluster, coloured }.of(&serde_json::from_value(message).unwrap())
    }

    #[test]
    fn a_sample_is_a_line_with_units() {
        let message = json!({"type": "telemetry", "position": "a.1", "revision": 1, "cluster_id": "c", "samples": [
            {"host_id": "h\u{1b}[2J", "gpu_id": "0", "timestamp": "2026-01-05T08:00:00Z",
             "data": {"power_watts": 71.5, "slots": 3, "xid": 0}},
        ]});
        let expected = "2026-01-05T08:00:00Z  c  h?[2J/0  power_watts 71.5 W  slots 3  xid 0";
        assert_eq!(lines(message, true, true), [expected], "and does nothing to the terminal");
    }

    #[test]
    fn an_event_stands_out() {
        let message = json!({"type": "events", "position": "a.1", "cluster_id": "c", "events": [
            {"id": 1, "host_id": "h", "gpu_id": "0", "timestamp": "2026-01-05T08:00:00Z", "kind": "xid",
             "severity": "critical", "detail": "XID 79: fell off the bus"},
        ]});
        assert_eq!(
            lines(message.clone(), false, false),
            ["2026-01-05T08:00:00Z  h/0  CRITICAL: xid: XID 79: fell off the bus"]
        );
        assert!(lines(message, false, true)[0].contains("\x1b[1;31mCRITICAL"));
    }

    #[test]
    fn what_is_missing_is_remarked_upon() {
        let remark = |message: serde_json::Value| serde_json::from_value::<Message>(message).unwrap().remark();
        let gap = json!({"type": "gap", "position": "a.4", "after": "a.1", "before": "a.5", "reason": "too old"});
        assert_eq!(remark(gap).unwrap(), "gap: what came after a.1 and before a.5 is missing: too old");
        let merged = json!({"type": "telemetry", "position": "a.4", "samples": [], "skipped": 7, "left_out": 2});
        assert!(remark(merged).unwrap().starts_with("7 frames were merged"));
        assert_eq!(remark(json!({"type": "position", "position": "a.4"})), None);
    }
}
