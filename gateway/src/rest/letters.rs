//! Dead letters, what operators do about them, and what they did.

use axum::Json;
use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderMap, Uri};
use nexus_common::books::actions::Actor;
use serde::Serialize;
use serde::de::DeserializeOwned;
use utoipa::ToSchema;

use super::list::{self, Ask};
use super::openapi::parameters::{Form, Part, Undeliverable};
use super::problem::Problem;
use super::query::{LIST, Query};
use super::request_id;
use super::table::Row;
use crate::access::{Access, Identity, Operator, TICKET_GOOD_FOR};
use crate::desk::{self, Desk, Purge, PurgeAnswer, Redrive, RedriveAnswer, Sort};
use crate::read::{Action, DeadLetter, LetterQuestion, Model, Page};

impl Row for DeadLetter {
    const FIELDS: &'static [&'static str] = &[
        "id",
        "state",
        "reason",
        "file",
        "pass",
        "line",
        "byte",
        "rows",
        "batch",
        "key",
        "raw_bytes",
        "sha256",
        "created_at",
        "redrive",
        "purged_at",
    ];
}

impl Row for Action {
    const FIELDS: &'static [&'static str] =
        &["id", "at", "actor", "action", "return_id", "letters", "rows", "asked", "request_id"];
}

/// Rows that could not be stored, and why, of this gateway's cluster; the newest first.
#[utoipa::path(get, path = "/api/v1/dead-letters", tag = "letters", params(Undeliverable, Form, Part), responses((status = OK, body = Page<DeadLetter>)))]
pub(super) async fn dead_letters(State(read): State<Model>, ask: Ask) -> list::Answer<DeadLetter> {
    let (query, shape) = ask.read(&[&["reason", "file", "state", "start", "end"], LIST])?;
    let range = query.range()?;
    let text = |name| query.text(name).map(str::to_owned);
    let question = LetterQuestion {
        reason: text("reason"),
        file: text("file"),
        since: range.start,
        before: range.end,
        state: query.word("state")?,
    };
    Ok(shape.list(read.dead_letters(&question, &query.paging()?).await?))
}

/// What operators did, from the command line and over HTTP; the newest first.
#[utoipa::path(get, path = "/api/v1/actions", tag = "operators", params(Form, Part), responses((status = OK, body = Page<Action>)))]
pub(super) async fn actions(_: Operator, State(read): State<Model>, ask: Ask) -> list::Answer<Action> {
    let (query, shape) = ask.read(&[LIST])?;
    Ok(shape.list(read.actions(&query.paging()?).await?))
}

/// A ticket.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Ticket {
    /// What to send as `ticket=`.
    ticket: String,
    /// How long it is good.
    expires_in_seconds: u64,
}

/// Sends dead letters through the queue again, each once, as `nexus dlq redrive` does.
///
/// What is sent is noted before the first row is published. A request that is cut off, or asks again for the same, sends
/// nothing twice: it goes on where the last one stopped.
#[utoipa::path(post, path = "/api/v1/dead-letters/redrive", tag = "operators", request_body = Redrive, responses((status = OK, description = "It is done, or as far as 20 seconds of publishing went.", body = RedriveAnswer)))]
pub(super) async fn redrive(
    Operator(who): Operator,
    State(desk): State<Option<Desk>>,
    uri: Uri,
    headers: HeaderMap,
    Body(asked): Body<Redrive>,
) -> Result<Json<RedriveAnswer>, Problem> {
    Query::of(&uri, &[])?;
    let desk = desk.ok_or(desk::Error::SwitchedOff)?;
    Ok(Json(desk.redrive(asked, &actor(&who, &headers)).await?))
}

/// Gives up the payload of dead letters, as `nexus dlq purge` does. Place, reason and counts stay.
#[utoipa::path(post, path = "/api/v1/dead-letters/purge", tag = "operators", request_body = Purge, responses((status = OK, description = "It is done.", body = PurgeAnswer)))]
pub(super) async fn purge(
    Operator(who): Operator,
    State(desk): State<Option<Desk>>,
    uri: Uri,
    headers: HeaderMap,
    Body(asked): Body<Purge>,
) -> Result<Json<PurgeAnswer>, Problem> {
    Query::of(&uri, &[])?;
    let desk = desk.ok_or(desk::Error::SwitchedOff)?;
    Ok(Json(desk.purge(asked, &actor(&who, &headers)).await?))
}

/// A ticket for one live connection within half a minute, for clients that can send no header there (EventSource).
///
/// Good at this gateway, for reading, once: `/api/v1/stream?ticket=…`.
#[utoipa::path(post, path = "/api/v1/tickets", tag = "live", responses((status = OK, body = Ticket)))]
pub(super) async fn ticket(
    identity: Identity,
    State(access): State<Access>,
    uri: Uri,
) -> Result<Json<Ticket>, Problem> {
    Query::of(&uri, &[])?;
    Ok(Json(Ticket { ticket: access.ticket(identity)?, expires_in_seconds: TICKET_GOOD_FOR.as_secs() }))
}

/// Who acts, for the audit log.
fn actor(who: &Identity, headers: &HeaderMap) -> Actor {
    let request_id = headers.get(request_id::HEADER).and_then(|id| id.to_str().ok()).map(str::to_owned);
    Actor { name: who.actor(), request_id }
}

/// JSON that says what is wanted, and nothing that is not understood.
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        use axum::extract::rejection::JsonRejection;
        match Json::<T>::from_request(request, state).await {
            Ok(Json(asked)) => Ok(Body(asked)),
            Err(JsonRejection::MissingJsonContentType(_)) => Err(Problem::media_type()),
            Err(JsonRejection::BytesRejection(_)) => Err(Problem::body("the body ended early, or is too long")),
            Err(rejection) => Err(Problem::body(rejection.body_text())),
        }
    }
}

impl From<desk::Error> for Problem {
    fn from(error: desk::Error) -> Self {
        match error.sort() {
            Sort::SwitchedOff => Problem::switched_off("what operators do over HTTP", "ENABLE_OPERATOR_ROUTES"),
            Sort::Wrong(parameter, reason) => Problem::body(format!("{parameter}: {reason}")),
            Sort::Missing(detail) => Problem::missing(detail),
            Sort::Conflict(detail) => Problem::conflict(detail),
            Sort::Unavailable(detail) => Problem::unavailable(detail, error.to_string()),
            Sort::Fault => Problem::internal(error.to_string()),
        }
    }
}
