//! The read model over HTTP, and what operators do about dead letters (`letters.rs`).
//!
//! A list answers `{"items": [...], "next_cursor": ...}`, or the same as NDJSON or CSV (`list.rs`), one thing answers
//! itself, and what fails answers a problem (`problem.rs`). To add a route: a handler beside its kin with its description
//! (`openapi/`), a line in `api`, and for a new sort of item a `Row` (`table.rs`). What holds for all routes is in `around.rs`;
//! that they need a key, in [`crate::access`].

mod around;
mod audit;
mod etag;
mod events;
mod fleet;
mod format;
mod headers;
mod kept;
mod letters;
mod list;
mod live;
mod metrics;
mod openapi;
mod place;
mod probes;
mod problem;
mod query;
mod request_id;
mod swagger;
mod table;
mod telemetry;
mod trace;

use axum::extract::FromRef;
use axum::http::Uri;
use axum::{Json, Router};
use nexus_common::observe::Registry;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::kept::Kept;
use crate::Config;
use crate::access::Access;
use crate::desk::Desk;
use crate::health::Health;
use crate::live::Live;
use crate::metrics::Metrics;
use crate::read::Model;
pub(crate) use live::options as live_options;
pub(crate) use openapi::parameters;
pub(crate) use place::Tail;
pub(crate) use problem::{Problem, Refusal};

/// All routes, with what surrounds them.
pub fn router(
    config: &Config,
    ranges: Ranges,
    health: Health,
    metrics: Metrics,
    live: Option<Live>,
    access: Access,
    desk: Option<Desk>,
) -> Router {
    let probes = OpenApiRouter::new()
        .routes(routes!(probes::health))
        .routes(routes!(probes::live))
        .routes(routes!(probes::ready))
        .with_state(health);
    let requests = metrics.requests();
    let graphql = crate::graphql::router(config, ranges.read.clone(), live.as_ref(), &access, desk.as_ref());
    let operators =
        OpenApiRouter::new().routes(routes!(letters::redrive)).routes(routes!(letters::purge)).with_state(desk);
    let tickets = OpenApiRouter::new().routes(routes!(letters::ticket)).with_state(access.clone());
    let described = OpenApiRouter::with_openapi(openapi::about())
        .routes(routes!(index))
        .merge(api().with_state(ranges))
        .merge(operators)
        .merge(live::routes(live))
        .merge(tickets)
        .merge(probes)
        .merge(OpenApiRouter::new().routes(routes!(metrics::scrape)).with_state(metrics));
    let (routes, description) = described.split_for_parts();
    let routes = routes
        .merge(openapi::routes(description, config, access.is_anonymous()))
        .merge(swagger::routes())
        .merge(graphql)
        .fallback(|uri: Uri| async move { Problem::no_route(uri.path()) })
        .method_not_allowed_fallback(|| async { Problem::method() });
    around::around(routes, config, access, requests)
}

const GPU: &str = "/api/v1/clusters/{cluster_id}/hosts/{host_id}/gpus/{gpu_id}";

/// What questions are answered from; those about ranges of time from what is kept, too.
#[derive(Debug, Clone)]
pub struct Ranges {
    read: Model,
    kept: Kept,
}

impl Ranges {
    /// Of this model. So many bytes are kept, and nothing where an answer is to come from samples alone.
    pub fn new(config: &Config, read: Model) -> Self {
        let room = if config.enable_rollups { config.bounds.kept_bytes } else { 0 };
        Ranges { read, kept: Kept::new(usize::try_from(room).unwrap_or(usize::MAX)) }
    }

    /// Has Prometheus told of both.
    pub fn register(&self, registry: &mut Registry) {
        self.read.register(registry);
        self.kept.register(registry);
    }
}

impl FromRef<Ranges> for Model {
    fn from_ref(ranges: &Ranges) -> Self {
        ranges.read.clone()
    }
}

fn api() -> OpenApiRouter<Ranges> {
    OpenApiRouter::new()
        .routes(routes!(fleet::clusters))
        .routes(routes!(fleet::cluster))
        .routes(routes!(fleet::stats))
        .routes(routes!(fleet::hosts_of))
        .routes(routes!(fleet::host))
        .routes(routes!(fleet::gpus_of))
        .routes(routes!(fleet::gpu))
        .routes(routes!(telemetry::of_gpu))
        .routes(routes!(fleet::hosts))
        .routes(routes!(fleet::gpus))
        .routes(routes!(telemetry::telemetry))
        .routes(routes!(telemetry::latest))
        .routes(routes!(telemetry::metrics))
        .routes(routes!(events::events))
        .routes(routes!(audit::audit))
        .routes(routes!(letters::dead_letters))
        .routes(routes!(letters::actions))
}

/// Where to go from here.
#[derive(Serialize, ToSchema)]
struct Index {
    /// nexus-gateway.
    #[schema(example = "nexus-gateway")]
    name: &'static str,
    /// The version of this gateway.
    version: &'static str,
    /// The paths there are, by name.
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    routes: Value,
}

/// Where to go from here.
#[utoipa::path(get, path = "/", tag = "state", responses((status = OK, description = "The paths there are.", body = Index)))]
async fn index() -> Json<Index> {
    Json(Index {
        name: "nexus-gateway",
        version: env!("CARGO_PKG_VERSION"),
        routes: json!({
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
            "audit": "/api/v1/audit",
            "dead_letters": "/api/v1/dead-letters",
            "redrive": "/api/v1/dead-letters/redrive",
            "purge": "/api/v1/dead-letters/purge",
            "actions": "/api/v1/actions",
            "tickets": "/api/v1/tickets",
            "graphql": "/graphql",
            "stream": "/api/v1/stream",
            "ws": "/ws",
            "health": "/health",
            "live": "/live",
            "ready": "/ready",
            "prometheus": "/metrics",
            "openapi": "/openapi.json",
            "swagger": "/swagger/index.html",
        }),
    })
}
