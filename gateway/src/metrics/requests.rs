//! Requests as metrics: how many, of which route, how long they took and how they ended.

use std::ops::ControlFlow;
use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::{StatusCode, header};
use axum::response::Response;
use nexus_common::observe::{CALLS, Counted, Counter, Family, Gauge, Histogram, Registry};
use prometheus_client::encoding::EncodeLabelSet;

use crate::pass::Pass;
use crate::rest::Refusal;

/// Counted around everything that answers; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Requests {
    duration: Family<Answered, Histogram>,
    in_flight: Gauge,
    refused: Family<Reason, Counter>,
}

/// Routes are few and all are known; what was asked for besides them is one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    protocol: &'static str,
    route: String,
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: String,
}

impl Requests {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let requests = Requests {
            duration: Family::new_with_constructor(|| Histogram::new(CALLS)),
            in_flight: Gauge::default(),
            refused: Family::default(),
        };
        // An alert that looks for the first refusal needs to have seen none.
        for reason in ["busy", "timeout", "too_large", "unavailable"] {
            drop(requests.refused.get_or_create(&Reason { reason: reason.to_owned() }));
        }
        registry.register(
            "nexus_gateway_request_duration_seconds",
            "From a request's head until its answer begins, by the template of its route; of a WebSocket its opening",
            requests.duration.clone(),
        );
        registry.register(
            "nexus_gateway_requests_in_flight",
            "Requests whose answer has not begun",
            requests.in_flight.clone(),
        );
        registry.register(
            "nexus_gateway_refused",
            "Requests over HTTP that were answered with a problem, by its type; errors of GraphQL are in its answers",
            requests.refused.clone(),
        );
        requests
    }
}

/// A request that is being answered.
pub(crate) struct Noted {
    began: Instant,
    route: Option<MatchedPath>,
    _in_flight: Counted,
}

impl Pass for Requests {
    type Noted = Noted;

    fn before(&self, request: &mut Request) -> ControlFlow<Response, Noted> {
        let route = request.extensions().get().cloned();
        ControlFlow::Continue(Noted { began: Instant::now(), route, _in_flight: Counted::new(&self.in_flight) })
    }

    fn after(&self, noted: Noted, response: Response) -> Response {
        if let Some(Refusal(code)) = response.extensions().get() {
            self.refused.get_or_create(&Reason { reason: reason(code) }).inc();
        }
        let page =
            response.headers().get(header::CONTENT_TYPE).is_some_and(|it| it.as_bytes().starts_with(b"text/html"));
        let route = noted.route.as_ref().map_or("none", MatchedPath::as_str).to_owned();
        let protocol = protocol(&route, response.status(), page);
        let answered = Answered { protocol, route, status: class(response.status()) };
        self.duration.get_or_create(&answered).observe(noted.began.elapsed().as_secs_f64());
        response
    }
}

fn protocol(route: &str, status: StatusCode, page: bool) -> &'static str {
    match route {
        "/ws" => "websocket",
        _ if status == StatusCode::SWITCHING_PROTOCOLS => "websocket",
        _ if page || route.starts_with("/swagger") || route.starts_with("/graphql/") => "page",
        "/graphql" => "graphql",
        _ => "rest",
    }
}

fn class(status: StatusCode) -> &'static str {
    match status.as_u16() / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    }
}

/// A problem's type as a label.
fn reason(code: &str) -> String {
    match code {
        "too-slow" => "timeout".to_owned(),
        code => code.replace('-', "_"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_answers_is_told_apart() {
        let of = |route, status, page| protocol(route, StatusCode::from_u16(status).unwrap(), page);
        assert_eq!(of("/api/v1/gpus", 200, false), "rest");
        assert_eq!(of("none", 404, false), "rest");
        assert_eq!(of("/graphql", 200, false), "graphql");
        assert_eq!(of("/graphql", 200, true), "page");
        assert_eq!(of("/graphql", 101, false), "websocket");
        assert_eq!(of("/ws", 503, false), "websocket");
        assert_eq!(of("/swagger/{*rest}", 200, false), "page");
        assert_eq!((reason("too-slow"), reason("uri-too-long")), ("timeout".to_owned(), "uri_too_long".to_owned()));
    }
}
