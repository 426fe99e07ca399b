//! What did not change is not sent again: answers carry a weak `ETag` over their body, and who has that body already gets
//! 304. Weak, because the same answer may be compressed in several ways.

use std::hash::BuildHasher;
use std::ops::ControlFlow;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use foldhash::quality::FixedState;
use futures_util::future::ready;
use futures_util::{FutureExt, StreamExt, stream};
use http_body_util::BodyExt;

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

    fn after(&self, noted: Noted, mut response: Response) -> Response {
        let Noted { reads, api, known } = noted;
        if !reads || response.status() != StatusCode::OK {
            return response;
        }
        if !response.headers().contains_key(header::ETAG) {
            if !tagged(response.headers(), api) || response.body().size_hint().exact().is_none_or(|size| size > LONGEST)
            {
                return response;
            }
            let Some(bytes) = whole(response.body_mut()) else { return response };
            if let Ok(tag) = HeaderValue::try_from(tag(&bytes)) {
                response.headers_mut().insert(header::ETAG, tag);
            }
            *response.body_mut() = Body::from(bytes);
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

/// A body that lies in memory in one piece, as nearly all do that are answered here. Any other is left as it was: nobody waits
/// for it.
fn whole(body: &mut Body) -> Option<Bytes> {
    let size = body.size_hint().exact()?;
    if size == 0 {
        return Some(Bytes::new());
    }
    let first = body.frame().now_or_never().flatten()?.map(|frame| frame.into_data().unwrap_or_default());
    if let Ok(bytes) = &first
        && bytes.len() as u64 == size
    {
        return first.ok();
    }
    let rest = std::mem::take(body).into_data_stream();
    *body = Body::from_stream(stream::once(ready(first)).chain(rest));
    None
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
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use axum::body::to_bytes;
    use http_body_util::Full;
    use hyper::body::{Frame, SizeHint};

    use super::*;

    /// A body of so many bytes in pieces; an empty one comes later.
    struct Pieces(VecDeque<&'static [u8]>);

    impl HttpBody for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            match self.0.pop_front() {
                Some([]) => {
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                piece => Poll::Ready(piece.map(|piece| Ok(Frame::data(Bytes::from_static(piece))))),
            }
        }

        fn size_hint(&self) -> SizeHint {
            SizeHint::with_exact(self.0.iter().map(|piece| piece.len() as u64).sum())
        }
    }

    #[tokio::test]
    async fn only_what_lies_in_one_piece_is_taken() {
        let mut body = Body::new(Full::from("whole"));
        assert_eq!(whole(&mut body).unwrap(), "whole");
        assert_eq!(whole(&mut Body::empty()).unwrap(), "");
        for pieces in [&[b"in ", b"two" as &[u8]][..], &[b"", b"later"], &[b"in ", b"", b"two"]] {
            let mut body = Body::new(Pieces(pieces.iter().copied().collect()));
            assert!(whole(&mut body).is_none());
            assert_eq!(to_bytes(body, 100).await.unwrap(), pieces.concat(), "it is all still there");
        }
    }

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
