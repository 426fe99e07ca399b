//! What happened to GPUs.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;

use super::problem::Problem;
use super::query::{LIST, Query};
use crate::read::{Event, EventQuestion, Model, Page};

/// Which events, and how.
const EVENTS: &[&str] =
    &["cluster_id", "host_id", "gpu_id", "kind", "condition", "min_severity", "start", "end", "order"];

/// `GET /api/v1/events`
pub(super) async fn events(State(read): State<Model>, uri: Uri) -> Result<Json<Page<Event>>, Problem> {
    let query = Query::of(&uri, &[EVENTS, LIST])?;
    let question = EventQuestion {
        selection: query.selection(),
        kind: query.word("kind")?,
        condition: query.word("condition")?,
        min_severity: query.word("min_severity")?,
        range: query.range()?,
        order: query.order()?,
    };
    Ok(Json(read.events(&question, &query.paging()?).await?))
}
