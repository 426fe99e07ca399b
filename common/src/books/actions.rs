//! What operators did: noted in the transaction that does it, so that nothing is done that is not noted, and nothing is
//! noted that was not done.

use deadpool_postgres::{Client, GenericClient};
use serde_json::{Value, json};
use tokio_postgres::Row;

use super::letters::Selection;
use super::returns::Return;
use crate::db::Error;
use crate::domain::Timestamp;

/// Who acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// `key:NAME` of an API key, or `user@host` of the command line.
    pub name: String,
    /// The id of the request, where one was sent.
    pub request_id: Option<String>,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Letters were noted to be sent again.
    Redrive,
    /// Expired batches were noted to be published again.
    Republish,
    /// A return that was not finished was gone on with.
    Resume,
    /// Payloads were given up.
    Purge,
    /// A lane's cursor was put back, so that what was lost is read once more.
    Rewind,
}

/// An action that is about to be noted.
#[derive(Debug)]
pub(super) struct Act {
    pub(super) kind: Kind,
    pub(super) return_id: Option<i64>,
    /// Letters, or batches.
    pub(super) letters: i64,
    pub(super) rows: i64,
    pub(super) asked: Asked,
}

/// In which words it was asked, cut to what a table and a log should keep of what somebody wrote.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Asked(Value);

/// The most characters that are kept of a text, and the most items of a list.
const MOST_CHARACTERS: usize = 256;
const MOST_ITEMS: usize = 100;

impl From<Value> for Asked {
    fn from(asked: Value) -> Self {
        Asked(cut(asked))
    }
}

/// Of a long text its beginning, marked; of a long list its first items, and how many they were.
fn cut(value: Value) -> Value {
    match value {
        Value::String(text) => match text.char_indices().nth(MOST_CHARACTERS) {
            Some((end, _)) => Value::String(format!("{}… (cut: {} bytes)", &text[..end], text.len())),
            None => Value::String(text),
        },
        Value::Array(items) => {
            let count = items.len();
            let mut kept: Vec<_> = items.into_iter().take(MOST_ITEMS).map(cut).collect();
            if count > MOST_ITEMS {
                kept.push(Value::String(format!("… (cut: {count} items)")));
            }
            Value::Array(kept)
        }
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, cut(value))).collect(),
        other => other,
    }
}

/// An action that was noted.
#[derive(Debug, Clone)]
pub struct Action {
    /// Its number.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// What: redrive, republish, resume, purge, rewind.
    pub action: String,
    /// The return it began or went on with.
    pub return_id: Option<i64>,
    /// Dead letters it was about; of a republish, batches.
    pub letters: i64,
    /// Rows they stand for.
    pub rows: i64,
    /// What was selected.
    pub asked: Value,
    /// The id of the request.
    pub request_id: Option<String>,
}

impl Kind {
    /// As it is kept.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Redrive => "redrive",
            Kind::Republish => "republish",
            Kind::Resume => "resume",
            Kind::Purge => "purge",
            Kind::Rewind => "rewind",
        }
    }
}

/// The newest actions, from the one below `below` on.
///
/// # Errors
/// As PostgreSQL answers.
pub async fn list(client: &Client, cluster: i32, below: Option<i64>, limit: i64) -> Result<Vec<Action>, Error> {
    let rows = client
        .query(
            "SELECT id, at, actor, action, return_id, letters, row_count, asked, request_id FROM operator_actions
             WHERE cluster_id = $1 AND ($2::bigint IS NULL OR id < $2) ORDER BY id DESC LIMIT $3",
            &[&cluster, &below, &limit],
        )
        .await?;
    Ok(rows.iter().map(Action::of).collect())
}

/// Notes that somebody goes on with a return.
///
/// # Errors
/// As PostgreSQL answers.
pub async fn resume(client: &Client, cluster: i32, by: &Actor, of: &Return) -> Result<(), Error> {
    let asked = json!({ "kind": of.kind.name() });
    let act = Act { kind: Kind::Resume, return_id: Some(of.id), letters: 0, rows: of.rows, asked: asked.into() };
    note(client, cluster, by, &act).await?;
    say(by, &act);
    Ok(())
}

/// Writes it down; what comes of it is the transaction's.
pub(super) async fn note(client: &impl GenericClient, cluster: i32, by: &Actor, act: &Act) -> Result<(), Error> {
    client
        .execute(
            "INSERT INTO operator_actions (cluster_id, actor, action, return_id, letters, row_count, asked, request_id)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            &[
                &cluster,
                &by.name,
                &act.kind.name(),
                &act.return_id,
                &act.letters,
                &act.rows,
                &act.asked.0,
                &by.request_id,
            ],
        )
        .await?;
    Ok(())
}

/// Says it in the log, once it is done.
pub(super) fn say(by: &Actor, act: &Act) {
    tracing::info!(
        target: "nexus::audit_log",
        actor = by.name,
        request_id = by.request_id,
        action = act.kind.name(),
        return_id = act.return_id,
        letters = act.letters,
        rows = act.rows,
        asked = %act.asked.0,
        "an operator acted"
    );
}

/// What was selected, in the words of the request.
pub(super) fn asked(selection: &Selection) -> Value {
    let Selection { ids, reason, file, since, before, state } = selection;
    let mut asked = serde_json::Map::new();
    let mut say = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            asked.insert(name.to_owned(), value);
        }
    };
    // Of many ids the first.
    say("ids", ids.as_ref().map(|ids| json!(ids.iter().take(MOST_ITEMS).collect::<Vec<_>>())));
    say("id_count", ids.as_ref().map(|ids| json!(ids.len())));
    say("reason", reason.as_ref().map(|reason| json!(reason)));
    say("file", file.as_ref().map(|file| json!(file)));
    say("since", since.map(|since| json!(since.to_string())));
    say("before", before.map(|before| json!(before.to_string())));
    say("state", state.map(|state| json!(state.name())));
    if asked.is_empty() {
        asked.insert("all".to_owned(), Value::Bool(true));
    }
    Value::Object(asked)
}

impl Action {
    fn of(row: &Row) -> Self {
        Action {
            id: row.get(0),
            at: row.get(1),
            actor: row.get(2),
            action: row.get(3),
            return_id: row.get(4),
            letters: row.get(5),
            rows: row.get(6),
            asked: row.get(7),
            request_id: row.get(8),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_is_kept_cut_and_marked() {
        let (short, long) = ("ä".repeat(MOST_CHARACTERS), "ä".repeat(100_000));
        let of = |reason: &str, ids: usize| {
            let ids = Some((0..i64::try_from(ids).unwrap()).collect());
            Asked::from(asked(&Selection { reason: Some(reason.to_owned()), ids, ..Selection::default() })).0
        };
        assert_eq!(of(&short, 2), json!({"reason": short, "ids": [0, 1], "id_count": 2}));
        let kept = of(&long, 10_000);
        assert_eq!(kept["reason"], format!("{short}… (cut: 200000 bytes)"));
        assert_eq!((kept["ids"].as_array().unwrap().len(), &kept["id_count"]), (MOST_ITEMS, &json!(10_000)));
        // Whatever it is asked in: nothing of any length goes by.
        let nested = Asked::from(json!({"again": true, "lanes": vec![long; 200]})).0;
        assert!(nested.to_string().len() < 70_000 && nested["again"] == true, "{nested}");
        assert_eq!(nested["lanes"][MOST_ITEMS], "… (cut: 200 items)");
    }
}
