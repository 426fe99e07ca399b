//! Dead letters, what operators do about them, and what they did.

use axum::Json;
use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderMap, Uri};
use nexus_common::books::actions::Actor;
use nexus_common::books::letters::{Selection, State as LetterState};
use nexus_common::books::redrive::Wish;
use nexus_common::books::sending;
use nexus_common::domain::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::list::{self, Ask};
use super::openapi::parameters::{Form, Part, Undeliverable};
use super::problem::Problem;
use super::query::{LIST, Query};
use super::request_id;
use super::table::Row;
use crate::access::{Access, Identity, Operator, TICKET_GOOD_FOR};
use crate::desk::{self, Desk, Redriven};
use crate::read::{Action, DeadLetter, LetterQuestion, Model, Page, moment};

/// Letters of one redrive where nothing is said, and the most.
const LETTERS: usize = 1_000;
const MOST_LETTERS: usize = 10_000;
/// Letters that are named one by one.
const MOST_IDS: usize = 10_000;

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

/// Which letters: those that every given word is true of.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Which {
    /// Letters by number; at most 10,000.
    #[schema(nullable = false, example = json!([17]))]
    ids: Option<Vec<i64>>,
    /// Those whose reason holds this text; case does not count.
    #[schema(nullable = false, example = "out of range")]
    reason: Option<String>,
    /// Those of this file: its path as it is listed, or the end of it.
    #[schema(nullable = false, example = "export.csv")]
    file: Option<String>,
    /// Those written before this time, as `2025-07-18T20:00:00Z` or `now-30d`.
    #[schema(nullable = false, example = "now-30d")]
    before: Option<String>,
    /// All of them, and nothing else said.
    all: bool,
}

/// Letters to be sent through the queue again.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Redrive {
    /// Which.
    which: Which,
    /// Those that were redriven before, too.
    #[serde(default)]
    again: bool,
    /// Tell what would be done, and do nothing.
    #[serde(default)]
    dry_run: bool,
    /// The most letters; 1,000 without it.
    #[schema(nullable = false, minimum = 1, maximum = 10_000)]
    limit: Option<usize>,
}

/// Letters whose payload is to be given up.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Purge {
    /// Which.
    which: Which,
    /// Tell what would be done, and do nothing.
    #[serde(default)]
    dry_run: bool,
    /// As many letters as a dry run told: if there are more or fewer, nothing is done. Needed unless they are named by number.
    #[schema(nullable = false, minimum = 0)]
    expect: Option<i64>,
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
    let desk = desk.ok_or_else(switched_off)?;
    let most = asked.limit.unwrap_or(LETTERS);
    if !(1..=MOST_LETTERS).contains(&most) {
        return Err(Problem::body(format!("limit: must be from 1 to {MOST_LETTERS}")));
    }
    let mut selection = asked.which.selection()?;
    // Where letters are not named, those that nothing is to be done about are not looked at either.
    if selection.ids.is_none() && !asked.again {
        selection.state = Some(LetterState::Dead);
    }
    let wish = Wish { selection, again: asked.again, header: None, most };
    let redriven = match asked.dry_run {
        true => desk.plan(&wish).await?,
        false => desk.redrive(&wish, &actor(&who, &headers)).await?,
    };
    Ok(Json(RedriveAnswer::of(redriven, asked.dry_run)))
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
    let desk = desk.ok_or_else(switched_off)?;
    let selection = asked.which.selection()?;
    if !asked.dry_run && asked.expect.is_none() && selection.ids.is_none() {
        let reason = "expect: what is given up does not come back; say how many letters a dry run told (dry_run)";
        return Err(Problem::body(reason));
    }
    let tally = match asked.dry_run {
        true => desk.purgeable(&selection).await?,
        false => desk.purge(&selection, asked.expect, &actor(&who, &headers)).await?,
    };
    Ok(Json(PurgeAnswer { dry_run: asked.dry_run, letters: tally.letters, rows: tally.rows }))
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

impl Which {
    fn selection(self) -> Result<Selection, Problem> {
        let Which { ids, reason, file, before, all } = self;
        let narrowed = ids.is_some() || reason.is_some() || file.is_some() || before.is_some();
        if narrowed == all {
            return Err(Problem::body("which: say ids, reason, file or before; or all, and none of these"));
        }
        if ids.as_ref().is_some_and(|ids| ids.len() > MOST_IDS) {
            return Err(Problem::body(format!("which.ids: at most {MOST_IDS}")));
        }
        if [&reason, &file].into_iter().flatten().any(|text| text.contains('\0')) {
            return Err(Problem::body("which: holds a NUL character, which no text has"));
        }
        let before = before.map(|text| moment(&text, Timestamp::now())).transpose();
        let before = before.map_err(|reason| Problem::body(format!("which.before: {reason}")))?;
        Ok(Selection { ids, reason, file, before, ..Selection::default() })
    }
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

fn switched_off() -> Problem {
    Problem::switched_off("what operators do over HTTP", "ENABLE_OPERATOR_ROUTES")
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
        let text = error.to_string();
        match error {
            desk::Error::UnderWay | desk::Error::Otherwise { .. } => Problem::conflict(text),
            desk::Error::TooMany(_) => Problem::body(text),
            desk::Error::NoCluster => Problem::missing(text),
            desk::Error::Sending(error) => of_sending(&error, text),
        }
    }
}

fn of_sending(error: &sending::Error, text: String) -> Problem {
    use sending::Error;
    match error {
        Error::Fenced(_) => Problem::conflict("somebody else redrives now; ask again once they are done"),
        Error::NoLetter(id) => Problem::missing(format!("there is no dead letter {id}; nothing was redriven")),
        Error::NeedsHeader(id) => {
            Problem::conflict(format!("redrive {id} was begun with a header: nexus dlq redrive goes on with it"))
        }
        Error::Full => {
            Problem::unavailable("etcd is out of space; what was not sent goes on with the same request", text)
        }
        Error::Silent => Problem::unavailable("etcd does not answer; the same request goes on later", text),
        Error::Queue(error) if error.is_transient() => {
            Problem::unavailable("etcd does not answer; the same request goes on later", text)
        }
        Error::Memory(error) if error.is_transient() => {
            Problem::unavailable("the database does not answer now; the same request goes on later", text)
        }
        _ => Problem::internal(text),
    }
}
