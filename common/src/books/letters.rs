//! Dead letters: finding them, reading their payload, giving it up.

use deadpool_postgres::{Client, GenericClient};
use tokio_postgres::Row;

use super::actions::{self, Act, Actor, Kind};
use crate::db::Error;
use crate::domain::Timestamp;

/// Which letters are meant; what is not said does not narrow.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// These.
    pub ids: Option<Vec<i64>>,
    /// Those whose reason, or whose kind of reason ([`Group::reason`]), holds this text; case does not count.
    pub reason: Option<String>,
    /// Those of this file: its path, or the end of it from a `/` on.
    pub file: Option<String>,
    /// Those written at this time or later.
    pub since: Option<Timestamp>,
    /// Those written before this time.
    pub before: Option<Timestamp>,
    /// Those in this state.
    pub state: Option<State>,
}

/// What became of a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing yet: it waits for somebody.
    Dead,
    /// A redrive that is not finished has it.
    Redriving,
    /// Its rows went through the queue again.
    Redriven,
    /// Its payload was given up; place and reason are kept.
    Purged,
}

/// Letters of one kind of reason.
#[derive(Debug, Clone)]
pub struct Group {
    /// The reason, with `#` for figures, and `"…"` for what a row said.
    pub reason: String,
    /// How many letters.
    pub letters: i64,
    /// Rows they stand for.
    pub rows: i64,
    /// Letters among them that wait for somebody.
    pub dead: i64,
    /// When the last one was written.
    pub newest: Timestamp,
}

/// A letter without its payload.
#[derive(Debug, Clone)]
pub struct Letter {
    /// Its number.
    pub id: i64,
    /// The batch it came with.
    pub batch: String,
    /// The queue key of its message.
    pub key: String,
    /// Rows it stands for.
    pub rows: i32,
    /// The file, as the streamer knew it.
    pub file: String,
    /// Pass of a loop, from 0.
    pub pass: i64,
    /// Line in the file; none where a whole message is dead.
    pub line: Option<i64>,
    /// Offset in the file; none likewise.
    pub byte: Option<i64>,
    /// Why.
    pub reason: String,
    /// How long the row or message was, in bytes.
    pub raw_bytes: i64,
    /// SHA-256 of the row, in hex; none where it is a message.
    pub sha256: Option<String>,
    /// When it was written.
    pub created_at: Timestamp,
    /// What became of it.
    pub state: State,
    /// The redrive that sent it again.
    pub return_id: Option<i64>,
    /// When its payload was given up.
    pub purged_at: Option<Timestamp>,
}

/// A letter with its payload.
#[derive(Debug, Clone)]
pub struct Payload {
    /// The letter.
    pub letter: Letter,
    /// The row, cut at 64 KiB; or the message.
    pub raw: Vec<u8>,
    /// What LOOP_MODE added to the time stamps of its batch, in microseconds; none where the ledger has it no more.
    pub shift_us: Option<i64>,
}

/// Letters and the rows they stand for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Letters.
    pub letters: i64,
    /// Rows.
    pub rows: i64,
}

/// What became of a purge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Purged {
    /// So many letters have no payload any more.
    Done(Tally),
    /// There were not as many as expected, but so many: nothing was changed.
    Otherwise(Tally),
}

/// What a row said, and figures, make no kind of reason. Names that PostgreSQL quotes are worth knowing.
const KIND: &str = r##"regexp_replace(
    CASE WHEN reason LIKE 'PostgreSQL%' THEN regexp_replace(replace(reason, 'db error: ERROR: ', ''), '\s+DETAIL:.*$', '')
        ELSE regexp_replace(reason, '"[^"]*"', '"…"', 'g') END,
    '[0-9]+', '#', 'g')"##;

const STATE: &str = "CASE WHEN purged_at IS NOT NULL THEN 'purged' WHEN return_id IS NULL THEN 'dead'
    WHEN r.finished_at IS NULL THEN 'redriving' ELSE 'redriven' END";

const LETTER: &str = "d.id, d.batch, d.key, d.row_count, d.file, d.pass, d.line, d.byte, d.reason, d.raw_bytes,
    d.sha256, d.created_at, d.return_id, d.purged_at";

const FROM: &str = "dead_letters AS d LEFT JOIN returns AS r ON r.id = d.return_id";

/// The batch of a letter, for what LOOP_MODE did to it.
const LEDGER: &str = r"LEFT JOIN ledger AS l ON l.cluster_id = d.cluster_id AND l.lane = d.lane
    AND l.day = (to_timestamp(substring(d.batch FROM '^[0-9]+')::bigint / 1000.0) AT TIME ZONE 'UTC')::date
    AND l.run = substring(d.batch FROM '\.([^.]*)\.[0-9]+$') AND l.n = substring(d.batch FROM '[0-9]+$')::bigint";

/// The conditions of a [`Selection`], as parameters 1 to 7.
fn conditions() -> String {
    format!(
        "d.cluster_id = $1 AND ($2::bigint[] IS NULL OR d.id = ANY ($2))
         AND ($3::text IS NULL OR strpos(lower(reason), lower($3)) > 0 OR strpos(lower({KIND}), lower($3)) > 0)
         AND ($4::text IS NULL OR d.file = $4 OR right(d.file, length($4) + 1) = '/' || $4)
         AND ($5::timestamptz IS NULL OR d.created_at >= $5)
         AND ($6::timestamptz IS NULL OR d.created_at < $6)
         AND ($7::text IS NULL OR {STATE} = $7)"
    )
}

/// The number of a telemetry cluster; `None` where nothing of it was ever stored.
///
/// # Errors
/// As PostgreSQL answers.
pub async fn cluster(client: &Client, name: &str) -> Result<Option<i32>, Error> {
    let row = client.query_opt("SELECT id FROM clusters WHERE name = $1", &[&name]).await?;
    Ok(row.map(|row| row.get(0)))
}

/// The kinds of reasons among the selected letters, those that wait for somebody first.
///
/// # Errors
/// As PostgreSQL answers.
pub async fn groups(client: &Client, cluster: i32, selection: &Selection) -> Result<Vec<Group>, Error> {
    let sql = format!(
        "SELECT {KIND}, count(*), sum(d.row_count)::bigint, count(*) FILTER (WHERE {STATE} = 'dead'), max(d.created_at)
         FROM {FROM} WHERE {} GROUP BY 1 ORDER BY 4 DESC, 2 DESC, 1",
        conditions()
    );
    let rows = ask(client, &sql, cluster, selection, &[]).await?;
    let group = |row: &Row| Group {
        reason: row.get(0),
        letters: row.get(1),
        rows: row.get(2),
        dead: row.get(3),
        newest: row.get(4),
    };
    Ok(rows.iter().map(group).collect())
}

/// The newest `limit` of the selected letters, from the one below `below` on.
///
/// # Errors
/// As PostgreSQL answers.
pub async fn newest(
    client: &Client,
    cluster: i32,
    selection: &Selection,
    below: Option<i64>,
    limit: i64,
) -> Result<Vec<Letter>, Error> {
    let sql = format!(
        "SELECT {LETTER}, {STATE} FROM {FROM} WHERE {} AND ($8::bigint IS NULL OR d.id < $8) ORDER BY d.id DESC LIMIT $9",
        conditions()
    );
    Ok(ask(client, &sql, cluster, selection, &[&below, &limit]).await?.iter().map(Letter::of).collect())
}

/// The selected letters with their payload, in order of their numbers, from the one behind `after` on.
///
/// # Errors
/// As PostgreSQL answers.
pub async fn payloads(
    client: &Client,
    cluster: i32,
    selection: &Selection,
    after: i64,
    limit: i64,
) -> Result<Vec<Payload>, Error> {
    let sql = format!(
        "SELECT {LETTER}, {STATE}, d.raw, l.shift_us FROM {FROM} {LEDGER}
         WHERE {} AND d.id > $8 ORDER BY d.id LIMIT $9",
        conditions()
    );
    Ok(ask(client, &sql, cluster, selection, &[&after, &limit]).await?.iter().map(Payload::of).collect())
}

/// The letters of a redrive with their payload, in order of their numbers, from the one behind `after` on.
///
/// # Errors
/// As PostgreSQL answers.
pub async fn of_return(client: &Client, return_id: i64, after: i64, limit: i64) -> Result<Vec<Payload>, Error> {
    let sql = format!(
        "SELECT {LETTER}, {STATE}, d.raw, l.shift_us FROM {FROM} {LEDGER}
         WHERE d.return_id = $1 AND d.id > $2 ORDER BY d.id LIMIT $3"
    );
    Ok(client.query(&sql, &[&return_id, &after, &limit]).await?.iter().map(Payload::of).collect())
}

/// How many letters [`purge`] would give up.
///
/// # Errors
/// As PostgreSQL answers.
pub async fn purgeable(client: &Client, cluster: i32, selection: &Selection) -> Result<Tally, Error> {
    let sql = format!(
        "SELECT count(*), COALESCE(sum(d.row_count), 0)::bigint FROM {FROM}
         WHERE {} AND {STATE} IN ('dead', 'redriven')",
        conditions()
    );
    let rows = ask(client, &sql, cluster, selection, &[]).await?;
    Ok(rows.first().map(|row| Tally { letters: row.get(0), rows: row.get(1) }).unwrap_or_default())
}

/// Gives up the payload of the selected letters, and notes who did. They still count, with their place and reason. A letter
/// that a redrive is working on is left. With a number `expected` it is those that somebody saw, or none.
///
/// # Errors
/// As PostgreSQL answers; nothing was given up then.
pub async fn purge(
    client: &mut Client,
    cluster: i32,
    selection: &Selection,
    by: &Actor,
    expected: Option<i64>,
) -> Result<Purged, Error> {
    let transaction = client.transaction().await?;
    let tally = give_up(&transaction, cluster, selection).await?;
    if expected.is_some_and(|expected| expected != tally.letters) {
        transaction.rollback().await?;
        return Ok(Purged::Otherwise(tally));
    }
    if tally.letters == 0 {
        return Ok(Purged::Done(tally));
    }
    let asked = actions::asked(selection).into();
    let act = Act { kind: Kind::Purge, return_id: None, letters: tally.letters, rows: tally.rows, asked };
    actions::note(&transaction, cluster, by, &act).await?;
    transaction.commit().await?;
    actions::say(by, &act);
    Ok(Purged::Done(tally))
}

async fn give_up(client: &impl GenericClient, cluster: i32, selection: &Selection) -> Result<Tally, Error> {
    // The conditions once more where the row is changed: between the look and the lock a redrive may have taken it.
    let sql = format!(
        "WITH chosen AS (
             SELECT d.id FROM {FROM} WHERE {} AND {STATE} IN ('dead', 'redriven') ORDER BY d.id FOR UPDATE OF d
         ), purged AS (
             UPDATE dead_letters AS d SET raw = '', purged_at = now()
             FROM chosen WHERE d.id = chosen.id AND d.purged_at IS NULL
                 AND NOT EXISTS (SELECT FROM returns WHERE id = d.return_id AND finished_at IS NULL)
             RETURNING d.row_count
         )
         SELECT count(*), COALESCE(sum(row_count), 0)::bigint FROM purged",
        conditions()
    );
    let rows = ask(client, &sql, cluster, selection, &[]).await?;
    Ok(rows.first().map(|row| Tally { letters: row.get(0), rows: row.get(1) }).unwrap_or_default())
}

async fn ask(
    client: &impl GenericClient,
    sql: &str,
    cluster: i32,
    selection: &Selection,
    more: &[&(dyn tokio_postgres::types::ToSql + Sync)],
) -> Result<Vec<Row>, Error> {
    let Selection { ids, reason, file, since, before, state } = selection;
    let state = state.map(State::name);
    let mut parameters: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> =
        vec![&cluster, ids, reason, file, since, before, &state];
    parameters.extend(more);
    Ok(client.query(sql, &parameters).await?)
}

impl State {
    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            State::Dead => "dead",
            State::Redriving => "redriving",
            State::Redriven => "redriven",
            State::Purged => "purged",
        }
    }
}

impl Letter {
    fn of(row: &Row) -> Self {
        let state = match row.get(14) {
            "dead" => State::Dead,
            "redriving" => State::Redriving,
            "redriven" => State::Redriven,
            _ => State::Purged,
        };
        Letter {
            id: row.get(0),
            batch: row.get(1),
            key: row.get(2),
            rows: row.get(3),
            file: row.get(4),
            pass: row.get(5),
            line: row.get(6),
            byte: row.get(7),
            reason: row.get(8),
            raw_bytes: row.get(9),
            sha256: row.get(10),
            created_at: row.get(11),
            return_id: row.get(12),
            purged_at: row.get(13),
            state,
        }
    }
}

impl Payload {
    fn of(row: &Row) -> Self {
        Payload { letter: Letter::of(row), raw: row.get(15), shift_us: row.get(16) }
    }
}
