//! What frozen collectors hold: PostgreSQL ends a statement that takes too long, and a transaction without one, but not a
//! statement that waits for its client. A collector that stops in the midst of a COPY would keep its locks until it goes on,
//! and its successor would wait for as long.

use deadpool_postgres::Pool;
use nexus_common::db::Error;

/// For how long a statement may have been waiting for its client: as long as a collector may be silent before its claims are
/// another's. A statement of a collector takes a fraction of that.
const END: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE usename = current_user AND datname = current_database() AND application_name = $1
        AND pid <> pg_backend_pid() AND state = 'active' AND wait_event IN ('ClientRead', 'ClientWrite')
        AND query_start < clock_timestamp() - interval '10 seconds'";

/// Ends the connections of this user's collectors that wait for their client for too long; how many. What was not committed
/// on them never was; a collector that is only slow stores it again.
///
/// # Errors
/// As PostgreSQL answers.
pub(super) async fn end(pool: &Pool) -> Result<u64, Error> {
    let client = pool.get().await?;
    let ended: i64 = client.query_one(END, &[&crate::APPLICATION]).await?.get(0);
    if ended > 0 {
        tracing::warn!(connections = ended, "ended what a frozen collector held in PostgreSQL");
    }
    Ok(ended.unsigned_abs())
}
