//! Every request has an id: the caller's, where it sent one that can be used, or a new one. It comes back in
//! `x-request-id`, stands in every problem, and in the request's log line, there together with the id of its trace
//! (`trace.rs`).

use std::ops::ControlFlow;
use std::time::Instant;

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Method};
use axum::response::Response;
use nexus_common::traces::Span;

use super::problem::Problem;
use super::trace::{self, Trace};
use crate::pass::Pass;

/// Both ways.
pub(super) const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id that is taken over.
const LONGEST: usize = 128;

/// Around all that can fail: gives the request its id and writes the problem that came out of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct RequestIds;

/// A request that is being answered.
pub(super) struct Noted {
    id: HeaderValue,
    trace: Trace,
    span: Option<Span>,
    method: Method,
    path: String,
    began: Instant,
}

impl Pass for RequestIds {
    type Noted = Noted;

    fn before(&self, request: &mut Request) -> ControlFlow<Response, Noted> {
        let id = request.headers().get(HEADER).filter(|id| usable(id)).cloned().unwrap_or_else(new);
        request.headers_mut().insert(HEADER, id.clone());
        let trace = Trace::of(request.headers());
        let (span, method, path) = (trace.span(request), request.method().clone(), request.uri().path().to_owned());
        ControlFlow::Continue(Noted { id, trace, span, method, path, began: Instant::now() })
    }

    fn after(&self, noted: Noted, mut response: Response) -> Response {
        let Noted { id, trace, span, method, path, began } = noted;
        let (request_id, trace_id) = (id.to_str().unwrap_or_default(), trace.id());
        let (status, took_ms) = (response.status().as_u16(), began.elapsed().as_secs_f64() * 1e3);
        tracing::debug!(request_id, trace_id, %method, path, status, took_ms, "answered");
        if let Some(problem) = response.extensions_mut().remove::<Problem>() {
            let mut answer = problem.answer(request_id, &trace_id);
            // What other layers said (CORS, Allow) stays, unless it is about the body that was not there yet.
            for (name, value) in response.headers() {
                if name != axum::http::header::CONTENT_LENGTH && !answer.headers().contains_key(name) {
                    answer.headers_mut().append(name.clone(), value.clone());
                }
            }
            response = answer;
        }
        if let Some(span) = span {
            trace::answered(span, response.status());
        }
        response.headers_mut().insert(HEADER, id);
        if let Some(trace) = trace.header() {
            response.headers_mut().insert(trace::HEADER, trace);
        }
        response
    }
}

/// Visible ASCII: it goes into a log, into JSON and into the table of what operators did. So it is no key.
fn usable(id: &HeaderValue) -> bool {
    let bytes = id.as_bytes();
    let is_plain = (1..=LONGEST).contains(&id.len()) && bytes.iter().all(u8::is_ascii_graphic);
    is_plain && matches!(nexus_common::identity::cut(bytes), std::borrow::Cow::Borrowed(_))
}

fn new() -> HeaderValue {
    let text = format!("{:032x}", rand::random::<u128>());
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_can_be_used_is_taken_over() {
        let of = |text: &str| usable(&HeaderValue::try_from(text).unwrap());
        assert!(of("a1b2-c3"));
        assert!(!of(""));
        assert!(!of("two words"));
        assert!(!of("nxk_reader_abc"));
        assert!(!of(&"x".repeat(129)));
    }

    #[test]
    fn a_new_id_is_32_hex_digits() {
        let id = new();
        assert!(id.len() == 32 && id.as_bytes().iter().all(u8::is_ascii_hexdigit), "{id:?}");
        assert_ne!(id, new());
    }
}
