//! W3C trace context: a request that comes with a `traceparent` stays in its trace under a span of ours, and one without
//! begins a trace. The answer names both in `traceparent`, so that a client's trace and our log meet. Where the client
//! records its trace, our span is sent too.

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use nexus_common::traces::{Context, Kind, Span};

/// Both ways.
pub(super) const HEADER: HeaderName = HeaderName::from_static("traceparent");

/// Where a request stands among those that belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trace {
    /// What the caller sent.
    parent: Option<Context>,
    own: Context,
}

impl Trace {
    /// Of a request: a new span of the caller's trace, or of a new one where the caller sent none that can be used, or
    /// several.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut given = headers.get_all(HEADER).iter();
        let parent: Option<Context> = match (given.next(), given.next()) {
            (Some(only), None) => only.to_str().ok().and_then(|text| text.parse().ok()),
            _ => None,
        };
        Trace { parent, own: parent.map_or_else(|| Context::root(false), Context::child) }
    }

    /// The trace's id, as the log writes it.
    pub(super) fn id(self) -> String {
        self.own.trace_id()
    }

    /// For the answer.
    pub(super) fn header(self) -> Option<HeaderValue> {
        HeaderValue::try_from(self.own.to_string()).ok()
    }

    /// The span of a request that is about to be answered; `None` where nobody records it.
    pub(super) fn span(self, request: &Request) -> Option<Span> {
        let parent = self.parent.filter(|parent| parent.is_sampled())?;
        let (method, route) = (request.method().as_str(), request.extensions().get::<MatchedPath>());
        let name = route.map_or_else(|| method.to_owned(), |route| format!("{method} {}", route.as_str()));
        let span = Span::of(self.own, parent, name, Kind::Server)?.with("http.request.method", method);
        Some(span.with("url.path", request.uri().path()))
    }
}

/// It was answered.
pub(super) fn answered(span: Span, status: StatusCode) {
    span.with("http.response.status_code", u64::from(status.as_u16())).failed(status.is_server_error()).end();
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn of(headers: &[&'static str]) -> Trace {
        Trace::of(&headers.iter().map(|text| (HEADER, HeaderValue::from_static(text))).collect())
    }

    #[test]
    fn a_trace_goes_on_under_a_new_span() {
        let trace = of(&[GIVEN]);
        assert_eq!(trace.id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        let header = trace.header().unwrap();
        let header = header.to_str().unwrap();
        assert!(!header.contains("00f067aa0ba902b7") && header.ends_with("-01"), "{header}");
    }

    #[test]
    fn what_is_no_trace_or_several_begins_one() {
        for headers in [&[][..], &["nonsense"], &[GIVEN, GIVEN]] {
            let trace = of(headers);
            assert_ne!(trace.id(), "4bf92f3577b34da6a3ce929d0e0e4736", "{headers:?}");
            assert!(!trace.own.is_sampled() && trace.header().is_some(), "{headers:?}");
        }
    }
}
