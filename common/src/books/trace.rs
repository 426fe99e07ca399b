//! What PostgreSQL knows of one value: its sample, the batches that could have brought it, and its dead letters.

use std::collections::BTreeMap;

use serde_json::Value;
use tokio_postgres::{Client, Row};

use crate::db::Error;
use crate::domain::Timestamp;
use crate::queue::BatchId;

/// A GPU of the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownGpu {
    /// Its number in `gpus`.
    pub id: i32,
    /// The host it is on now.
    pub host: String,
    /// Its index there.
    pub gpu: String,
    /// Its UUID.
    pub uuid: Option<String>,
}

/// A stored sample.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredSample {
    /// The GPU's number in `gpus`.
    pub gpu_id: i32,
    /// When the GPU was read.
    pub timestamp: Timestamp,
    /// Values that arrived for a metric that had another one already; the later one stands.
    pub conflicts: i32,
    /// What is stored, by metric.
    pub values: BTreeMap<String, f64>,
}

/// A batch as the ledger has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Booked {
    /// The batch.
    pub batch: BatchId,
    /// Rows in it, and what became of them.
    pub rows: u64,
    /// Rows that were stored.
    pub stored: u64,
    /// Rows that became dead letters.
    pub dead: u64,
    /// Rows that expired unread.
    pub expired: u64,
    /// The source's name, as its streamer read it.
    pub file: String,
    /// Pass of a loop, from 0.
    pub pass: u64,
    /// First and last line.
    pub lines: [u64; 2],
    /// Offset of the first byte, and the one behind the last.
    pub bytes: [u64; 2],
    /// What was added to the rows' times, in microseconds.
    pub shift_us: i64,
    /// Who stored it.
    pub collector: String,
    /// When.
    pub stored_at: Timestamp,
}

/// A part of a source that was published under one lane, in one pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The lane.
    pub lane: String,
    /// The source's name.
    pub file: String,
    /// Pass of a loop, from 0.
    pub pass: u64,
    /// What was added to the rows' times, in microseconds.
    pub shift_us: i64,
    /// Offset of the first byte, and the one behind the last.
    pub bytes: [u64; 2],
    /// When its last batch was published.
    pub last: Timestamp,
}

/// A dead letter, by its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its number in `dead_letters`.
    pub id: i64,
    /// The batch it came with.
    pub batch: String,
    /// The message's key.
    pub key: String,
    /// Rows it stands for.
    pub rows: i32,
    /// The source's name.
    pub file: String,
    /// Line in the source; unknown where a whole message is dead.
    pub line: Option<i64>,
    /// Offset in the source, likewise.
    pub byte: Option<i64>,
    /// Why.
    pub reason: String,
    /// The row, or the message, as text; cut.
    pub raw: String,
}

/// The number of a telemetry cluster; `None`: nothing of it was ever stored.
///
/// # Errors
/// As PostgreSQL answers.
pub async fn cluster(db: &Client, name: &str) -> Result<Option<i32>, Error> {
    let row = db.query_opt("SELECT id FROM clusters WHERE name = $1", &[&name]).await?;
    Ok(row.map(|row| row.get(0)))
}

/// The GPUs that a host and an index stand for, or a UUID alone or with its host. More than one where a GPU was changed.
///
/// # Errors
/// As PostgreSQL answers.
pub async fn gpus(db: &Client, cluster: i32, host: &str, gpu: &str) -> Result<Vec<KnownGpu>, Error> {
    let rows = db
        .query(
            "SELECT g.id, h.name, g.gpu_index, g.uuid FROM gpus g JOIN hosts h ON h.id = g.host_id
             WHERE g.cluster_id = $1 AND ((h.name = $2 AND g.gpu_index = $3) OR g.uuid = $3) ORDER BY g.id",
            &[&cluster, &host, &gpu],
        )
        .await?;
    Ok(rows
        .iter()
        .map(|row| KnownGpu { id: row.get(0), host: row.get(1), gpu: row.get(2), uuid: row.get(3) })
        .collect())
}

/// The samples of these GPUs at exactly this time.
///
/// # Errors
/// As PostgreSQL answers.
pub async fn samples(db: &Client, gpus: &[i32], at: Timestamp) -> Result<Vec<StoredSample>, Error> {
    let rows = db
        .query(
            "SELECT gpu_id, ts, conflicts, to_jsonb(s) - '{gpu_id,ts,conflicts,ext}'::text[], ext
             FROM samples s WHERE gpu_id = ANY($1) AND ts = $2 ORDER BY gpu_id",
            &[&gpus, &at],
        )
        .await?;
    let numbers = |document: Option<Value>| {
        let pairs = match document {
            Some(Value::Object(pairs)) => pairs,
            _ => serde_json::Map::new(),
        };
        pairs.into_iter().filter_map(|(name, value)| Some((name, value.as_f64()?)))
    };
    Ok(rows
        .iter()
        .map(|row| StoredSample {
            gpu_id: row.get(0),
            timestamp: row.get(1),
            conflicts: row.get(2),
            values: numbers(row.get(3)).chain(numbers(row.get(4))).collect(),
        })
        .collect())
}

/// The times of these GPUs' samples next to a time, before and after it.
///
/// # Errors
/// As PostgreSQL answers.
pub async fn neighbours(
    db: &Client,
    gpus: &[i32],
    at: Timestamp,
) -> Result<(Option<Timestamp>, Option<Timestamp>), Error> {
    let row = db
        .query_one(
            "SELECT (SELECT max(ts) FROM samples WHERE gpu_id = ANY($1) AND ts < $2),
                 (SELECT min(ts) FROM samples WHERE gpu_id = ANY($1) AND ts > $2)",
            &[&gpus, &at],
        )
        .await?;
    Ok((row.get(0), row.get(1)))
}

const BOOKED: &str =
    "SELECT published_at, lane, run, n, row_count, stored, dead, expired, file, pass, first_line, last_line,
     first_byte, end_byte, shift_us, collector, stored_at FROM ledger";

/// A batch, if the ledger has it.
///
/// # Errors
/// As PostgreSQL answers.
pub async fn booked(db: &Client, cluster: i32, batch: &BatchId) -> Result<Option<Booked>, Error> {
    let n = i64::try_from(batch.n).unwrap_or(i64::MAX);
    let sql = format!("{BOOKED} WHERE cluster_id = $1 AND lane = $2 AND run = $3 AND n = $4");
    let row = db.query_opt(&sql, &[&cluster, &batch.lane, &batch.run, &n]).await?;
    Ok(row.as_ref().map(of_row))
}

/// The batches published in one millisecond.
///
/// # Errors
/// As PostgreSQL answers.
pub async fn booked_at(db: &Client, cluster: i32, published_ms: i64) -> Result<Vec<Booked>, Error> {
    let (at, behind) = (Timestamp::from_millis(published_ms), Timestamp::from_millis(published_ms + 1));
    let sql = format!(
        "{BOOKED} WHERE cluster_id = $1 AND published_at >= $2 AND published_at < $3
         AND day = ($2 AT TIME ZONE 'UTC')::date ORDER BY lane, run, n"
    );
    Ok(db.query(&sql, &[&cluster, &at, &behind]).await?.iter().map(of_row).collect())
}

/// The batches of a lane that hold a byte of their source in one pass. More than one where rows were published twice.
///
/// # Errors
/// As PostgreSQL answers.
pub async fn booked_over(db: &Client, cluster: i32, lane: &str, pass: u64, byte: u64) -> Result<Vec<Booked>, Error> {
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let sql = format!(
        "{BOOKED} WHERE cluster_id = $1 AND lane = $2 AND pass = $3 AND first_byte <= $4 AND end_byte > $4
         ORDER BY published_at, run, n"
    );
    Ok(db.query(&sql, &[&cluster, &lane, &number(pass), &number(byte)]).await?.iter().map(of_row).collect())
}

/// What was published, by source, lane and pass: everything a value can have come from. One look at the whole ledger.
///
/// # Errors
/// As PostgreSQL answers.
pub async fn published(db: &Client, cluster: i32) -> Result<Vec<Published>, Error> {
    let rows = db
        .query(
            "SELECT lane, file, pass, shift_us, min(first_byte), max(end_byte), max(published_at)
             FROM ledger WHERE cluster_id = $1 GROUP BY lane, file, pass, shift_us ORDER BY max(published_at) DESC",
            &[&cluster],
        )
        .await?;
    Ok(rows
        .iter()
        .map(|row| Published {
            lane: row.get(0),
            file: row.get(1),
            pass: unsigned(row, 2),
            shift_us: row.get(3),
            bytes: [unsigned(row, 4), unsigned(row, 5)],
            last: row.get(6),
        })
        .collect())
}

const LETTERS: &str =
    "SELECT id, batch, key, row_count, file, line, byte, reason, substr(raw, 1, 2000) FROM dead_letters";

/// Most letters that one look brings.
const MOST: i64 = 20;

/// Dead letters of a batch: of one row by its offset, and of messages that are dead whole.
///
/// # Errors
/// As PostgreSQL answers.
pub async fn letters_of(
    db: &Client,
    cluster: i32,
    batch: &BatchId,
    byte: Option<u64>,
) -> Result<Vec<DeadLetter>, Error> {
    let byte = byte.map(|byte| i64::try_from(byte).unwrap_or(i64::MAX));
    let sql = format!(
        "{LETTERS} WHERE cluster_id = $1 AND lane = $2 AND batch = $3 AND ($4::bigint IS NULL OR byte IS NULL OR byte = $4)
         ORDER BY id LIMIT $5"
    );
    let rows = db.query(&sql, &[&cluster, &batch.lane, &batch.to_string(), &byte, &MOST]).await?;
    Ok(rows.iter().map(letter).collect())
}

/// Dead letters of a message.
///
/// # Errors
/// As PostgreSQL answers.
pub async fn letters_with_key(db: &Client, cluster: i32, key: &str) -> Result<Vec<DeadLetter>, Error> {
    let sql = format!("{LETTERS} WHERE cluster_id = $1 AND key = $2 ORDER BY id LIMIT $3");
    Ok(db.query(&sql, &[&cluster, &key, &MOST]).await?.iter().map(letter).collect())
}

/// Dead letters whose text holds the host's name and one of these spellings of a time: a guess, for rows that nobody
/// could read.
///
/// # Errors
/// As PostgreSQL answers.
pub async fn letters_that_say(
    db: &Client,
    cluster: i32,
    host: &str,
    times: &[String],
) -> Result<Vec<DeadLetter>, Error> {
    let (host, times): (&[u8], Vec<&[u8]>) = (host.as_bytes(), times.iter().map(String::as_bytes).collect());
    let sql = format!(
        "{LETTERS} WHERE cluster_id = $1 AND position($2::bytea IN raw) > 0
         AND EXISTS (SELECT FROM unnest($3::bytea[]) AS t (spelling) WHERE position(t.spelling IN raw) > 0)
         ORDER BY id LIMIT $4"
    );
    Ok(db.query(&sql, &[&cluster, &host, &times, &MOST]).await?.iter().map(letter).collect())
}

fn of_row(row: &Row) -> Booked {
    let count = |column: usize| u64::try_from(row.get::<_, i32>(column)).unwrap_or(0);
    let published: Timestamp = row.get(0);
    Booked {
        batch: BatchId { published_ms: published.as_millis(), lane: row.get(1), run: row.get(2), n: unsigned(row, 3) },
        rows: count(4),
        stored: count(5),
        dead: count(6),
        expired: count(7),
        file: row.get(8),
        pass: unsigned(row, 9),
        lines: [unsigned(row, 10), unsigned(row, 11)],
        bytes: [unsigned(row, 12), unsigned(row, 13)],
        shift_us: row.get(14),
        collector: row.get(15),
        stored_at: row.get(16),
    }
}

fn letter(row: &Row) -> DeadLetter {
    DeadLetter {
        id: row.get(0),
        batch: row.get(1),
        key: row.get(2),
        rows: row.get(3),
        file: row.get(4),
        line: row.get(5),
        byte: row.get(6),
        reason: row.get(7),
        raw: String::from_utf8_lossy(row.get(8)).into_owned(),
    }
}

fn unsigned(row: &Row, column: usize) -> u64 {
    u64::try_from(row.get::<_, i64>(column)).unwrap_or(0)
}
