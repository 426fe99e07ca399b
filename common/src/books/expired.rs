//! Batches with rows that expired unread: which part of which file they were.

use deadpool_postgres::Client;
use tokio_postgres::Row;

use crate::db::Error;
use crate::domain::Timestamp;

/// A batch of which rows expired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Its lane.
    pub lane: String,
    /// The lane's run.
    pub run: String,
    /// Number within the run.
    pub n: i64,
    /// Rows the lane had published before.
    pub rows_before: i64,
    /// When it was published.
    pub published_at: Timestamp,
    /// Rows in it.
    pub rows: i32,
    /// Those that expired.
    pub expired: i32,
    /// The file, as the streamer knew it.
    pub file: String,
    /// Pass of a loop, from 0.
    pub pass: i64,
    /// First and last line.
    pub lines: [i64; 2],
    /// Offset of the first byte, and the one behind the last.
    pub bytes: [i64; 2],
    /// What LOOP_MODE added to its time stamps, in microseconds.
    pub shift_us: i64,
    /// The lane that read the batch from its source: another one than `lane` where it was published again already.
    pub origin: String,
    /// The republish it is in, and whether that is finished.
    pub returned: Option<(i64, bool)>,
}

/// All of a cluster, in the order of [`Batch::order`]. A batch that was published again and expired again is looked for
/// in the republish it came with, for the lane it once came from.
const BATCHES: &str = "
    WITH RECURSIVE batches AS (
        SELECT l.lane, l.run, l.n, l.rows_before, l.published_at, l.row_count, l.expired, l.file, l.pass, l.first_line,
            l.last_line, l.first_byte, l.end_byte, l.shift_us, e.return_id, r.finished_at IS NOT NULL AS finished
        FROM ledger AS l
        LEFT JOIN expired_returns AS e USING (cluster_id, lane, run, n)
        LEFT JOIN returns AS r ON r.id = e.return_id
        WHERE l.cluster_id = $1 AND l.expired > 0
    ), origins AS (
        SELECT lane, run, n, file, pass, first_byte, end_byte, lane AS origin FROM batches
        UNION ALL
        SELECT o.lane, o.run, o.n, o.file, o.pass, o.first_byte, o.end_byte, b.lane
        FROM origins AS o JOIN batches AS b
            ON o.origin = 'republish-' || b.return_id AND b.pass = o.pass
                AND b.first_byte <= o.first_byte AND b.end_byte >= o.end_byte AND b.file = o.file
    ), earliest AS (
        SELECT DISTINCT ON (lane, run, n) lane, run, n, origin FROM origins
        ORDER BY lane, run, n, origin LIKE 'republish-%'
    )
    SELECT lane, run, n, rows_before, published_at, row_count, expired, file, pass, first_line, last_line, first_byte,
        end_byte, shift_us, origin, return_id, finished
    FROM batches JOIN earliest USING (lane, run, n)
    WHERE $2::bigint IS NULL OR return_id = $2
    ORDER BY lane COLLATE \"C\", rows_before, run COLLATE \"C\", n";

/// The batches of a cluster of which rows expired, published again or not.
///
/// # Errors
/// As PostgreSQL answers.
pub async fn list(client: &Client, cluster: i32) -> Result<Vec<Batch>, Error> {
    Ok(client.query(BATCHES, &[&cluster, &None::<i64>]).await?.iter().map(Batch::of).collect())
}

/// The batches of a republish.
///
/// # Errors
/// As PostgreSQL answers.
pub async fn of_return(client: &Client, cluster: i32, return_id: i64) -> Result<Vec<Batch>, Error> {
    Ok(client.query(BATCHES, &[&cluster, &Some(return_id)]).await?.iter().map(Batch::of).collect())
}

/// Expired rows in days of the ledger that retention has dropped: their number is all that is left of them.
///
/// # Errors
/// As PostgreSQL answers.
pub async fn dropped(client: &Client, cluster: i32) -> Result<i64, Error> {
    let sum = "SELECT COALESCE(sum(expired), 0)::bigint FROM ledger_totals WHERE cluster_id = $1";
    Ok(client.query_one(sum, &[&cluster]).await?.get(0))
}

impl Batch {
    /// The batch's place among all: no two have the same.
    pub fn order(&self) -> (&str, i64, &str, i64) {
        (&self.lane, self.rows_before, &self.run, self.n)
    }

    fn of(row: &Row) -> Self {
        Batch {
            lane: row.get(0),
            run: row.get(1),
            n: row.get(2),
            rows_before: row.get(3),
            published_at: row.get(4),
            rows: row.get(5),
            expired: row.get(6),
            file: row.get(7),
            pass: row.get(8),
            lines: [row.get(9), row.get(10)],
            bytes: [row.get(11), row.get(12)],
            shift_us: row.get(13),
            origin: row.get(14),
            returned: row.get::<_, Option<i64>>(15).map(|id| (id, row.get(16))),
        }
    }
}
