//! The memory's side of the books: what became of the rows, in one snapshot of PostgreSQL.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{SystemTime, UNIX_EPOCH};

use deadpool_postgres::{GenericClient, Pool, Transaction};
use tokio_postgres::{IsolationLevel, Row};

use super::Error;
use super::balance::{Hole, Place};
use super::promise::Promise;
use crate::queue::BatchId;

/// A stretch of a lane's rows without a gap, from batches of one run that the ledger has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Island {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) batches: u64,
    pub(super) stored: u64,
    pub(super) dead: u64,
    pub(super) expired: u64,
}

/// What the ledger has of one run of a lane.
#[derive(Debug, Clone, Default)]
pub(super) struct RunEntries {
    /// When its first batch was published, in milliseconds since 1970.
    pub(super) since_ms: i64,
    /// The lowest n.
    pub(super) first_n: u64,
    /// Up to where the lane's cursor stood, where it is the cursor's run.
    pub(super) islands: Vec<Island>,
}

/// What the ledger has of one lane.
#[derive(Debug, Clone, Default)]
pub(super) struct Entries {
    pub(super) runs: BTreeMap<String, RunEntries>,
    /// Sums of what retention has dropped; where it lay is among the runs.
    pub(super) dropped: Island,
    /// The highest n of the cursor's run, later ones too.
    pub(super) last_n: u64,
    /// Dead rows, later ones too.
    pub(super) dead_ever: u64,
    pub(super) file: Option<String>,
}

/// Dead letters of one lane, in rows.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Letters {
    pub(super) rows: u64,
    pub(super) redriven: u64,
    pub(super) purged: u64,
}

/// One snapshot.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) lanes: BTreeMap<String, Entries>,
    pub(super) letters: HashMap<String, Letters>,
    pub(super) republished: HashMap<String, u64>,
    /// Rows that the lanes of finished returns were published with.
    pub(super) returned: HashMap<String, u64>,
    /// Of the batches that wait, those that are stored: only their acknowledgement is missing.
    pub(super) stored: HashSet<(String, String, u64)>,
}

impl Ledger {
    /// Reads what the ledger says of all lanes, as far as the promise knows them.
    ///
    /// # Errors
    /// As PostgreSQL answers, and where it is a standby.
    pub(super) async fn read(pool: &Pool, cluster: &str, promise: &Promise) -> Result<Ledger, Error> {
        let mut client = pool.get().await?;
        let place = "SELECT pg_is_in_recovery(), COALESCE(host(inet_server_addr()), 'its socket')";
        let place = client.query_one(place, &[]).await?;
        if place.get(0) {
            return Err(Error::Standby(place.get(1)));
        }
        let mut ledger = Ledger::default();
        if !has_tables(&client).await? {
            return Ok(ledger);
        }
        let snapshot = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
        let snapshot = snapshot.start().await?;
        // Before the first SELECT, which takes the snapshot: a day that retention drops after it would be gone from the
        // ledger, and not yet among the sums.
        snapshot.batch_execute("LOCK TABLE ledger IN ACCESS SHARE MODE").await?;
        let cluster = snapshot.query_opt("SELECT id FROM clusters WHERE name = $1", &[&cluster]).await?;
        if let Some(cluster) = cluster {
            let cluster: i32 = cluster.get(0);
            ledger.read_runs(&snapshot, cluster, promise).await?;
            ledger.read_letters(&snapshot, cluster).await?;
            ledger.read_dropped(&snapshot, cluster, promise).await?;
            ledger.read_stored(&snapshot, cluster, promise).await?;
        }
        snapshot.commit().await?;
        Ok(ledger)
    }

    async fn read_runs(&mut self, snapshot: &Transaction<'_>, cluster: i32, promise: &Promise) -> Result<(), Error> {
        let (names, cursors): (Vec<_>, Vec<_>) = promise.lanes.iter().unzip();
        let runs: Vec<_> = cursors.iter().map(|cursor| cursor.run.as_str()).collect();
        let reached: Vec<_> = cursors.iter().map(|cursor| int8(cursor.n)).collect();
        let mut torn: (Vec<String>, Vec<String>, Vec<i64>) = Default::default();
        for row in snapshot.query(include_str!("sql/runs.sql"), &[&cluster, &names, &runs, &reached]).await? {
            let (lane, run): (String, String) = (row.get("lane"), row.get("run"));
            let is_current = promise.lanes.get(&lane).is_some_and(|cursor| cursor.run == run);
            let entries = self.lanes.entry(lane.clone()).or_default();
            entries.dead_ever += number(&row, "dead_ever");
            entries.file = row.get("file");
            if is_current {
                entries.last_n = number(&row, "last_n");
            }
            let batches = number(&row, "batches");
            if batches == 0 {
                continue;
            }
            let entry = entries.runs.entry(run.clone()).or_default();
            (entry.since_ms, entry.first_n) = (row.get("since_ms"), number(&row, "first_n"));
            let island = Island { from: number(&row, "first_row"), to: number(&row, "end_row"), batches, ..sums(&row) };
            let numbers = number(&row, "known_n") + 1 - number(&row, "first_n");
            if numbers != batches || number(&row, "rows") != island.to - island.from {
                torn.0.push(lane);
                torn.1.push(run);
                torn.2.push(int8(number(&row, "known_n")));
            } else {
                entry.islands.push(island);
            }
        }
        if torn.0.is_empty() {
            return Ok(());
        }
        for row in snapshot.query(include_str!("sql/islands.sql"), &[&cluster, &torn.0, &torn.1, &torn.2]).await? {
            let (from, to, batches) = (number(&row, "first_row"), number(&row, "end_row"), number(&row, "batches"));
            let island = Island { from, to, batches, ..sums(&row) };
            let entries = self.lanes.entry(row.get("lane")).or_default();
            entries.runs.entry(row.get("run")).or_default().islands.push(island);
        }
        Ok(())
    }

    async fn read_letters(&mut self, snapshot: &Transaction<'_>, cluster: i32) -> Result<(), Error> {
        for row in snapshot.query(include_str!("sql/letters.sql"), &[&cluster]).await? {
            let letters = Letters {
                rows: number(&row, "rows"),
                redriven: number(&row, "redriven"),
                purged: number(&row, "purged"),
            };
            self.letters.insert(row.get("lane"), letters);
        }
        for row in snapshot.query(include_str!("sql/republished.sql"), &[&cluster]).await? {
            self.republished.insert(row.get("lane"), number(&row, "rows"));
        }
        for row in snapshot.query(include_str!("sql/returned.sql"), &[&cluster]).await? {
            self.returned.insert(row.get("lane"), number(&row, "row_count"));
        }
        Ok(())
    }

    /// What retention has dropped: sums by lane, and which rows of which runs they were of.
    async fn read_dropped(&mut self, snapshot: &Transaction<'_>, cluster: i32, promise: &Promise) -> Result<(), Error> {
        for row in snapshot.query(include_str!("sql/totals.sql"), &[&cluster]).await? {
            let lane: String = row.get("lane");
            *self.republished.entry(lane.clone()).or_default() += number(&row, "republished");
            let entries = self.lanes.entry(lane).or_default();
            entries.dropped = Island { batches: number(&row, "batches"), ..sums(&row) };
            entries.dead_ever += entries.dropped.dead;
        }
        for row in snapshot.query(include_str!("sql/dropped.sql"), &[&cluster]).await? {
            let (lane, run): (String, String) = (row.get("lane"), row.get("run"));
            let is_current = promise.lanes.get(&lane).is_some_and(|cursor| cursor.run == run);
            let entries = self.lanes.entry(lane).or_default();
            entries.file = entries.file.take().or(row.get("file"));
            if is_current {
                entries.last_n = entries.last_n.max(number(&row, "last_n"));
            }
            let (since_ms, first_n) = (row.get("since_ms"), number(&row, "first_n"));
            let unknown = || RunEntries { since_ms, first_n, islands: Vec::new() };
            let run = entries.runs.entry(run).or_insert_with(unknown);
            (run.since_ms, run.first_n) = (run.since_ms.min(since_ms), run.first_n.min(first_n));
            let (from, to) = (number(&row, "first_row"), number(&row, "end_row"));
            run.islands.push(Island { from, to, ..Island::default() });
        }
        Ok(())
    }

    async fn read_stored(&mut self, snapshot: &Transaction<'_>, cluster: i32, promise: &Promise) -> Result<(), Error> {
        let batches = || promise.waiting.iter().map(|waiting| &waiting.batch);
        let published: Vec<_> = batches().map(|batch| batch.published_ms).collect();
        let (lanes, runs): (Vec<_>, Vec<_>) = batches().map(|batch| (batch.lane.as_str(), batch.run.as_str())).unzip();
        let numbers: Vec<_> = batches().map(|batch| int8(batch.n)).collect();
        let known =
            snapshot.query(include_str!("sql/known.sql"), &[&cluster, &published, &lanes, &runs, &numbers]).await?;
        self.stored = known.iter().map(|row| (row.get(0), row.get(1), number(row, "n"))).collect();
        Ok(())
    }
}

/// Whether anybody has migrated this database: until then nothing was stored.
pub(super) async fn has_tables(client: &impl GenericClient) -> Result<bool, Error> {
    Ok(client.query_one("SELECT to_regclass('ledger') IS NOT NULL", &[]).await?.get(0))
}

/// Says between which batches of the ledger the holes of these lanes lie.
///
/// # Errors
/// As PostgreSQL answers.
pub(super) async fn locate(pool: &Pool, cluster: &str, holes: &mut [(String, &mut Hole)]) -> Result<(), Error> {
    let client = pool.get().await?;
    if holes.is_empty() || !has_tables(&client).await? {
        return Ok(());
    }
    let Some(cluster) = client.query_opt("SELECT id FROM clusters WHERE name = $1", &[&cluster]).await? else {
        return Ok(());
    };
    let cluster: i32 = cluster.get(0);
    let lanes: Vec<_> = holes.iter().map(|(lane, _)| lane.as_str()).collect();
    let rows = |side: usize| holes.iter().map(|(_, hole)| int8(hole.rows[side])).collect::<Vec<_>>();
    let (from, to) = (rows(0), rows(1));
    for row in client.query(include_str!("sql/neighbours.sql"), &[&cluster, &lanes, &from, &to]).await? {
        let place = usize::try_from(row.get::<_, i64>("place") - 1).unwrap_or(usize::MAX);
        let Some((_, hole)) = holes.get_mut(place) else { continue };
        let behind: bool = row.get("behind");
        let (line, byte) = if behind { ("first_line", "first_byte") } else { ("last_line", "end_byte") };
        let (line, byte) = (number(&row, line), number(&row, byte));
        let place = Place { batch: batch_of(&row).to_string(), file: row.get("file"), line, byte };
        let side = if behind { &mut hole.before } else { &mut hole.after };
        side.get_or_insert(place);
    }
    Ok(())
}

/// The batch that a row of the ledger is about.
pub(super) fn batch_of(row: &Row) -> BatchId {
    let published: SystemTime = row.get("published_at");
    let since_1970 = published.duration_since(UNIX_EPOCH).unwrap_or_default();
    BatchId {
        published_ms: i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX),
        lane: row.get("lane"),
        run: row.get("run"),
        n: number(row, "n"),
    }
}

/// An integer that is never negative; 0 for none.
pub(super) fn number(row: &Row, column: &str) -> u64 {
    row.get::<_, Option<i64>>(column).map_or(0, i64::unsigned_abs)
}

fn int8(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn sums(row: &Row) -> Island {
    Island {
        stored: number(row, "stored"),
        dead: number(row, "dead"),
        expired: number(row, "expired"),
        ..Island::default()
    }
}
