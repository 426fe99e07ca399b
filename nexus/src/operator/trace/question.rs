//! What is to be traced: a message, a batch, or the value of a GPU at a time.

use nexus_common::config::Invalid;
use nexus_common::domain::{Metric, Timestamp};
use nexus_common::queue::{BatchId, MessageKey};
use serde::Serialize;

use crate::operator::words::Time;

/// The question, understood.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Question {
    Message(MessageKey),
    Batch(BatchId),
    Value(Value),
}

/// A value by what a person knows of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Value {
    pub(super) host: String,
    /// An index on the host, or a UUID.
    pub(super) gpu: String,
    pub(super) at: Timestamp,
    pub(super) metric: Option<Metric>,
}

/// The question as JSON.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub(super) enum Asked {
    Key { message: String },
    Batch { batch: String },
    Value { host: String, gpu: String, at: Time, metric: Option<String> },
}

impl Question {
    /// A message's key, whole or its last part; or a batch's name, or any key that ends in one.
    pub(super) fn of_key(text: &str) -> Result<Question, Invalid> {
        let name = text.trim().trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        let message = name.parse().ok().filter(|_| name.matches('_').count() == 3).map(Question::Message);
        let batch = || name.parse().ok().filter(|_| name.matches('_').count() == 1).map(Question::Batch);
        message.or_else(batch).ok_or_else(|| {
            Invalid(format!(
                "{text:?} is neither a message's key ({{timestamp_ms}}_{{host}}_{{gpu}}_{{sequence}}) nor a batch \
                 ({{timestamp_ms}}_{{lane}}.{{run}}.{{n}}); nexus queue peek shows keys"
            ))
        })
    }

    pub(super) fn asked(&self) -> Asked {
        match self {
            Question::Message(key) => Asked::Key { message: key.to_string() },
            Question::Batch(batch) => Asked::Batch { batch: batch.to_string() },
            Question::Value(Value { host, gpu, at, metric }) => Asked::Value {
                host: host.clone(),
                gpu: gpu.clone(),
                at: Time(*at),
                metric: metric.as_ref().map(|metric| metric.name().to_owned()),
            },
        }
    }

    /// For people.
    pub(super) fn title(&self) -> String {
        match self {
            Question::Message(key) => format!("message {key}"),
            Question::Batch(batch) => format!("batch {batch}"),
            Question::Value(Value { host, gpu, at, metric }) => {
                let metric = metric.as_ref().map_or_else(String::new, |metric| format!(", {}", metric.name()));
                format!("{host} GPU {gpu} at {at}{metric}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_batches_are_told_apart() {
        let message = "/telemetry/queue/local-cluster/1692712345000_host-001_0_1000000001";
        assert!(matches!(Question::of_key(message), Ok(Question::Message(key)) if key.host == "host-001"));
        assert!(matches!(Question::of_key("1692712345000_-_-_5"), Ok(Question::Message(key)) if key.host.is_empty()));
        for batch in ["1692712345000_ab-0of1.cd.7", "/telemetry/claim/c/1692712345000_ab-0of1.cd.7"] {
            assert!(matches!(Question::of_key(batch), Ok(Question::Batch(batch)) if batch.n == 7), "{batch}");
        }
        assert!(Question::of_key("host-001").is_err() && Question::of_key("").is_err());
    }
}
