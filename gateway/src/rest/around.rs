//! What surrounds all routes, whatever serves them: from the outside in the headers of every answer, compression, tags,
//! the request's id and the writing of problems, CORS, who may ask, the limits, and the net under a panic.

use std::any::Any;
use std::ops::ControlFlow;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use tower::util::option_layer;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};
use tower_http::cors::{AllowOrigin, Any as Anyone, CorsLayer};
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::set_header::SetResponseHeaderLayer;

use super::etag::Tags;
use super::headers::Headers;
use super::problem::Problem;
use super::request_id::{self, RequestIds};
use super::{list, trace};
use crate::Config;
use crate::access::Access;
use crate::metrics::Requests;
use crate::pass::{Pass, Passing};

/// The longest path and query, in bytes. The longest question that makes sense, a hundred metrics of two hundred names
/// each, is not a third of it.
const LONGEST_URI: usize = 16 << 10;

/// Below this an answer is one packet anyway.
const WORTH_COMPRESSING: u64 = 1 << 10;

/// These routes with everything around them, the outermost first. At once, because each call of `layer` puts all that was there
/// into a box, which is copied for every request with all the boxes within.
pub(super) fn around(routes: Router, config: &Config, access: Access, requests: Requests) -> Router {
    let most = config.bounds.body_bytes;
    let most_bytes = usize::try_from(most).unwrap_or(usize::MAX);
    let worthwhile = SizeAbove::new(WORTH_COMPRESSING)
        .and(NotForContentType::SSE)
        .and(NotForContentType::IMAGES)
        .and(NotForContentType::const_new("font/"));
    routes.layer((
        option_layer(
            config
                .tls
                .promise()
                .map(|promise| SetResponseHeaderLayer::if_not_present(header::STRICT_TRANSPORT_SECURITY, promise)),
        ),
        Passing(requests),
        Passing(Headers),
        CompressionLayer::new().compress_when(worthwhile),
        Passing(Tags),
        Passing(RequestIds),
        option_layer(config.enable_cors.then(|| cors(&config.cors_origins))),
        Passing(access),
        Passing(Lengths { most }),
        DefaultBodyLimit::max(most_bytes),
        RequestBodyLimitLayer::new(most_bytes),
        CatchPanicLayer::custom(panicked),
    ))
}

/// Refuses what is too long before anything of it is read. What comes without a length is cut off where it gets too long.
#[derive(Debug, Clone, Copy)]
struct Lengths {
    /// Bytes of a body.
    most: u64,
}

impl Pass for Lengths {
    type Noted = ();

    fn before(&self, request: &mut Request) -> ControlFlow<Response> {
        let uri = request.uri();
        let length = uri.path().len() + uri.query().map_or(0, |query| query.len() + 1);
        if length > LONGEST_URI {
            return ControlFlow::Break(Problem::too_long(length, LONGEST_URI).into_response());
        }
        let announced = request.headers().get(header::CONTENT_LENGTH);
        let announced = announced.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|announced| announced > self.most) {
            return ControlFlow::Break(Problem::too_large(self.most).into_response());
        }
        ControlFlow::Continue(())
    }
}

/// Pages of these origins may read answers; `*` is any. An origin that cannot be one matches no page.
fn cors(origins: &[String]) -> CorsLayer {
    const READ: [HeaderName; 7] = [
        header::ACCEPT,
        header::AUTHORIZATION,
        header::CONTENT_TYPE,
        header::IF_NONE_MATCH,
        HeaderName::from_static("last-event-id"),
        request_id::HEADER,
        trace::HEADER,
    ];
    const SENT: [HeaderName; 8] = [
        request_id::HEADER,
        trace::HEADER,
        header::LINK,
        list::NEXT,
        list::STEP,
        header::ETAG,
        header::RETRY_AFTER,
        header::WWW_AUTHENTICATE,
    ];
    let cors = CorsLayer::new()
        .allow_methods([Method::GET, Method::HEAD, Method::POST])
        .allow_headers(READ)
        .expose_headers(SENT);
    if origins.iter().any(|origin| origin.trim() == "*") {
        return cors.allow_origin(Anyone);
    }
    let origins = origins.iter().filter_map(|origin| HeaderValue::from_str(origin.trim().trim_end_matches('/')).ok());
    cors.allow_origin(AllowOrigin::list(origins))
}

/// The owned box is what the layer hands over.
#[allow(clippy::needless_pass_by_value)]
fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    Problem::internal(format!("panic: {}", text.unwrap_or_default())).into_response()
}
