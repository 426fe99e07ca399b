//! What happened to GPUs.

use axum::extract::State;

use super::list::{self, Ask};
use super::query::LIST;
use super::table::Row;
use crate::read::{Event, EventQuestion, Model};

impl Row for Event {
    const FIELDS: &'static [&'static str] = &[
        "id",
        "cluster_id",
        "host_id",
        "gpu_id",
        "uuid",
        "timestamp",
        "noted_at",
        "kind",
        "condition",
        "severity",
        "since",
        "code",
        "detail",
    ];
}

/// Which events, and how.
const EVENTS: &[&str] =
    &["cluster_id", "host_id", "gpu_id", "kind", "condition", "min_severity", "start", "end", "order"];

/// `GET /api/v1/events`
pub(super) async fn events(State(read): State<Model>, ask: Ask) -> list::Answer<Event> {
    let (query, shape) = ask.read(&[EVENTS, LIST])?;
    let question = EventQuestion {
        selection: query.selection(),
        kind: query.word("kind")?,
        condition: query.word("condition")?,
        min_severity: query.word("min_severity")?,
        range: query.range()?,
        order: query.order()?,
    };
    Ok(shape.list(read.events(&question, &query.paging()?).await?))
}
