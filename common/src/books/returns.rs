//! Returns: what an operator sends through the queue again, noted before the first row of it is published.
//!
//! Who is in a return is decided in one transaction; a letter or batch that is in one is in no other at the same time. So
//! two operators, or one who was interrupted, cannot send a row twice: the second finds it taken, and goes on with it.

use deadpool_postgres::{Client, Transaction};
use serde_json::json;

use super::actions::{self, Act, Actor};
use super::expired::Batch;
use super::letters::Selection;
use crate::db::Error;
use crate::domain::Timestamp;

/// What is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Dead letters.
    Redrive,
    /// Batches with expired rows, from their source.
    Republish,
}

/// A return that is not finished.
#[derive(Debug, Clone)]
pub struct Return {
    /// Its number; its lane is [`Return::lane`].
    pub id: i64,
    /// What is sent again.
    pub kind: Kind,
    /// Rows in it.
    pub rows: i64,
    /// When it was noted.
    pub created_at: Timestamp,
}

impl Kind {
    /// As it is kept, and as lanes begin.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Redrive => "redrive",
            Kind::Republish => "republish",
        }
    }
}

impl Return {
    /// The lane it is published through.
    pub fn lane(&self) -> String {
        format!("{}-{}", self.kind.name(), self.id)
    }
}

/// The returns of a kind that are not finished, in the order they were begun.
///
/// # Errors
/// As PostgreSQL answers.
pub async fn unfinished(client: &Client, cluster: i32, kind: Kind) -> Result<Vec<Return>, Error> {
    let rows = client
        .query(
            "SELECT id, row_count, created_at FROM returns
             WHERE cluster_id = $1 AND kind = $2 AND finished_at IS NULL ORDER BY id",
            &[&cluster, &kind.name()],
        )
        .await?;
    let of = |row: &tokio_postgres::Row| Return { id: row.get(0), kind, rows: row.get(1), created_at: row.get(2) };
    Ok(rows.iter().map(of).collect())
}

/// Notes a redrive of these letters, each with the rows that will be published for it, and who asked for it in which words.
/// A letter that somebody else took meanwhile is not in it, nor, but for `again`, one that was redriven before. `None`: no
/// letter is left.
///
/// # Errors
/// As PostgreSQL answers; nothing was noted then.
pub async fn begin_redrive(
    client: &mut Client,
    cluster: i32,
    letters: &[(i64, i64)],
    again: bool,
    (by, asked): (&Actor, &Selection),
) -> Result<Option<Return>, Error> {
    let ids: Vec<i64> = letters.iter().map(|(id, _)| *id).collect();
    let transaction = client.transaction().await?;
    let mut begun = note(&transaction, cluster, Kind::Redrive).await?;
    let taken = transaction
        .query(
            "UPDATE dead_letters AS d SET return_id = $1
             WHERE d.id = ANY ($2) AND d.cluster_id = $3 AND d.purged_at IS NULL AND (d.return_id IS NULL
                 OR $4 AND EXISTS (SELECT FROM returns AS r WHERE r.id = d.return_id AND r.finished_at IS NOT NULL))
             RETURNING d.id",
            &[&begun.id, &ids, &cluster, &again],
        )
        .await?;
    let taken: std::collections::HashSet<i64> = taken.iter().map(|row| row.get(0)).collect();
    if taken.is_empty() {
        transaction.rollback().await?;
        return Ok(None);
    }
    begun.rows = letters.iter().filter(|(id, _)| taken.contains(id)).map(|(_, rows)| rows).sum();
    count(&transaction, &begun).await?;
    let mut asked = actions::asked(asked);
    asked["again"] = json!(again);
    let act = act(&begun, actions::Kind::Redrive, taken.len() as i64, asked);
    actions::note(&transaction, cluster, by, &act).await?;
    transaction.commit().await?;
    actions::say(by, &act);
    Ok(Some(begun))
}

/// Notes that these batches are published again, whole, and who asked for it. One that somebody else took meanwhile, or
/// before, is not in it. `None`: none is left.
///
/// # Errors
/// As PostgreSQL answers; nothing was noted then.
pub async fn begin_republish(
    client: &mut Client,
    cluster: i32,
    batches: &[Batch],
    by: &Actor,
) -> Result<Option<Return>, Error> {
    let transaction = client.transaction().await?;
    let mut begun = note(&transaction, cluster, Kind::Republish).await?;
    let lanes: Vec<_> = batches.iter().map(|batch| batch.lane.as_str()).collect();
    let runs: Vec<_> = batches.iter().map(|batch| batch.run.as_str()).collect();
    let numbers: Vec<_> = batches.iter().map(|batch| batch.n).collect();
    let rows: Vec<_> = batches.iter().map(|batch| i64::from(batch.rows)).collect();
    let taken = transaction
        .query_one(
            "WITH chosen AS (
                 SELECT * FROM unnest($3::text[], $4::text[], $5::bigint[], $6::bigint[]) AS b (lane, run, n, row_count)
             ), taken AS (
                 INSERT INTO expired_returns (cluster_id, lane, run, n, return_id)
                 SELECT $1, lane, run, n, $2 FROM chosen ORDER BY lane, run, n
                 ON CONFLICT DO NOTHING RETURNING lane, run, n
             )
             SELECT count(*), COALESCE(sum(row_count), 0)::bigint FROM taken JOIN chosen USING (lane, run, n)",
            &[&cluster, &begun.id, &lanes, &runs, &numbers, &rows],
        )
        .await?;
    if taken.get::<_, i64>(0) == 0 {
        transaction.rollback().await?;
        return Ok(None);
    }
    begun.rows = taken.get(1);
    count(&transaction, &begun).await?;
    let mut lanes = lanes;
    lanes.sort_unstable();
    lanes.dedup();
    lanes.truncate(100);
    let act = act(&begun, actions::Kind::Republish, taken.get(0), json!({ "lanes": lanes }));
    actions::note(&transaction, cluster, by, &act).await?;
    transaction.commit().await?;
    actions::say(by, &act);
    Ok(Some(begun))
}

/// Takes a batch whose source cannot be read out of its return: it counts as expired again.
///
/// # Errors
/// As PostgreSQL answers.
pub async fn give_back(client: &Client, cluster: i32, of: &Return, batch: &Batch) -> Result<(), Error> {
    client
        .execute(
            "DELETE FROM expired_returns
             WHERE cluster_id = $1 AND return_id = $2 AND lane = $3 AND run = $4 AND n = $5",
            &[&cluster, &of.id, &batch.lane, &batch.run, &batch.n],
        )
        .await?;
    Ok(())
}

/// The last row was published: so many they were. Repeating it is harmless.
///
/// # Errors
/// As PostgreSQL answers; then the same command finds nothing left to publish, and says so here again.
pub async fn finish(client: &Client, of: &Return, rows: i64) -> Result<(), Error> {
    client
        .execute(
            "UPDATE returns SET finished_at = now(), row_count = $2 WHERE id = $1 AND finished_at IS NULL",
            &[&of.id, &rows],
        )
        .await?;
    Ok(())
}

/// What is written down of a return that begins.
fn act(begun: &Return, kind: actions::Kind, letters: i64, asked: serde_json::Value) -> Act {
    Act { kind, return_id: Some(begun.id), letters, rows: begun.rows, asked: asked.into() }
}

async fn note(transaction: &Transaction<'_>, cluster: i32, kind: Kind) -> Result<Return, Error> {
    let row = transaction
        .query_one(
            "INSERT INTO returns (cluster_id, kind, row_count) VALUES ($1, $2, 0) RETURNING id, created_at",
            &[&cluster, &kind.name()],
        )
        .await?;
    Ok(Return { id: row.get(0), kind, rows: 0, created_at: row.get(1) })
}

async fn count(transaction: &Transaction<'_>, begun: &Return) -> Result<(), Error> {
    transaction.execute("UPDATE returns SET row_count = $2 WHERE id = $1", &[&begun.id, &begun.rows]).await?;
    Ok(())
}
