//! What did not change is not sent again: answers carry a weak `ETag` over their body, and who has that body already gets
//! 304. Weak, because the same answer may be compressed in several ways.

use std::hash::BuildHasher;
use std::ops::ControlFlow;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use foldhash::quality::FixedState;
use futures_util::FutureExt;
use http_body_util::BodyExt;

use super::problem::Problem;
use crate::pass::Pass;

/// A longer body is not worth the hash.
const LONGEST: u64 = 1 << 20;

/// Gives an answer its tag and compares it with the caller's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tags;

/// What is asked for, and what of it the caller has.
pub(super) struct Noted {
    reads: bool,
    api: bool,
    known: Vec<HeaderValue>,
}

impl Pass for Tags {
    type Noted = Noted;

    fn before(&self, request: &mut Request) -> ControlFlow<Response, Noted> {
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        let api = request.uri().path().starts_with("/api/v1/");
        let known = request.headers().get_all(header::IF_NONE_MATCH).iter().cloned().collect();
        ControlFlow::Continue(Noted { reads, api, known })
    }

    fn behind(&self, noted: Noted, mut response: Response) -> Response {
        let Noted { reads, api, known } = noted;
        if !reads || response.status() != StatusCode::OK {
            return response;
        }
        if !response.headers().contains_key(header::ETAG) {
            if !tagged(response.headers(), api) || response.body().size_hint().exact().is_none_or(|size| size > LONGEST)
            {
                return response;
            }
            let (mut parts, body) = response.into_parts();
            let Some(bytes) = whole(body) else {
                return Problem::internal("a body ended early".to_owned()).into_response();
            };
            if let Ok(tag) = HeaderValue::try_from(tag(&bytes)) {
                parts.headers.insert(header::ETAG, tag);
            }
            response = Response::from_parts(parts, Body::from(bytes));
        }
        let tag = response.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok()).unwrap_or_default();
        if known.iter().filter_map(|known| known.to_str().ok()).any(|known| names(known, tag)) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            *response.body_mut() = Body::empty();
            for about_the_body in [header::CONTENT_TYPE, header::CONTENT_LENGTH] {
                response.headers_mut().remove(about_the_body);
            }
        }
        response
    }
}

/// A body whose size is known: it lies in memory, whole, and nothing here has to be waited for.
fn whole(mut body: Body) -> Option<Bytes> {
    let size = body.size_hint().exact()?;
    if size == 0 {
        return Some(Bytes::new());
    }
    let bytes = body.frame().now_or_never()??.ok()?.into_data().ok()?;
    (bytes.len() as u64 == size).then_some(bytes)
}

/// JSON of the API, and the pages with what belongs to them.
fn tagged(headers: &HeaderMap, api: bool) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    match kind.split(';').next().unwrap_or_default().trim() {
        "application/json" => api,
        "application/problem+json" | "text/event-stream" | "application/x-ndjson" | "text/csv" | "text/plain" | "" => {
            false
        }
        _ => !api,
    }
}

/// The same body has the same tag on every gateway of this build. On another sort of processor it may have another: then
/// it is sent once more.
pub(super) fn tag(body: &[u8]) -> String {
    format!("W/\"{:016x}-{:x}\"", FixedState::default().hash_one(body), body.len())
}

/// Whether an `If-None-Match` names this tag, weak or not, or any.
fn names(known: &str, tag: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    known.trim() == "*" || known.split(',').any(|known| opaque(known) == opaque(tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_tell_bodies_apart() {
        assert_eq!(tag(b"a"), tag(b"a"));
        assert_ne!(tag(b"a"), tag(b"b"));
        assert_ne!(tag(b""), tag(b"\0"));
    }

    #[test]
    fn a_tag_is_found_in_a_list() {
        for known in ["W/\"a\"", "\"a\"", "\"x\", W/\"a\"", "*"] {
            assert!(names(known, "W/\"a\""), "{known}");
        }
        for known in ["", "\"b\"", "a", "\"ab\""] {
            assert!(!names(known, "W/\"a\""), "{known}");
        }
    }
}
