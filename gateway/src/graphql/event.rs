//! What happened to GPUs.

use async_graphql::SimpleObject;
use nexus_common::domain;

use crate::read;

/// Something that happened to a GPU, as it was told.
#[derive(SimpleObject)]
#[graphql(rename_fields = "snake_case")]
pub(super) struct Event {
    /// Rising in the order of storing.
    id: i64,
    /// The cluster's name.
    cluster_id: String,
    /// The host's name at that time.
    host_id: String,
    /// The GPU's index on the host at that time.
    gpu_id: String,
    /// Where it is known.
    uuid: Option<String>,
    /// When it was so, by the data.
    timestamp: String,
    /// When it was noticed, by the clock; null in the live feed, which tells it at once.
    noted_at: Option<String>,
    /// What happened, in a word.
    kind: String,
    /// The condition it belongs to, in a word; null for an XID that makes no GPU sick.
    condition: Option<String>,
    /// How much it matters: notice, warning or critical.
    severity: String,
    /// Since when the condition has held, or had.
    since: String,
    /// The XID code, the number of errors or the bit mask, where there is one.
    code: Option<i64>,
    /// In words, with figures and units.
    detail: String,
}

impl From<read::Event> for Event {
    fn from(event: read::Event) -> Self {
        Event {
            id: event.id,
            cluster_id: event.cluster_id,
            host_id: event.host_id,
            gpu_id: event.gpu_id,
            uuid: event.uuid,
            timestamp: event.timestamp.0.to_string(),
            noted_at: Some(event.noted_at.0.to_string()),
            kind: event.kind,
            condition: event.condition,
            severity: event.severity,
            since: event.since.0.to_string(),
            code: event.code,
            detail: event.detail,
        }
    }
}

impl Event {
    /// As the live feed tells it.
    pub(super) fn live(cluster_id: &str, event: &domain::Event) -> Self {
        Event {
            id: event.id,
            cluster_id: cluster_id.to_owned(),
            host_id: event.host_id.clone(),
            gpu_id: event.gpu_id.clone(),
            uuid: event.uuid.clone(),
            timestamp: event.at.to_string(),
            noted_at: None,
            kind: event.kind.as_str().to_owned(),
            condition: event.condition.map(|condition| condition.as_str().to_owned()),
            severity: event.severity.as_str().to_owned(),
            since: event.since.to_string(),
            code: event.code,
            detail: event.detail.clone(),
        }
    }
}
