//! GraphQL over HTTP: `POST` with JSON, `GET` with `?query=`. A browser that asks for a page gets the playground.

use async_graphql::{Executor, Request as Question, Response as Answer, ServerError, Value};
use axum::Json;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{Extensions, HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::error::{Failure, code, complete};
use super::execute::{Api, OnlyAsks, RequestId};
use super::socket;
use crate::access::{Access, Identity};
use crate::live::Live;
use crate::rest::Problem;

/// What the routes need.
#[derive(Clone)]
pub(super) struct Served {
    pub(super) api: Api,
    /// The most bytes of a body.
    pub(super) body_bytes: usize,
    /// For those who say in their first message who they are.
    pub(super) access: Access,
    /// Without it there are no subscriptions.
    pub(super) live: Option<Live>,
}

/// The media type of the specification; `application/json` is what older clients ask for.
const GRAPHQL: &str = "application/graphql-response+json";

/// `POST /graphql`
pub(super) async fn post(State(served): State<Served>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let caller = Caller::of(&parts.headers, &parts.extensions);
    if !has(&parts.headers, header::CONTENT_TYPE, "application/json") {
        return caller.refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send the query as application/json");
    }
    let Ok(body) = to_bytes(body, served.body_bytes).await else {
        let reason = format!("the body cannot be read or has more than {} bytes", served.body_bytes);
        return caller.refuse(StatusCode::PAYLOAD_TOO_LARGE, &reason);
    };
    if body.trim_ascii_start().starts_with(b"[") {
        return caller.refuse(StatusCode::BAD_REQUEST, "send one query at a time: lists of queries are not answered");
    }
    match serde_json::from_slice::<Question>(&body) {
        Ok(question) => caller.answer(&served.api, question).await,
        Err(error) => {
            let reason = format!("the body is no query in JSON ({error}); send {{\"query\": \"...\"}}");
            caller.refuse(StatusCode::BAD_REQUEST, &reason)
        }
    }
}

/// `GET /graphql`
pub(super) async fn get(State(served): State<Served>, request: Request) -> Response {
    let caller = Caller::of(request.headers(), request.extensions());
    if is_upgrade(request.headers()) {
        return match served.live.clone() {
            Some(live) => socket::connect(served, live, request.into_parts().0, caller.request_id).await,
            None => Problem::switched_off("the live feed", "ENABLE_WEBSOCKET").into_response(),
        };
    }
    if is_page(request.uri(), request.headers()) {
        return crate::web::playground();
    }
    let query = request.uri().query().unwrap_or_default();
    match async_graphql::http::parse_query_string(query) {
        Ok(question) => caller.answer(&served.api, question.data(OnlyAsks)).await,
        Err(error) => {
            let reason = format!("the part behind the question mark is no query ({error}); send ?query=...");
            caller.refuse(StatusCode::BAD_REQUEST, &reason)
        }
    }
}

/// Whether the request opens a WebSocket, and asks nothing by itself.
pub(crate) fn opens_a_socket(request: &Request) -> bool {
    *request.method() == Method::GET && is_upgrade(request.headers())
}

/// Whether the request is for the playground, and asks nothing.
pub(crate) fn wants_the_page(request: &Request) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD) && is_page(request.uri(), request.headers())
}

fn is_upgrade(headers: &HeaderMap) -> bool {
    has(headers, header::UPGRADE, "websocket")
}

fn is_page(uri: &Uri, headers: &HeaderMap) -> bool {
    let asks = uri.query().unwrap_or_default().split('&').any(|pair| pair.starts_with("query="));
    !asks && has(headers, header::ACCEPT, "text/html")
}

/// Every other method.
pub(super) async fn other(request: Request) -> Response {
    let caller = Caller::of(request.headers(), request.extensions());
    let mut response = caller.refuse(StatusCode::METHOD_NOT_ALLOWED, "ask with GET or POST");
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET,HEAD,POST"));
    response
}

/// What is said of whoever asks.
struct Caller {
    request_id: String,
    takes_graphql: bool,
    /// Away where nobody may ask anything.
    identity: Option<Identity>,
}

/// As the specification has it: without `data` where nothing was answered.
#[derive(Serialize)]
struct Body<'a> {
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [ServerError],
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a Value>,
}

impl Caller {
    fn of(headers: &HeaderMap, extensions: &Extensions) -> Self {
        let request_id = headers.get("x-request-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
        let identity = extensions.get::<Identity>().cloned();
        Caller { request_id: request_id.to_owned(), takes_graphql: has(headers, header::ACCEPT, GRAPHQL), identity }
    }

    async fn answer(&self, api: &Api, question: Question) -> Response {
        if question.query.trim().is_empty() {
            return self.refuse(StatusCode::BAD_REQUEST, "there is no query in the request");
        }
        let mut question = question.data(RequestId(self.request_id.clone()));
        if let Some(identity) = &self.identity {
            question = question.data(identity.clone());
        }
        let answer = api.execute(question).await;
        // Older clients look into the body alone; whoever knows the media type is told by the status, too.
        let status = if self.takes_graphql { status(&answer) } else { StatusCode::OK };
        self.write(status, &answer)
    }

    /// A request that holds no query.
    fn refuse(&self, status: StatusCode, reason: &str) -> Response {
        let mut error = ServerError::from(Failure::new(code::INVALID_REQUEST, reason));
        complete(&mut error, &self.request_id);
        self.write(status, &Answer::from_errors(vec![error]))
    }

    fn write(&self, status: StatusCode, answer: &Answer) -> Response {
        let data = Some(&answer.data).filter(|_| !is_refused(answer));
        let mut response = (status, Json(Body { errors: &answer.errors, data })).into_response();
        if self.takes_graphql {
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(GRAPHQL));
        }
        response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
        response
    }
}

/// Whether the query was not answered at all, rather than with errors in some of its fields.
fn is_refused(answer: &Answer) -> bool {
    answer.data == Value::Null && !answer.errors.is_empty() && answer.errors.iter().all(|error| error.path.is_empty())
}

fn status(answer: &Answer) -> StatusCode {
    if !is_refused(answer) {
        return StatusCode::OK;
    }
    let code = answer.errors.first().and_then(|error| error.extensions.as_ref()?.get("code"));
    match code {
        Some(Value::String(code)) if code == code::UNAVAILABLE => StatusCode::SERVICE_UNAVAILABLE,
        Some(Value::String(code)) if code == code::INTERNAL => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_REQUEST,
    }
}

/// Whether a header names this media type.
fn has(headers: &HeaderMap, header: header::HeaderName, wanted: &str) -> bool {
    let given = headers.get_all(header).iter().filter_map(|value| value.to_str().ok());
    given
        .flat_map(|value| value.split(','))
        .any(|media| media.split(';').next().is_some_and(|media| media.trim().eq_ignore_ascii_case(wanted)))
}
