//! What this gateway tells Prometheus.

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

use super::problem::Problem;
use crate::metrics::{CONTENT_TYPE, Metrics};

/// This gateway's metrics, for Prometheus.
///
/// Among them the books of its cluster (`nexus_audit_…`), as `/api/v1/audit` had them at `nexus_audit_timestamp_seconds`: while
/// somebody scrapes they are looked into every AUDIT_INTERVAL. `nexus_audit_success` is 0 where that failed the last time; what
/// was found before stands until the next finding is late by a quarter of an hour.
#[utoipa::path(get, path = "/metrics", tag = "state", operation_id = "prometheus", responses(
    (status = OK, description = "Prometheus' text format 0.0.4.", body = String, content_type = "text/plain"),
))]
pub(super) async fn scrape(State(metrics): State<Metrics>) -> Result<impl IntoResponse, Problem> {
    let text = metrics.text().await.map_err(|error| Problem::internal(error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text))
}
