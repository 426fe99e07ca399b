//! `/metrics`, `/health`, `/live` and `/ready` of a component that serves nothing else.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use tokio::net::TcpListener;

use super::doors::{Bounds, attend};
use super::health::State as Up;
use super::{CONTENT_TYPE, Health, Metrics};
use crate::config::{Invalid, MetricsAddr};

/// What a component tells of itself.
#[derive(Debug)]
pub struct Observed {
    /// Figures.
    pub metrics: Metrics,
    /// What it depends on, and whether it can work.
    pub health: Health,
}

/// The listener for [`serve`]: where METRICS_ADDR says, else on this machine's own port `usual`. That one may be taken by
/// another process of the kind, which is no reason not to work: then there is none, and a warning.
///
/// # Errors
/// [`Invalid`] where an address that was given cannot be had.
pub async fn listen(given: Option<MetricsAddr>, usual: u16) -> Result<Option<TcpListener>, Invalid> {
    let address = match given {
        Some(MetricsAddr::Off) => return Ok(None),
        Some(MetricsAddr::At(address)) => address,
        None => SocketAddr::from((Ipv4Addr::LOCALHOST, usual)),
    };
    match TcpListener::bind(address).await {
        Ok(listener) => {
            let address = listener.local_addr().unwrap_or(address);
            tracing::info!(%address, "metrics are served");
            Ok(Some(listener))
        }
        Err(error) if given.is_none() => {
            tracing::warn!(%address, %error, "no metrics are served; choose an address with METRICS_ADDR");
            Ok(None)
        }
        Err(error) => Err(Invalid(format!("METRICS_ADDR={address}: {error}"))),
    }
}

/// Serves for ever, whatever goes wrong with a connection; without a listener it only waits.
pub async fn serve(listener: Option<TcpListener>, observed: Observed) -> Infallible {
    if let Some(listener) = listener {
        let routes = Router::new()
            .route("/metrics", get(metrics))
            .route("/health", get(health))
            .route("/live", get(live))
            .route("/ready", get(ready))
            .with_state(Arc::new(observed));
        return attend(listener, routes, Bounds::default()).await;
    }
    std::future::pending().await
}

/// 500 where they cannot be written down.
async fn metrics(State(observed): State<Arc<Observed>>) -> Response {
    let look = observed.health.look().await;
    match observed.metrics.text([Box::new(look) as _]) {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be written down");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn health(State(observed): State<Arc<Observed>>) -> Response {
    let report = observed.health.report().await;
    (code(report.status == Up::Up), Json(report)).into_response()
}

async fn live() -> Response {
    Json(json!({"status": "live"})).into_response()
}

async fn ready(State(observed): State<Arc<Observed>>) -> Response {
    let ready = observed.health.is_ready().await;
    (code(ready), Json(json!({"status": if ready { "ready" } else { "not ready" }}))).into_response()
}

fn code(good: bool) -> StatusCode {
    if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_that_was_given_must_be_had_and_the_usual_one_need_not() {
        let taken = listen(Some("127.0.0.1:0".parse().unwrap()), 1).await.unwrap().unwrap();
        let address = taken.local_addr().unwrap();
        let error = listen(Some(MetricsAddr::At(address)), 1).await.unwrap_err().to_string();
        assert!(error.starts_with(&format!("METRICS_ADDR={address}: ")) && !error.contains('\n'), "{error}");
        assert!(listen(None, address.port()).await.unwrap().is_none());
        assert!(listen(Some("".parse().unwrap()), 1).await.unwrap().is_none());
    }
}
