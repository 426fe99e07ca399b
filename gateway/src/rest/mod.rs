//! The read model over HTTP, read-only.
//!
//! A list answers `{"items": [...], "next_cursor": ...}`, or the same as NDJSON or CSV (`list.rs`), one thing answers
//! itself, and what fails answers a problem (`problem.rs`). To add a route: a handler beside its kin, a line in `api`,
//! and for a new sort of item a `Row` (`table.rs`). What holds for all routes is in `around.rs`.

mod around;
mod etag;
mod events;
mod fleet;
mod format;
mod headers;
mod list;
mod live;
mod place;
mod probes;
mod problem;
mod query;
mod request_id;
mod table;
mod telemetry;
mod trace;

use axum::http::Uri;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::Config;
use crate::health::Health;
use crate::live::Live;
use crate::read::Model;
pub(crate) use live::options as live_options;
pub(crate) use problem::Problem;

/// All routes, with what surrounds them.
pub fn router(config: &Config, read: Model, health: Health, live: Option<Live>) -> Router {
    let probes = Router::new()
        .route("/health", get(probes::health))
        .route("/live", get(probes::live))
        .route("/ready", get(probes::ready))
        .with_state(health);
    let routes = Router::new()
        .route("/", get(index))
        .merge(probes)
        .merge(crate::graphql::router(config, read.clone()))
        .merge(api().with_state(read))
        .merge(live::routes(live))
        .fallback(|uri: Uri| async move { Problem::no_route(uri.path()) })
        .method_not_allowed_fallback(|| async { Problem::method() });
    around::around(routes, config)
}

const GPU: &str = "/api/v1/clusters/{cluster_id}/hosts/{host_id}/gpus/{gpu_id}";

fn api() -> Router<Model> {
    Router::new()
        .route("/api/v1/clusters", get(fleet::clusters))
        .route("/api/v1/clusters/{cluster_id}", get(fleet::cluster))
        .route("/api/v1/clusters/{cluster_id}/stats", get(fleet::stats))
        .route("/api/v1/clusters/{cluster_id}/hosts", get(fleet::hosts_of))
        .route("/api/v1/clusters/{cluster_id}/hosts/{host_id}", get(fleet::host))
        .route("/api/v1/clusters/{cluster_id}/hosts/{host_id}/gpus", get(fleet::gpus_of))
        .route(GPU, get(fleet::gpu))
        .route(&format!("{GPU}/metrics"), get(telemetry::of_gpu))
        .route("/api/v1/hosts", get(fleet::hosts))
        .route("/api/v1/gpus", get(fleet::gpus))
        .route("/api/v1/telemetry", get(telemetry::telemetry))
        .route("/api/v1/telemetry/latest", get(telemetry::latest))
        .route("/api/v1/metrics", get(telemetry::metrics))
        .route("/api/v1/events", get(events::events))
}

/// `GET /`: where to go from here.
async fn index() -> Json<Value> {
    Json(json!({
        "name": "nexus-gateway",
        "version": env!("CARGO_PKG_VERSION"),
        "routes": {
            "clusters": "/api/v1/clusters",
            "cluster": "/api/v1/clusters/{cluster_id}",
            "stats": "/api/v1/clusters/{cluster_id}/stats",
            "hosts": "/api/v1/hosts",
            "hosts_of_cluster": "/api/v1/clusters/{cluster_id}/hosts",
            "host": "/api/v1/clusters/{cluster_id}/hosts/{host_id}",
            "gpus": "/api/v1/gpus",
            "gpus_of_host": "/api/v1/clusters/{cluster_id}/hosts/{host_id}/gpus",
            "gpu": GPU,
            "gpu_metrics": format!("{GPU}/metrics"),
            "telemetry": "/api/v1/telemetry",
            "latest": "/api/v1/telemetry/latest",
            "metrics": "/api/v1/metrics",
            "events": "/api/v1/events",
            "stream": "/api/v1/stream",
            "ws": "/ws",
            "graphql": "/graphql",
            "health": "/health",
            "live": "/live",
            "ready": "/ready",
        },
    }))
}
