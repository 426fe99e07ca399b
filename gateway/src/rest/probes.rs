//! How this gateway is, for people and for those who restart it.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;

use crate::health::{Health, Report, State as Up};

/// A state in one word.
#[derive(Serialize)]
pub(super) struct Word {
    status: &'static str,
}

/// `GET /health`: every dependency; 503 when one is down.
pub(super) async fn health(State(health): State<Health>) -> (StatusCode, Json<Report>) {
    let report = health.report().await;
    (code(report.status == Up::Up), Json(report))
}

/// `GET /live`: the process answers.
pub(super) async fn live() -> Json<Word> {
    Json(Word { status: "live" })
}

/// `GET /ready`: requests can be answered.
pub(super) async fn ready(State(health): State<Health>) -> (StatusCode, Json<Word>) {
    let ready = health.is_ready().await;
    (code(ready), Json(Word { status: if ready { "ready" } else { "not ready" } }))
}

fn code(good: bool) -> StatusCode {
    if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}
