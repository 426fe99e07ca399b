//! GraphQL over HTTP: `POST` with JSON, `GET` with `?query=`. A browser that asks for a page gets the playground.

use async_graphql::{Executor, Request as Question, Response as Answer, ServerError, Value};
use axum::Json;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::error::{Failure, code, complete};
use super::execute::{Api, RequestId};

/// What the routes need.
#[derive(Clone)]
pub(super) struct Served {
    pub(super) api: Api,
    /// The most bytes of a body.
    pub(super) body_bytes: usize,
}

/// The media type of the specification; `application/json` is what older clients ask for.
const GRAPHQL: &str = "application/graphql-response+json";

/// `POST /graphql`
pub(super) async fn post(State(served): State<Served>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let caller = Caller::of(&parts.headers);
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
    let caller = Caller::of(request.headers());
    let query = request.uri().query().unwrap_or_default();
    let asks = query.split('&').any(|pair| pair.starts_with("query="));
    if !asks && has(request.headers(), header::ACCEPT, "text/html") {
        return crate::web::playground();
    }
    match async_graphql::http::parse_query_string(query) {
        Ok(question) => caller.answer(&served.api, question).await,
        Err(error) => {
            let reason = format!("the part behind the question mark is no query ({error}); send ?query=...");
            caller.refuse(StatusCode::BAD_REQUEST, &reason)
        }
    }
}

/// Every other method.
pub(super) async fn other(request: Request) -> Response {
    let caller = Caller::of(request.headers());
    let mut response = caller.refuse(StatusCode::METHOD_NOT_ALLOWED, "ask with GET or POST");
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET,HEAD,POST"));
    response
}

/// What is said of whoever asks.
struct Caller {
    request_id: String,
    takes_graphql: bool,
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
    fn of(headers: &HeaderMap) -> Self {
        let request_id = headers.get("x-request-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
        Caller { request_id: request_id.to_owned(), takes_graphql: has(headers, header::ACCEPT, GRAPHQL) }
    }

    async fn answer(&self, api: &Api, question: Question) -> Response {
        if question.query.trim().is_empty() {
            return self.refuse(StatusCode::BAD_REQUEST, "there is no query in the request");
        }
        let answer = api.execute(question.data(RequestId(self.request_id.clone()))).await;
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
