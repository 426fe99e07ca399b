//! How this gateway is, for people and for those who restart it.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use nexus_common::observe::State as Up;
use serde::Serialize;
use utoipa::ToSchema;

use crate::health::{Health, Report};

/// A state in one word.
#[derive(Serialize, ToSchema)]
pub(super) struct Word {
    /// live; ready or not ready.
    #[schema(example = "ready")]
    status: &'static str,
}

/// Every dependency with its state and latency; 503 when one is down.
#[utoipa::path(get, path = "/health", tag = "state", responses(
    (status = OK, description = "All are up.", body = Report),
    (status = SERVICE_UNAVAILABLE, description = "One is down.", body = Report),
))]
pub(super) async fn health(State(health): State<Health>) -> (StatusCode, Json<Report>) {
    let report = health.report().await;
    (code(report.status == Up::Up), Json(report))
}

/// Whether the process answers.
#[utoipa::path(get, path = "/live", tag = "state", responses((status = OK, description = "It does.", body = Word)))]
pub(super) async fn live() -> Json<Word> {
    Json(Word { status: "live" })
}

/// Whether requests can be answered.
#[utoipa::path(get, path = "/ready", tag = "state", responses(
    (status = OK, description = "They can.", body = Word),
    (status = SERVICE_UNAVAILABLE, description = "Not yet, or not now.", body = Word),
))]
pub(super) async fn ready(State(health): State<Health>) -> (StatusCode, Json<Word>) {
    let ready = health.is_ready().await;
    (code(ready), Json(Word { status: if ready { "ready" } else { "not ready" } }))
}

fn code(good: bool) -> StatusCode {
    if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}
