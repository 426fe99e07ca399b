//! Swagger UI over the description: its own files, carried in the binary. Nothing is loaded from elsewhere, no validator is
//! asked, and no page holds a script (`headers.rs` would not let it run).

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use utoipa_swagger_ui::{Config, serve};

use super::place::Tail;
use super::problem::Problem;
use super::{etag, openapi};

const PAGE: &str = "/swagger/index.html";

/// The page and its files.
pub(super) fn routes() -> Router {
    let config = Config::from(openapi::PATH)
        .validator_url("none")
        .try_it_out_enabled(true)
        .display_request_duration(true)
        .filter(true)
        .deep_linking(true);
    Router::new()
        .route("/swagger", get(async || Redirect::permanent(PAGE)))
        .route("/swagger/", get(async || Redirect::permanent(PAGE)))
        .route("/swagger/{*file}", get(file))
        .with_state(Arc::new(config))
}

async fn file(State(config): State<Arc<Config<'static>>>, Tail(name): Tail) -> Response {
    match serve(&name, config) {
        Ok(Some(file)) => {
            let tag = HeaderValue::try_from(etag::tag(&file.bytes)).unwrap_or(HeaderValue::from_static("\"\""));
            let kind = HeaderValue::try_from(file.content_type);
            let kind = kind.unwrap_or(HeaderValue::from_static("application/octet-stream"));
            ([(header::CONTENT_TYPE, kind), (header::ETAG, tag)], file.bytes).into_response()
        }
        Ok(None) => Problem::no_route(&format!("/swagger/{name}")).into_response(),
        Err(error) => Problem::internal(format!("Swagger UI: {error}")).into_response(),
    }
}
