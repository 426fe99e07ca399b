//! How a request fails: `application/problem+json` (RFC 9457). The one place that maps errors to HTTP; what an error
//! says inside goes to the log, never to a client.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::TooOften;
use crate::{live, read};

/// A sort of problem.
#[derive(Debug)]
struct Kind {
    status: StatusCode,
    /// The last part of `type`, and what a program tells problems apart by.
    code: &'static str,
    title: &'static str,
    /// Seconds after which the same request may well pass.
    retry_after: Option<u64>,
}

const fn kind(status: StatusCode, code: &'static str, title: &'static str) -> Kind {
    Kind { status, code, title, retry_after: None }
}

static PARAMETER: Kind = kind(StatusCode::BAD_REQUEST, "invalid-parameter", "Invalid parameter");
static PATH: Kind = kind(StatusCode::BAD_REQUEST, "invalid-path", "Invalid path");
static NOT_FOUND: Kind = kind(StatusCode::NOT_FOUND, "not-found", "Not found");
static METHOD: Kind = kind(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed");
static NOT_ACCEPTABLE: Kind = kind(StatusCode::NOT_ACCEPTABLE, "not-acceptable", "Not acceptable");
static TOO_LARGE: Kind = kind(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "Too large");
static TOO_LONG: Kind = kind(StatusCode::URI_TOO_LONG, "uri-too-long", "URI too long");
static BUSY: Kind = Kind { retry_after: Some(2), ..kind(StatusCode::SERVICE_UNAVAILABLE, "busy", "Busy") };
static ORIGIN: Kind = kind(StatusCode::FORBIDDEN, "origin-not-allowed", "Origin not allowed");
static SWITCHED_OFF: Kind = kind(StatusCode::NOT_FOUND, "switched-off", "Switched off");
static UPGRADE: Kind = kind(StatusCode::UPGRADE_REQUIRED, "upgrade-required", "Upgrade required");
static INTERNAL: Kind = kind(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error");
static TOO_SLOW: Kind = kind(StatusCode::GATEWAY_TIMEOUT, "too-slow", "Too slow");
static UNAVAILABLE: Kind =
    Kind { retry_after: Some(2), ..kind(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Unavailable") };
static UNAUTHORIZED: Kind = kind(StatusCode::UNAUTHORIZED, "unauthorized", "Unauthorized");
static FORBIDDEN: Kind = kind(StatusCode::FORBIDDEN, "forbidden", "Forbidden");
static TOO_OFTEN: Kind = kind(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", "Too many requests");
static CONFLICT: Kind = kind(StatusCode::CONFLICT, "conflict", "Conflict");
static BODY: Kind = kind(StatusCode::BAD_REQUEST, "invalid-body", "Invalid body");
static MEDIA_TYPE: Kind = kind(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "Unsupported media type");

/// What sort of problem an answer is: left in its extensions for those who count.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refusal(pub(crate) &'static str);

/// A failed request. [`super::request_id`] writes its body, because that knows the request's id.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    kind: &'static Kind,
    /// What happened, for the client.
    detail: String,
    /// The query parameter at fault.
    parameter: Option<String>,
    /// What the error says inside, for the log.
    cause: Option<String>,
    /// Seconds after which the same request may well pass, where that is not the kind's to say.
    retry_after: Option<u64>,
}

/// Why a request has no answer (RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct Body<'a> {
    /// What sort of problem: what a program tells problems apart by.
    #[schema(example = "urn:nexus:problem:invalid-parameter")]
    r#type: String,
    /// The sort in words.
    #[schema(example = "Invalid parameter")]
    title: &'static str,
    /// The status of the answer.
    #[schema(example = 400)]
    status: u16,
    /// What happened, and what would work.
    #[schema(example = "must be from 1 to 10000; go on with next_cursor for more")]
    detail: &'a str,
    /// The query parameter at fault, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "limit")]
    parameter: Option<&'a str>,
    /// By which the log has it: `x-request-id`.
    #[schema(example = "9f86d081884c7d659a2feaa0c55ad015")]
    request_id: &'a str,
}

impl Problem {
    fn new(kind: &'static Kind, detail: impl Into<String>) -> Self {
        Problem { kind, detail: detail.into(), parameter: None, cause: None, retry_after: kind.retry_after }
    }

    /// A query parameter that cannot be answered.
    pub(super) fn parameter(name: impl Into<String>, reason: impl Into<String>) -> Self {
        Problem { parameter: Some(name.into()), ..Problem::new(&PARAMETER, reason) }
    }

    /// A path that names nothing that could be there.
    pub(super) fn path(reason: impl Into<String>) -> Self {
        Problem::new(&PATH, reason)
    }

    /// A path that leads nowhere.
    pub(crate) fn no_route(path: &str) -> Self {
        let shown: String = nexus_common::identity::cut_text(path).chars().take(200).collect();
        Problem::new(&NOT_FOUND, format!("there is nothing at {shown}; GET / lists what there is"))
    }

    /// A method the path does not take.
    pub(super) fn method() -> Self {
        Problem::new(&METHOD, "this path does not take that method; Allow says which it takes")
    }

    /// The caller takes none of the forms there are.
    pub(super) fn not_acceptable(reason: impl Into<String>) -> Self {
        Problem::new(&NOT_ACCEPTABLE, reason)
    }

    /// A body that is longer than one may be.
    pub(super) fn too_large(most: u64) -> Self {
        Problem::new(&TOO_LARGE, format!("the body of a request may have up to {most} bytes"))
    }

    /// A path and query that are longer than they may be.
    pub(super) fn too_long(length: usize, most: usize) -> Self {
        Problem::new(&TOO_LONG, format!("path and query have {length} bytes; they may have up to {most}"))
    }

    /// Something that the configuration leaves out.
    pub(crate) fn switched_off(what: &str, variable: &str) -> Self {
        Problem::new(&SWITCHED_OFF, format!("{what} is switched off on this gateway ({variable}=false)"))
    }

    /// A page that may not read from here.
    pub(crate) fn origin() -> Self {
        Problem::new(&ORIGIN, "pages of this origin may not connect; CORS_ORIGINS names those that may")
    }

    /// A plain request where a WebSocket is spoken.
    pub(crate) fn no_websocket() -> Self {
        Problem::new(&UPGRADE, "this is a WebSocket: connect with ws://; over plain HTTP the feed is at /api/v1/stream")
    }

    /// Nobody says who asks.
    pub(crate) fn no_key() -> Self {
        Problem::new(&UNAUTHORIZED, "this needs an API key; send Authorization: Bearer nxk_…")
    }

    /// A key or ticket that is none, or none any more. What it was stays with whoever sent it.
    pub(crate) fn unknown_key() -> Self {
        let detail = "this API key or ticket is not known here: it is mistyped, revoked, expired or, a ticket, used";
        Problem::new(&UNAUTHORIZED, detail)
    }

    /// A reader who would act.
    pub(crate) fn not_an_operator() -> Self {
        Problem::new(&FORBIDDEN, "this needs the API key of an operator; yours may read")
    }

    /// More requests than RATE_LIMIT lets in.
    pub(crate) fn too_often(refusal: TooOften) -> Self {
        Problem { retry_after: Some(refusal.seconds()), ..Problem::new(&TOO_OFTEN, refusal.to_string()) }
    }

    /// More tickets than are kept.
    pub(crate) fn too_many_tickets() -> Self {
        Problem { retry_after: Some(30), ..Problem::new(&TOO_OFTEN, "too many tickets are about; come back in 30 s") }
    }

    /// Something that is under way, or no longer as somebody saw it.
    pub(crate) fn conflict(detail: impl Into<String>) -> Self {
        Problem::new(&CONFLICT, detail)
    }

    /// Something that is asked for and not there.
    pub(super) fn missing(detail: impl Into<String>) -> Self {
        Problem::new(&NOT_FOUND, detail)
    }

    /// A body that does not say what is wanted.
    pub(super) fn body(reason: impl Into<String>) -> Self {
        Problem::new(&BODY, reason)
    }

    /// A body that is no JSON.
    pub(super) fn media_type() -> Self {
        Problem::new(&MEDIA_TYPE, "send the body as application/json")
    }

    /// A server that does not answer now.
    pub(crate) fn unavailable(detail: impl Into<String>, cause: String) -> Self {
        Problem { cause: Some(cause), ..Problem::new(&UNAVAILABLE, detail) }
    }

    /// A fault of ours.
    pub(crate) fn internal(cause: String) -> Self {
        let detail = "something went wrong here; the log has the reason under this request_id";
        Problem { cause: Some(cause), ..Problem::new(&INTERNAL, detail) }
    }

    /// The answer of the request with this id; what has to be known here is logged.
    pub(super) fn answer(self, request_id: &str, trace_id: &str) -> Response {
        let status = self.kind.status.as_u16();
        match &self.cause {
            Some(cause) if self.kind.status == StatusCode::INTERNAL_SERVER_ERROR => {
                tracing::error!(request_id, trace_id, status, cause, "a request failed");
            }
            Some(cause) => tracing::warn!(request_id, trace_id, status, cause, "a request failed"),
            None => tracing::debug!(request_id, trace_id, status, detail = self.detail, "a request was refused"),
        }
        let body = Body {
            r#type: format!("urn:nexus:problem:{}", self.kind.code),
            title: self.kind.title,
            status,
            detail: &self.detail,
            parameter: self.parameter.as_deref(),
            request_id,
        };
        let mut response = (self.kind.status, Json(body)).into_response();
        response.extensions_mut().insert(Refusal(self.kind.code));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<read::Error> for Problem {
    fn from(error: read::Error) -> Self {
        let text = error.to_string();
        match error {
            read::Error::NotFound(detail) => Problem::new(&NOT_FOUND, detail),
            read::Error::Invalid { parameter, reason } => Problem::parameter(parameter, reason),
            read::Error::TooSlow(_) => {
                let detail = format!("{text}; ask for less: a shorter range, fewer GPUs or metrics");
                Problem { cause: Some(text), ..Problem::new(&TOO_SLOW, detail) }
            }
            read::Error::Busy { .. } => {
                let detail = format!("{text}; come back in 2 s, or ask for less: a shorter range, fewer GPUs");
                Problem { cause: Some(text), ..Problem::new(&BUSY, detail) }
            }
            read::Error::Underway(_) => Problem::new(&UNAVAILABLE, text),
            read::Error::Unavailable(_) => {
                let detail = "the database does not answer now; try again";
                Problem { cause: Some(text), ..Problem::new(&UNAVAILABLE, detail) }
            }
            read::Error::Internal(_) => Problem::internal(text),
        }
    }
}

impl From<live::Full> for Problem {
    fn from(full: live::Full) -> Self {
        Problem::new(&UNAVAILABLE, full.to_string())
    }
}

/// Carried to [`super::request_id`] in the response's extensions.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.kind.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}
