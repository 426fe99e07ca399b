use std::collections::{BTreeMap, HashSet};
use std::pin::pin;
use std::sync::LazyLock;
use std::time::Duration;

use deadpool_postgres::{Pool, Transaction};
use futures_util::{SinkExt, TryStreamExt};
use nexus_common::db::Error;
use nexus_common::domain::{CATALOGUE, Sample, Timestamp};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{Json, ToSql};
use tokio_postgres::{CopyInSink, Row};

use super::super::copy::Encoder;
use super::super::frozen;
use super::super::partitions::{Partitions, Table};
use super::encode::{COPY_FIVES, COPY_HOURS, COPY_MINUTES, encode};
use crate::rollup::{Due, Hour};

/// The advisory lock of whoever keeps the list: "roll" in ASCII. One for the whole database, as the list is.
const LOCK: i64 = 0x726f_6c6c;
/// Notes that are moved at a time.
const NOTES: i64 = 1_000;
/// Hours that are rolled up at a time: at one sample a second they are some 100,000 samples, and less than a second.
const HOURS: i64 = 32;

/// Not waited for: who does not get it leaves the turn to who has it. It goes with the transaction.
const TRY_LOCK: &str = "SELECT pg_try_advisory_xact_lock($1)";
static READ_SAMPLES: LazyLock<String> = LazyLock::new(|| {
    let columns = CATALOGUE.iter().map(|metric| format!(", s.{}", metric.name)).collect::<String>();
    include_str!("read_samples.sql").replace("/* columns */", &columns)
});
/// The bounds keep partitions out that have nothing to do with it.
const FORGET_HOURS: &str = "DELETE FROM rollup_hours r USING unnest($1::integer[], $2::timestamptz[]) AS x (gpu_id, hour)
    WHERE r.gpu_id = x.gpu_id AND r.start = x.hour
        AND r.start >= (SELECT min(hour) FROM unnest($2) AS hour) AND r.start <= (SELECT max(hour) FROM unnest($2) AS hour)";
static FORGET_FIVES: LazyLock<String> = LazyLock::new(|| forget_parts("rollup_fives"));
static FORGET_MINUTES: LazyLock<String> = LazyLock::new(|| forget_parts("rollup_minutes"));
fn forget_parts(table: &str) -> String {
    include_str!("forget_parts.sql").replace("/* table */", table)
}
const TAKE_OFF: &str = "DELETE FROM rollup_todo t USING unnest($1::integer[], $2::timestamptz[]) AS x (gpu_id, hour)
    WHERE t.gpu_id = x.gpu_id AND t.hour = x.hour";
const REFUSE: &str = "UPDATE rollup_todo SET refused = $3 WHERE gpu_id = $1 AND hour = $2";

/// Keeps the rollups of all clusters in the database.
#[derive(Debug)]
pub(crate) struct Roller {
    pool: Pool,
    partitions: Partitions,
    /// For how long nothing has to be stored of an hour.
    settle: Duration,
}

/// What a turn did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Turn {
    /// Hours that were rolled up, and those that cannot be.
    pub(crate) hours: usize,
    pub(crate) refused: usize,
    /// There may be more to do at once.
    pub(crate) behind: bool,
}

/// How far the rollups are behind.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Backlog {
    /// Hours of GPUs that wait.
    pub(crate) hours: i64,
    /// For how long the first of them has; 0 where none does.
    pub(crate) oldest_seconds: f64,
}

impl Roller {
    pub(crate) fn new(pool: Pool, settle: Duration) -> Self {
        Roller { pool, partitions: Partitions::default(), settle }
    }

    /// Moves some notes onto the list, and rolls up some hours that are due.
    ///
    /// # Errors
    /// As PostgreSQL answers; what was not committed is done again by the next turn.
    pub(crate) async fn turn(&self) -> Result<Turn, Error> {
        let Some(listed) = self.list().await? else {
            frozen::end(&self.pool).await?;
            return Ok(Turn::default());
        };
        let due = self.due().await?;
        let behind = listed == NOTES || due.len() == usize::try_from(HOURS).unwrap_or(usize::MAX);
        let mut turn = Turn { behind, ..Turn::default() };
        if !due.is_empty() {
            match self.roll(&due).await {
                Err(error) if error.sqlstate() == Some(&SqlState::CHECK_VIOLATION) => {
                    // A partition is gone: the next turn makes it again.
                    self.partitions.forget();
                    return Err(error);
                }
                outcome => (turn.hours, turn.refused) = outcome?,
            }
        }
        if !turn.behind {
            // Nobody may be held up by it: then it holds up VACUUM, for as long as it sleeps.
            frozen::end(&self.pool).await?;
        }
        Ok(turn)
    }

    /// How far behind it is.
    ///
    /// # Errors
    /// As PostgreSQL answers.
    pub(crate) async fn backlog(&self) -> Result<Backlog, Error> {
        let client = self.pool.get().await?;
        let row = client.query_one(&client.prepare_cached(include_str!("backlog.sql")).await?, &[]).await?;
        Ok(Backlog { hours: row.try_get(0)?, oldest_seconds: row.try_get(1)? })
    }

    /// Moves notes onto the list; how many. `None`: another collector is at it.
    pub(crate) async fn list(&self) -> Result<Option<i64>, Error> {
        let mut client = self.pool.get().await?;
        let transaction = client.transaction().await?;
        if !locked(&transaction).await? {
            return Ok(None);
        }
        let list = transaction.prepare_cached(include_str!("list_notes.sql")).await?;
        let listed = transaction.query_one(&list, &[&NOTES]).await?.get(0);
        transaction.commit().await?;
        Ok(Some(listed))
    }

    /// Hours that may be rolled up.
    async fn due(&self) -> Result<Vec<Due>, Error> {
        let client = self.pool.get().await?;
        let settle = i64::try_from(self.settle.as_micros()).unwrap_or(i64::MAX);
        let find = client.prepare_cached(include_str!("find_due.sql")).await?;
        let rows = client.query(&find, &[&settle, &HOURS]).await?;
        let due: Vec<Due> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        let days = due
            .iter()
            .flat_map(|(_, hour)| [Table::Hours, Table::Fives, Table::Minutes].map(|table| table.place(*hour)));
        self.partitions.ensure(&client, days.collect::<HashSet<_>>()).await?;
        Ok(due)
    }

    /// Makes the rollups of these hours and takes them off the list, in one transaction. The lock is held from before the
    /// samples are read: whatever is put on the list later is put there after this.
    ///
    /// Read committed, the default, is right: samples that are stored after they were read here have a note of their own.
    pub(crate) async fn roll(&self, due: &[Due]) -> Result<(usize, usize), Error> {
        let mut client = self.pool.get().await?;
        let transaction = client.transaction().await?;
        if !locked(&transaction).await? {
            return Ok((0, 0));
        }
        let hours = read(&transaction, due).await?;
        let (sound, refused): (BTreeMap<_, _>, BTreeMap<_, _>) =
            hours.into_iter().partition(|(_, hour)| hour.beyond_numbers().is_none());
        let done: Vec<Due> = due.iter().copied().filter(|due| !refused.contains_key(due)).collect();
        // Those without a rollup, too: they must not keep one that their samples have outgrown.
        let forgotten = [(FORGET_HOURS, due), (&*FORGET_FIVES, due), (&*FORGET_MINUTES, due), (TAKE_OFF, &*done)];
        for (forget, which) in forgotten {
            let (gpu_ids, hours): (Vec<i32>, Vec<Timestamp>) = which.iter().copied().unzip();
            transaction.execute(&transaction.prepare_cached(forget).await?, &[&gpu_ids, &hours]).await?;
        }
        for ((gpu_id, start), hour) in &refused {
            let metric = hour.beyond_numbers().unwrap_or_default();
            tracing::warn!(gpu_id, %start, metric, "an hour cannot be summed up: its values are too large");
            transaction.execute(REFUSE, &[gpu_id, start, &metric]).await?;
        }
        write(&transaction, &sound).await?;
        transaction.commit().await?;
        Ok((done.len(), refused.len()))
    }
}

/// Takes the lock of whoever keeps the list, until the transaction ends; `false` where another has it.
pub(in crate::write) async fn locked(transaction: &Transaction<'_>) -> Result<bool, Error> {
    Ok(transaction.query_one(&transaction.prepare_cached(TRY_LOCK).await?, &[&LOCK]).await?.get(0))
}

/// What the samples of these hours come to; an hour without any is not in it. Row by row: only the rollups are in memory.
async fn read(transaction: &Transaction<'_>, due: &[Due]) -> Result<BTreeMap<Due, Hour>, Error> {
    let (gpu_ids, hours): (Vec<i32>, Vec<Timestamp>) = due.iter().copied().unzip();
    let statement = transaction.prepare_cached(&READ_SAMPLES).await?;
    let parameters: [&(dyn ToSql + Sync); 2] = [&gpu_ids, &hours];
    let mut rows = pin!(transaction.query_raw(&statement, parameters).await?);
    let mut found = BTreeMap::<Due, Hour>::new();
    while let Some(row) = rows.try_next().await? {
        let (gpu_id, sample) = sample(&row)?;
        found.entry((gpu_id, crate::rollup::hour_of(sample.timestamp))).or_default().add(&sample);
    }
    Ok(found)
}

fn sample(row: &Row) -> Result<(i32, Sample), Error> {
    let mut sample = Sample::new(row.try_get(1)?);
    if let Some(Json(ext)) = row.try_get(2)? {
        sample.ext = ext;
    }
    for (value, column) in sample.values.iter_mut().zip(3..) {
        *value = row.try_get(column)?;
    }
    Ok((row.try_get(0)?, sample))
}

async fn write(transaction: &Transaction<'_>, rollups: &BTreeMap<Due, Hour>) -> Result<(), Error> {
    let (mut hours, mut fives, mut minutes) = (Encoder::new(), Encoder::new(), Encoder::new());
    for ((gpu_id, start), hour) in rollups {
        encode(&mut hours, *gpu_id, *start, hour.whole(), &[hour.minutes().is_some(), hour.fives().is_some()]);
        for (encoder, parts) in [(&mut fives, hour.fives()), (&mut minutes, hour.minutes())] {
            for (start, rollup) in parts.into_iter().flatten() {
                encode(encoder, *gpu_id, *start, rollup, &[]);
            }
        }
    }
    for (copy, encoder) in [(&COPY_HOURS, hours), (&COPY_FIVES, fives), (&COPY_MINUTES, minutes)] {
        let statement = transaction.prepare_cached(copy).await?;
        let mut sink = pin!(transaction.copy_in(&statement).await?);
        for chunk in encoder.finish() {
            sink.send(chunk).await?;
        }
        CopyInSink::finish(sink.as_mut()).await?;
    }
    Ok(())
}
