//! What is older than RETENTION goes, a partition at a time, and leaves what the books need.
//!
//! A day of samples goes together with its rollups, so that an answer from rollups stays the answer from samples (I8). A day
//! of the ledger goes in the transaction that adds its sums to `ledger_totals` and notes in `ledger_dropped` which batches
//! they were: the audit's figures stay what they were (I5), and a batch that is delivered once more is known (I3), because
//! `insert_ledger.sql` looks there too.
//!
//! A day of a large cluster's ledger has millions of batches, whose sums take longer than a statement of a collector usually
//! may ([`LONGEST`]). Only that day is locked meanwhile: who makes a partition waits for the drop alone.
//!
//! Nobody is waited for: where a lock is not had within [`PATIENCE`] (a long query reads the table), the day is tried again
//! at the next turn. Dropping takes the strongest lock on the whole table for a moment; whoever comes meanwhile waits for as
//! long. `DETACH CONCURRENTLY` would not, but it cannot be in a transaction with the sums.

use deadpool_postgres::{Pool, Transaction};
use nexus_common::db::Error;
use nexus_common::domain::Timestamp;
use tokio_postgres::error::SqlState;

use super::partitions::Table;
use super::rollup;

/// For how long others may wait behind a drop that waits for its lock itself.
const PATIENCE: &str = "SET LOCAL lock_timeout = '500ms'";
/// For how long a statement may run instead of the pool's bound.
const LONGEST: &str = "SET LOCAL statement_timeout = '10min'";
/// Keeps whoever makes a partition apart: see `partitions.rs`.
const NOBODY_MAKES_ONE: &str = "SELECT pg_advisory_xact_lock(hashtext('nexus.partitions'))";
/// The earlier of two clocks: one that runs ahead must not drop what is not old.
const TODAY: &str = "SELECT LEAST(now(), $1::timestamptz)";
/// Whether there are samples between two days, by the names of their partitions.
const HAS_SAMPLES: &str = "SELECT EXISTS (SELECT FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
    WHERE inhparent = 'samples'::regclass AND relname >= $1::text::name AND relname < $2::text::name)";
const DROP_HOURS: &str = "DELETE FROM rollup_hours WHERE start >= $1 AND start < $2";
const DROP_TODO: &str = "DELETE FROM rollup_todo WHERE hour >= $1 AND hour < $2";

/// Drops what is older than it should be.
#[derive(Debug)]
pub(crate) struct Dropper {
    pool: Pool,
    /// In microseconds.
    keep: i64,
}

/// What a turn did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Dropped {
    /// Partitions that are gone.
    pub(crate) partitions: Vec<String>,
    /// Partitions that were to go, and are in use.
    pub(crate) busy: usize,
}

impl Dropper {
    pub(crate) fn new(pool: Pool, keep: std::time::Duration) -> Self {
        Dropper { pool, keep: i64::try_from(keep.as_micros()).unwrap_or(i64::MAX) }
    }

    /// Drops all partitions of which every row is too old, the oldest first.
    ///
    /// # Errors
    /// As PostgreSQL answers; what was dropped until then is whole.
    pub(crate) async fn turn(&self, now: Timestamp) -> Result<Dropped, Error> {
        let mut client = self.pool.get().await?;
        let today: Timestamp = client.query_one(TODAY, &[&now]).await?.get(0);
        let first_kept = today.shifted(-self.keep).day();
        let (mut dropped, mut failed) = (Dropped::default(), None);
        for row in client.query(include_str!("partitions.sql"), &[]).await? {
            let Some((table, day)) = of_name(row.get(0), row.get(1)) else { continue };
            if table.end(day) > first_kept {
                continue;
            }
            let transaction = client.transaction().await?;
            match drop(transaction, table, day).await {
                Ok(true) => dropped.partitions.push(table.partition(day)),
                Ok(false) => dropped.busy += 1,
                Err(error) if is_in_use(&error) => dropped.busy += 1,
                // One that cannot go, because it is somebody else's or too large, keeps no other.
                Err(error) => _ = failed.get_or_insert(error),
            }
        }
        match failed {
            Some(error) => Err(error),
            None => Ok(dropped),
        }
    }
}

/// A table and the day its partition is named after.
fn of_name(parent: &str, day: &str) -> Option<(Table, i32)> {
    let table = Table::ALL.into_iter().find(|table| table.parent() == parent)?;
    let day = format!("{}-{}-{}T00:00:00Z", day.get(..4)?, day.get(4..6)?, day.get(6..)?);
    Some((table, Timestamp::from(day.parse::<jiff::Timestamp>().ok()?).day()))
}

/// Drops one partition; `false` where somebody needs it still.
async fn drop(transaction: Transaction<'_>, table: Table, day: i32) -> Result<bool, Error> {
    transaction.batch_execute(&format!("{PATIENCE}; {LONGEST}")).await?;
    // Long, and about nothing but its own day: others may make partitions until it is done.
    if table == Table::Ledger && !fold(&transaction, day).await? {
        return Ok(false);
    }
    transaction.execute(NOBODY_MAKES_ONE, &[]).await?;
    let may_go = match table {
        Table::Ledger => true,
        Table::Samples => drop_rollups(&transaction, day).await?,
        Table::Minutes | Table::Fives | Table::Hours => !has_samples(&transaction, day, table.end(day)).await?,
    };
    if may_go {
        transaction.batch_execute(&format!("DROP TABLE IF EXISTS {}", table.partition(day))).await?;
        transaction.commit().await?;
    }
    Ok(may_go)
}

/// Adds a day of the ledger to what is known of dropped ones. Nobody writes to it meanwhile: a batch that is being stored
/// there is waited for, and one that comes later waits, and finds what is noted here. Nor does anybody else add it up.
async fn fold(transaction: &Transaction<'_>, day: i32) -> Result<bool, Error> {
    transaction
        .batch_execute(&format!("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE", Table::Ledger.partition(day)))
        .await?;
    let day = Timestamp::of_day(day);
    if transaction.query_one(include_str!("wanted_still.sql"), &[&day]).await?.get(0) {
        tracing::warn!(%day, "a day of the ledger is kept for a republish that is not finished");
        return Ok(false);
    }
    transaction.execute(include_str!("fold_totals.sql"), &[&day]).await?;
    transaction.execute(include_str!("fold_runs.sql"), &[&day]).await?;
    Ok(true)
}

/// The rollups of a day go with its samples; not while somebody makes them.
async fn drop_rollups(transaction: &Transaction<'_>, day: i32) -> Result<bool, Error> {
    if !rollup::locked(transaction).await? {
        return Ok(false);
    }
    let (from, to) = (Timestamp::of_day(day), Timestamp::of_day(day + 1));
    transaction.execute(DROP_HOURS, &[&from, &to]).await?;
    transaction.execute(DROP_TODO, &[&from, &to]).await?;
    for parts in [Table::Fives, Table::Minutes] {
        transaction.batch_execute(&format!("DROP TABLE IF EXISTS {}", parts.partition(day))).await?;
    }
    Ok(true)
}

async fn has_samples(transaction: &Transaction<'_>, from: i32, to: i32) -> Result<bool, Error> {
    let names = [from, to].map(|day| Table::Samples.partition(day));
    Ok(transaction.query_one(HAS_SAMPLES, &[&names[0], &names[1]]).await?.get(0))
}

/// Somebody held on to it, or would have waited for us in a circle.
fn is_in_use(error: &Error) -> bool {
    error
        .sqlstate()
        .is_some_and(|state| [SqlState::LOCK_NOT_AVAILABLE, SqlState::T_R_DEADLOCK_DETECTED].contains(state))
}
