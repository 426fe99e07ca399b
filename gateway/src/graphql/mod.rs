//! The read model as GraphQL, at `/graphql`: the names, the numbers, the bounds and the cursors of REST. What operators do
//! there are mutations ([`acts`]).
//!
//! - A plain list (`clusters`, `hosts`, `gpus`, `telemetry`, `latest`) is cut after `limit` items; beside each stands its
//!   `_page`, with a cursor behind every item.
//! - What REST writes as an object by metric (`data`, `latest`, `readings`, `distributions`) is one value of the scalar
//!   `JSON`, the same to the digit.
//! - Samples nested under GPUs are asked for together ([`batch`]).
//! - A query that asks for too much is refused before it is answered ([`scan`], [`cost`]).
//! - Errors carry `extensions.code` and the request's id ([`error`]).
//!
//! To add a question: a field in `query.rs` over the read model's answer, and where it asks PostgreSQL or lists things,
//! its name in `cost.rs`.

mod acts;
mod asked;
mod audit;
mod batch;
mod cost;
mod error;
mod event;
mod execute;
mod fleet;
mod gpu;
mod http;
mod letters;
mod live;
mod metric;
mod page;
mod query;
mod question;
mod sample;
mod scan;
mod socket;
mod stats;
mod words;

use axum::Router;
use axum::routing;

use crate::Config;
use crate::access::Access;
use crate::desk::Desk;
use crate::live::Live;
use crate::read::Model;
use crate::rest::Problem;
use acts::Acts;
use execute::Api;
use http::Served;
pub(crate) use http::{opens_a_socket, wants_the_page};
use live::Feed;
use query::Query;

type Schema = async_graphql::Schema<Query, Acts, Feed>;

/// Directives of one field.
const DIRECTIVES: usize = 5;

/// The route and the playground's files; where GraphQL is switched off, a route that says so.
pub(crate) fn router(
    config: &Config,
    read: Model,
    live: Option<&Live>,
    access: &Access,
    desk: Option<&Desk>,
) -> Router {
    if !config.enable_graphql {
        return Router::new()
            .route("/graphql", routing::any(|| async { Problem::switched_off("GraphQL", "ENABLE_GRAPHQL") }));
    }
    let bounds = cost::Bounds {
        depth: config.bounds.graphql_depth,
        cost: config.bounds.graphql_complexity.into(),
        introspection: config.enable_introspection,
    };
    let api = Api::new(schema(config.enable_introspection, live, desk), read, bounds);
    let body_bytes = usize::try_from(config.bounds.body_bytes).unwrap_or(usize::MAX);
    Router::new()
        .route("/graphql", routing::get(http::get).post(http::post).fallback(http::other))
        .route("/graphql/assets/{*path}", routing::get(crate::web::asset))
        .with_state(Served { api, body_bytes, access: access.clone(), live: live.cloned() })
}

fn schema(introspection: bool, live: Option<&Live>, desk: Option<&Desk>) -> Schema {
    let schema = Schema::build(Query, Acts, Feed).limit_directives(DIRECTIVES);
    let schema = if introspection { schema } else { schema.disable_introspection() };
    let schema = match live {
        Some(live) => schema.data(live.clone()),
        None => schema,
    };
    match desk {
        Some(desk) => schema.data(desk.clone()),
        None => schema,
    }
    .finish()
}
