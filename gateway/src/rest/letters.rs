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
use crate::desk::{self, Desk, Purge, Redrive, Redriven, Sort};
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

/// What a redrive came to, or would.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RedriveAnswer {
    /// Nothing was done.
    dry_run: bool,
    /// Letters that are sent.
    letters: usize,
    /// Rows in them.
    rows: i64,
    /// There may be more than one request looks at: ask again.
    more: bool,
    /// The returns that were begun or gone on with; in a dry run those that are not finished.
    returns: Vec<Returned>,
    /// Letters that are not sent, and why.
    left: Vec<Left>,
}

/// Letters on their way through the queue: a lane of their own.
#[derive(Debug, Serialize, ToSchema)]
struct Returned {
    /// Its number.
    id: i64,
    /// Its lane: `/api/v1/audit` tells what became of its rows.
    #[schema(example = "redrive-7")]
    lane: String,
    /// Rows in it.
    rows: i64,
    /// Somebody had begun it before.
    resumed: bool,
    /// Every row is in the queue; where not, ask again: it goes on where it stopped.
    finished: bool,
    /// Why it does not go on, where something has to be done about it first; the others go on without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    why: Option<String>,
}

/// Letters that are not sent.
#[derive(Debug, Serialize, ToSchema)]
struct Left {
    /// How many.
    letters: i64,
    /// Why, for programs: redriven, purged, cut, no_header, no_shift, newer or garbage.
    #[schema(example = "no_header")]
    code: &'static str,
    /// Why, in words. Rows that were not understood are redriven with `nexus dlq redrive --header-from`.
    why: String,
    /// Nothing is to be done about them.
    settled: bool,
}

/// What a purge came to, or would.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PurgeAnswer {
    /// Nothing was done.
    dry_run: bool,
    /// Letters whose payload is given up.
    letters: i64,
    /// Rows they stand for.
    rows: i64,
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
#[utoipa::path(post, path = "/api/v1/dead-letters/redrive", tag = "operators", request_body = Redrive, responses((status = OK, description = "It is done, or as far as 20 seconds went.", body = RedriveAnswer)))]
pub(super) async fn redrive(
    Operator(who): Operator,
    State(desk): State<Option<Desk>>,
    uri: Uri,
    headers: HeaderMap,
    Body(asked): Body<Redrive>,
) -> Result<Json<RedriveAnswer>, Problem> {
    Query::of(&uri, &[])?;
    let (desk, dry_run) = (desk.ok_or(desk::Error::SwitchedOff)?, asked.dry_run);
    let redriven = desk.redrive(asked, &actor(&who, &headers)).await?;
    Ok(Json(RedriveAnswer::of(redriven, dry_run)))
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
    let (desk, dry_run) = (desk.ok_or(desk::Error::SwitchedOff)?, asked.dry_run);
    let tally = desk.purge(asked, &actor(&who, &headers)).await?;
    Ok(Json(PurgeAnswer { dry_run, letters: tally.letters, rows: tally.rows }))
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

impl RedriveAnswer {
    fn of(redriven: Redriven, dry_run: bool) -> Self {
        let Redriven { plan, returns } = redriven;
        let returned = returns.into_iter().map(|sent| Returned {
            id: sent.of.id,
            lane: sent.of.lane(),
            rows: sent.rows.unwrap_or(sent.of.rows),
            resumed: sent.resumed,
            finished: sent.rows.is_some(),
            why: sent.why,
        });
        let left = plan.left.iter().map(|(obstacle, letters)| Left {
            letters: *letters,
            code: obstacle.code(),
            why: obstacle.words(),
            settled: obstacle.is_settled(),
        });
        RedriveAnswer {
            dry_run,
            letters: plan.fits.len(),
            rows: plan.rows(),
            more: plan.more,
            returns: returned.collect(),
            left: left.collect(),
        }
    }
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
