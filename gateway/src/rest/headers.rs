//! What every answer says about itself: it is what its type says, it is framed by nobody, it tells nobody where its reader
//! came from, and it loads nothing it does not need.

use std::ops::ControlFlow;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::Response;

use crate::pass::Pass;

/// An answer is data: it loads nothing.
const DATA: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
/// A page loads what the gateway itself serves; its style may be inline, its scripts may not.
const PAGE: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
     font-src 'self' data:; connect-src 'self' ws: wss:; worker-src 'self' blob:; frame-ancestors 'none'; \
     base-uri 'none'; form-action 'none'",
);

/// On every answer.
const ALWAYS: [(HeaderName, HeaderValue); 4] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::VARY, HeaderValue::from_static("Accept, Accept-Encoding, Origin")),
];

/// Around all that answers. An answer with a policy or a cache rule of its own keeps it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Headers;

impl Pass for Headers {
    type Noted = ();

    fn before(&self, _: &mut Request) -> ControlFlow<Response> {
        ControlFlow::Continue(())
    }

    fn after(&self, (): (), mut response: Response) -> Response {
        let headers = response.headers_mut();
        for (name, value) in ALWAYS {
            headers.insert(name, value);
        }
        let policy = if is_page(headers) { PAGE } else { DATA };
        headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(policy);
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache"));
        response
    }
}

/// A page, or a script that may run as its worker: a worker is bound by the policy it came with.
fn is_page(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    ["text/html", "text/javascript", "application/javascript"].iter().any(|page| kind.starts_with(page))
}
