//! Dead letters, and what operators did about them.

use std::str::FromStr;

use async_graphql::{Context, Json, SimpleObject};

use super::acts::operator;
use super::asked::Asked;
use super::error::{Failure, Result};
use super::question::range;
use crate::read::{self, LetterQuestion, Page, Paging, State};

/// A row, or a whole message, that could not be stored.
#[derive(SimpleObject)]
#[graphql(rename_fields = "snake_case")]
pub(super) struct DeadLetter {
    /// Its number, rising in the order of writing.
    id: i64,
    /// dead, redriving, redriven or purged.
    state: String,
    /// Why it could not be stored.
    reason: String,
    /// The file, as the streamer knew it.
    file: String,
    /// Pass of a loop, from 0.
    pass: i64,
    /// Line in the file; null where a whole message is dead.
    line: Option<i64>,
    /// Offset in the file; null likewise.
    byte: Option<i64>,
    /// Rows it stands for.
    rows: i32,
    /// The batch it came with.
    batch: String,
    /// The queue key of its message.
    key: String,
    /// How long the row or message was, in bytes.
    raw_bytes: i64,
    /// SHA-256 of the row, in hex; null where it is a message.
    #[graphql(name = "sha256")]
    sha256: Option<String>,
    /// When it was written.
    created_at: String,
    /// The redrive that sent it again.
    redrive: Option<i64>,
    /// When its payload was given up.
    purged_at: Option<String>,
}

/// What an operator did.
#[derive(SimpleObject)]
#[graphql(rename_fields = "snake_case")]
pub(super) struct Action {
    /// Rising in the order of acting.
    id: i64,
    /// When.
    at: String,
    /// Who: key:NAME of an API key, or user@host of the command line.
    actor: String,
    /// What: redrive, republish, resume, purge or rewind.
    action: String,
    /// The return it began or went on with.
    return_id: Option<i64>,
    /// Dead letters it was about; of a republish, batches.
    letters: i64,
    /// Rows they stand for.
    rows: i64,
    /// What was selected, in the words of the request.
    asked: Json<serde_json::Value>,
    /// The id of the request, where it came over HTTP.
    request_id: Option<String>,
}

/// Which letters, as a query writes it.
pub(super) struct Letters {
    pub(super) reason: Option<String>,
    pub(super) file: Option<String>,
    pub(super) state: Option<String>,
    pub(super) start: Option<String>,
    pub(super) end: Option<String>,
}

impl Letters {
    /// A page of them.
    pub(super) async fn page(self, asked: &Asked, paging: &Paging) -> Result<Page<read::DeadLetter>> {
        for (parameter, text) in [("reason", &self.reason), ("file", &self.file)] {
            if text.as_ref().is_some_and(|text| text.contains('\0')) {
                return Err(Failure::argument(parameter, "holds a NUL character, which no text has"));
            }
        }
        let range = range(asked, self.start.as_deref(), self.end.as_deref())?;
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let state = given(self.state).as_deref().map(State::from_str).transpose();
        let question = LetterQuestion {
            reason: given(self.reason),
            file: given(self.file),
            since: range.start,
            before: range.end,
            state: state.map_err(|reason| Failure::argument("state", reason))?,
        };
        let _turn = asked.turns.acquire().await.map_err(|error| Failure::internal(error.to_string()))?;
        Ok(asked.read.dead_letters(&question, paging).await?)
    }
}

/// A page of what operators did, for operators.
pub(super) async fn actions(context: &Context<'_>, paging: &Paging) -> Result<Page<read::Action>> {
    operator(context, "actions")?;
    let asked = Asked::of(context)?;
    let _turn = asked.turns.acquire().await.map_err(|error| Failure::internal(error.to_string()))?;
    Ok(asked.read.actions(paging).await?)
}

impl From<read::DeadLetter> for DeadLetter {
    fn from(letter: read::DeadLetter) -> Self {
        DeadLetter {
            id: letter.id,
            state: letter.state,
            reason: letter.reason,
            file: letter.file,
            pass: letter.pass,
            line: letter.line,
            byte: letter.byte,
            rows: letter.rows,
            batch: letter.batch,
            key: letter.key,
            raw_bytes: letter.raw_bytes,
            sha256: letter.sha256,
            created_at: letter.created_at.0.to_string(),
            redrive: letter.redrive,
            purged_at: letter.purged_at.map(|at| at.0.to_string()),
        }
    }
}

impl From<read::Action> for Action {
    fn from(action: read::Action) -> Self {
        Action {
            id: action.id,
            at: action.at.0.to_string(),
            actor: action.actor,
            action: action.action,
            return_id: action.return_id,
            letters: action.letters,
            rows: action.rows,
            asked: Json(action.asked),
            request_id: action.request_id,
        }
    }
}
