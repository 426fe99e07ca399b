//! The dead letters of this gateway's cluster, and what operators did about them. The questions are the books' own
//! ([`nexus_common::books`]), so that the command line and this say the same.

use std::str::FromStr;

use nexus_common::books::{actions, letters};
use nexus_common::db;
use nexus_common::domain::Timestamp;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::cursor::Place;
use super::{Cursor, Model, Page, Paging, Result, Time};

/// A row, or a whole message, that could not be stored.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct DeadLetter {
    /// Its number, rising in the order of writing: what redrive and purge take.
    pub id: i64,
    /// dead, redriving, redriven or purged.
    #[schema(example = "dead")]
    pub state: String,
    /// Why it could not be stored.
    pub reason: String,
    /// The file, as the streamer knew it.
    #[schema(example = "/data/export.csv")]
    pub file: String,
    /// Pass of a loop, from 0.
    pub pass: i64,
    /// Line in the file; null where a whole message is dead.
    #[schema(required)]
    pub line: Option<i64>,
    /// Offset in the file; null likewise.
    #[schema(required)]
    pub byte: Option<i64>,
    /// Rows it stands for.
    pub rows: i32,
    /// The batch it came with.
    pub batch: String,
    /// The queue key of its message.
    pub key: String,
    /// How long the row or message was, in bytes.
    pub raw_bytes: i64,
    /// SHA-256 of the row, in hex; null where it is a message.
    #[schema(required)]
    pub sha256: Option<String>,
    /// When it was written.
    pub created_at: Time,
    /// The redrive that sent it again.
    #[schema(required)]
    pub redrive: Option<i64>,
    /// When its payload was given up.
    #[schema(required)]
    pub purged_at: Option<Time>,
}

/// What an operator did.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Action {
    /// Rising in the order of acting.
    pub id: i64,
    /// When.
    pub at: Time,
    /// Who: `key:NAME` of an API key, or `user@host` of the command line.
    #[schema(example = "key:alice")]
    pub actor: String,
    /// What: redrive, republish, resume, purge or rewind.
    #[schema(example = "redrive")]
    pub action: String,
    /// The return it began or went on with.
    #[schema(required)]
    pub return_id: Option<i64>,
    /// Dead letters it was about; of a republish, batches.
    pub letters: i64,
    /// Rows they stand for.
    pub rows: i64,
    /// What was selected, in the words of the request.
    #[schema(value_type = Object)]
    pub asked: Value,
    /// The id of the request, where it came over HTTP.
    #[schema(required)]
    pub request_id: Option<String>,
}

/// Which letters.
#[derive(Debug, Clone, Default)]
pub struct LetterQuestion {
    /// Those whose reason holds this text.
    pub reason: Option<String>,
    /// Those of this file: its path, or the end of it.
    pub file: Option<String>,
    /// Those written at this time or later.
    pub since: Option<Timestamp>,
    /// Those written before this time.
    pub before: Option<Timestamp>,
    /// Those in this state.
    pub state: Option<State>,
}

/// What became of a letter.
#[derive(Debug, Clone, Copy)]
pub struct State(letters::State);

impl State {
    /// Their names.
    pub const WORDS: [&str; 4] = ["dead", "redriving", "redriven", "purged"];
}

impl FromStr for State {
    type Err = &'static str;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        use letters::State::{Dead, Purged, Redriven, Redriving};
        let found = [Dead, Redriving, Redriven, Purged].into_iter().find(|state| state.name() == text);
        found.map(State).ok_or("write dead, redriving, redriven or purged")
    }
}

impl Model {
    /// Dead letters, the newest first.
    ///
    /// # Errors
    /// As PostgreSQL answers.
    pub async fn dead_letters(&self, question: &LetterQuestion, paging: &Paging) -> Result<Page<DeadLetter>> {
        let below = below(paging)?;
        let LetterQuestion { reason, file, since, before, state } = question.clone();
        let state = state.map(|State(state)| state);
        let selection = letters::Selection { ids: None, reason, file, since, before, state };
        let running = self.open().await?;
        let looked = async {
            let Some(client) = running.connection() else { return Ok(Vec::new()) };
            let Some(cluster) = letters::cluster(client, self.cluster_id()).await? else { return Ok(Vec::new()) };
            letters::newest(client, cluster, &selection, below, paging.rows()).await
        };
        let found = self.within_time(looked).await?;
        running.done();
        let places = found.into_iter().map(|letter| {
            let place = Cursor::at(Place::Number(letter.id));
            (DeadLetter::from(letter), place)
        });
        Ok(Page::of(places.collect(), paging.limit))
    }

    /// What operators did, the newest first.
    ///
    /// # Errors
    /// As PostgreSQL answers.
    pub async fn actions(&self, paging: &Paging) -> Result<Page<Action>> {
        let below = below(paging)?;
        let running = self.open().await?;
        let looked = async {
            let Some(client) = running.connection() else { return Ok(Vec::new()) };
            let Some(cluster) = letters::cluster(client, self.cluster_id()).await? else { return Ok(Vec::new()) };
            actions::list(client, cluster, below, paging.rows()).await
        };
        let found = self.within_time(looked).await?;
        running.done();
        let places = found.into_iter().map(|action| {
            let place = Cursor::at(Place::Number(action.id));
            (Action::from(action), place)
        });
        Ok(Page::of(places.collect(), paging.limit))
    }

    /// What the books answer, while a statement may run.
    async fn within_time<T>(&self, looked: impl Future<Output = std::result::Result<T, db::Error>>) -> Result<T> {
        match tokio::time::timeout(self.longest(), looked).await {
            Ok(found) => found.map_err(|error| self.refusal(error)),
            Err(_) => Err(super::Error::TooSlow(self.longest())),
        }
    }
}

fn below(paging: &Paging) -> Result<Option<i64>> {
    match paging.cursor.as_ref().map(Cursor::place) {
        None => Ok(None),
        Some(Place::Number(number)) => Ok(Some(*number)),
        Some(_) => Err(Cursor::foreign()),
    }
}

impl From<letters::Letter> for DeadLetter {
    fn from(letter: letters::Letter) -> Self {
        DeadLetter {
            id: letter.id,
            state: letter.state.name().to_owned(),
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
            created_at: Time(letter.created_at),
            redrive: letter.return_id,
            purged_at: letter.purged_at.map(Time),
        }
    }
}

impl From<actions::Action> for Action {
    fn from(action: actions::Action) -> Self {
        let actions::Action { id, at, actor, action, return_id, letters, rows, asked, request_id } = action;
        Action { id, at: Time(at), actor, action, return_id, letters, rows, asked, request_id }
    }
}
