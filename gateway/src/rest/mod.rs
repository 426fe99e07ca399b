//! The read model as JSON over HTTP, read-only.
//!
//! A list answers `{"items": [...], "next_cursor": ...}`, one thing answers itself, and what fails answers a problem
//! (`problem.rs`). To add a route: a handler beside its kin, and a line in `api`.

mod fleet;
mod live;
mod place;
mod probes;
mod problem;
mod query;
mod request_id;
mod telemetry;

use std::any::Any;

use axum::http::{HeaderName, HeaderValue, Method, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router, middleware};
use serde_json::{Value, json};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowOrigin, Any as Anyone, CorsLayer};

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
        .merge(api().with_state(read))
        .merge(live::routes(live))
        .fallback(|uri: Uri| async move { Problem::no_route(uri.path()) })
        .method_not_allowed_fallback(|| async { Problem::method() })
        .layer(CatchPanicLayer::custom(panicked));
    let routes = if config.enable_cors { routes.layer(cors(&config.cors_origins)) } else { routes };
    routes.layer(middleware::from_fn(request_id::layer))
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
            "stream": "/api/v1/stream",
            "ws": "/ws",
            "health": "/health",
            "live": "/live",
            "ready": "/ready",
        },
    }))
}

/// Pages of these origins may read answers; `*` is any. An origin that cannot be one matches no page.
fn cors(origins: &[String]) -> CorsLayer {
    let exposed: [HeaderName; 2] = [request_id::HEADER, header::RETRY_AFTER];
    let cors =
        CorsLayer::new().allow_methods([Method::GET, Method::HEAD]).allow_headers(Anyone).expose_headers(exposed);
    if origins.iter().any(|origin| origin.trim() == "*") {
        return cors.allow_origin(Anyone);
    }
    let origins = origins.iter().filter_map(|origin| HeaderValue::from_str(origin.trim().trim_end_matches('/')).ok());
    cors.allow_origin(AllowOrigin::list(origins))
}

/// The owned box is what the layer hands over.
#[allow(clippy::needless_pass_by_value)]
fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    Problem::internal(format!("panic: {}", text.unwrap_or_default())).into_response()
}
