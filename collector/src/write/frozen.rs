//! What frozen collectors hold in PostgreSQL.
//!
//! PostgreSQL ends a statement that takes too long and a transaction without one, but not a statement that waits for its
//! client. A collector that stops in the midst of a COPY keeps its locks until it goes on, and its successor waits for as long.
//!
//! Whether somebody is frozen is seen at two looks: a COPY that is merely slow has more bytes at the second one.

use std::time::Duration;

use deadpool_postgres::Pool;
use nexus_common::db::Error;
use nexus_common::domain::Timestamp;
use tokio::time::sleep;

/// Between two looks: as long as a transaction of a collector may be without a statement.
const LOOKS: Duration = Duration::from_secs(5);

/// This user's collectors whose COPY waits for them, and how far it is.
const WAITING: &str = "SELECT pid, query_start, bytes_processed
    FROM pg_stat_activity JOIN pg_stat_progress_copy USING (pid)
    WHERE usename = current_user AND application_name = $1 AND state = 'active' AND wait_event = 'ClientRead'";

/// Ends those that are where they were ($2 to $4), and those that have left an answer lying for longer than a collector works
/// on anything.
const END: &str = "SELECT count(pg_terminate_backend(pid))
    FROM pg_stat_activity LEFT JOIN pg_stat_progress_copy USING (pid)
    WHERE usename = current_user AND application_name = $1 AND state = 'active'
        AND (wait_event = 'ClientRead' AND (pid, query_start, bytes_processed)
                IN (SELECT * FROM unnest($2::integer[], $3::timestamptz[], $4::bigint[]))
            OR wait_event = 'ClientWrite' AND query_start < clock_timestamp() - interval '150 seconds')";

/// Ends the connections of this user's collectors that wait for a client which does nothing; how many. What was not committed
/// on them never was: whoever wakes up stores it again.
///
/// # Errors
/// As PostgreSQL answers.
pub(super) async fn end(pool: &Pool) -> Result<u64, Error> {
    let client = pool.get().await?;
    let waiting = client.query(WAITING, &[&crate::APPLICATION]).await?;
    if !waiting.is_empty() {
        sleep(LOOKS).await;
    }
    let pids: Vec<i32> = waiting.iter().map(|row| row.get(0)).collect();
    let begun: Vec<Timestamp> = waiting.iter().map(|row| row.get(1)).collect();
    let bytes: Vec<i64> = waiting.iter().map(|row| row.get(2)).collect();
    let ended: i64 = client.query_one(END, &[&crate::APPLICATION, &pids, &begun, &bytes]).await?.get(0);
    if ended > 0 {
        tracing::warn!(connections = ended, "ended what a frozen collector held in PostgreSQL");
    }
    Ok(ended.unsigned_abs())
}
