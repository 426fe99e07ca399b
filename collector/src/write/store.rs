//! STORE: many batches, one transaction, each batch once.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};

use deadpool_postgres::{Client, Pool, Transaction};
use futures_util::SinkExt;
use nexus_common::db::Error;
use nexus_common::domain::Timestamp;
use nexus_common::failpoint;
use nexus_common::observe;
use nexus_common::queue::BatchId;
use nexus_common::traces::trace_id;
use tokio::time::Instant;
use tokio_postgres::error::SqlState;
use tokio_postgres::{CopyInSink, SimpleQueryMessage};

use super::copy::Encoder;
use super::frozen;
use super::merged::Merged;
use super::newest::Newest;
use super::partitions::{Partitions, Table};
use super::registry::{Ids, Refusal, Registry};
use super::rollup::note;
use super::sql;
use crate::merge::Harvest;
use crate::work::{Reading, Work};

/// Writes batches into PostgreSQL.
#[derive(Debug)]
pub(crate) struct Writer {
    pool: Pool,
    collector: String,
    registry: Registry,
    partitions: Partitions,
    newest: Newest,
    merged: Merged,
    /// When the server we know was started: ids and partitions are known of that one.
    server: Mutex<Option<String>>,
}

/// What storing did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) batches: u64,
    /// Batches the ledger knew already.
    pub(crate) replays: u64,
    pub(crate) rows: u64,
    pub(crate) dead: u64,
    pub(crate) expired: u64,
}

impl Writer {
    pub(crate) fn new(pool: Pool, cluster: &str, collector: &str, keeps_details: bool) -> Self {
        Writer {
            pool,
            collector: collector.to_owned(),
            registry: Registry::new(cluster, keeps_details),
            partitions: Partitions::default(),
            newest: Newest::default(),
            merged: Merged::default(),
            server: Mutex::default(),
        }
    }

    /// Has Prometheus told what rows came to.
    pub(crate) fn tell_prometheus(&self, registry: &mut observe::Registry) {
        self.merged.register(registry);
    }

    /// Closes the connections that are not in use: the next one is a new one.
    pub(crate) fn forget_connections(&self) {
        self.pool.retain(|_, _| false);
    }

    /// Stores these batches, all or none. A row PostgreSQL refuses does not take the others with it: it becomes a dead
    /// letter of its batch, in the same transaction as the rest.
    ///
    /// # Errors
    /// Only what is not the rows' fault: the same batches can be stored later, and repeating is harmless.
    pub(crate) async fn store(&self, works: &mut [Work]) -> Result<Stored, Error> {
        // Sorted, so that two writers that share batches take their locks in one order.
        works.sort_by(|a, b| a.claimed.batch.cmp(&b.claimed.batch));
        let (mut forgot, mut merged_all, mut refused_whole) = (false, false, false);
        loop {
            match self.try_store(works).await {
                Err(error) if error.sqlstate() == Some(&SqlState::CHECK_VIOLATION) && error.is_transient() => {
                    self.partitions.forget();
                    return Err(error);
                }
                // Only a sample that was taken for new and is not: what is merged meets none.
                Err(error) if error.sqlstate() == Some(&SqlState::UNIQUE_VIOLATION) && !merged_all => {
                    self.newest.rest(Instant::now());
                    merged_all = true;
                }
                // Nobody else works on these batches, unless he does not know yet that they are no longer his.
                Err(error) if error.sqlstate() == Some(&SqlState::LOCK_NOT_AVAILABLE) => {
                    if let Err(error) = frozen::end(&self.pool).await {
                        tracing::warn!(%error, "it could not be seen who holds a lock");
                    }
                    return Err(error);
                }
                // An id that is no longer there: the database was replaced under us.
                Err(error) if error.sqlstate() == Some(&SqlState::FOREIGN_KEY_VIOLATION) && !forgot => {
                    self.registry.forget();
                    forgot = true;
                }
                Err(error) if error.is_refusal() && works.len() > 1 => {
                    tracing::warn!(%error, batches = works.len(), "a row is refused; storing batch by batch");
                    let mut total = Stored::default();
                    for work in works {
                        let one = Box::pin(self.store(std::slice::from_mut(work))).await?;
                        total.add(one);
                    }
                    return Ok(total);
                }
                Err(error) if error.is_refusal() && works.iter().any(|work| !work.readings.is_empty()) => {
                    for work in works.iter_mut() {
                        if self.isolate(work).await? > 0 {
                            continue;
                        }
                        if std::mem::replace(&mut refused_whole, true) {
                            // No row alone is at fault, twice: then all of the batch is, and the queue moves on.
                            work.refuse(|_| Some(format!("PostgreSQL refuses the batch: {error}")));
                        }
                    }
                }
                outcome => return outcome,
            }
        }
    }

    async fn try_store(&self, works: &mut [Work]) -> Result<Stored, Error> {
        let mut client = self.client().await?;
        self.register(&client, works).await?;
        failpoint::here("store.registered");
        let mut days: HashSet<_> = works.iter().map(|work| (Table::Ledger, day_of(&work.claimed.batch))).collect();
        let readings = works.iter().flat_map(|work| &work.readings);
        days.extend(readings.map(|reading| (Table::Samples, reading.timestamp.day())));
        self.partitions.ensure(&client, days).await?;
        let cluster_id = self.registry.cluster_id(&client).await?;

        let Some(ids) = self.registry.ids(works.iter().flat_map(|work| &work.readings)) else {
            return Err(forgotten());
        };
        let mut fresh: Vec<&Work> = works.iter().collect();
        loop {
            let readings = fresh.iter().flat_map(|work| &work.readings);
            let harvest = harvest(&ids, readings).ok_or_else(forgotten)?;
            failpoint::here("store.begin");
            let all_new = self.newest.are_all_new(&harvest, Instant::now());
            let transaction = client.transaction().await?;
            if !all_new {
                copy_samples(&transaction, sql::COPY_SAMPLES, &harvest).await?;
            }
            copy_latest(&transaction, &harvest).await?;
            failpoint::here("store.staged");
            let new = self.enter(&transaction, cluster_id, &fresh).await?;
            failpoint::here("store.entered");
            if new.len() < fresh.len() {
                // Redeliveries among them: without them, once more. The ledger rows go back with the rest.
                transaction.rollback().await?;
                fresh.retain(|work| new.contains(&key_of(&work.claimed.batch)));
                if fresh.is_empty() {
                    break;
                }
                continue;
            }
            if !harvest.samples.is_empty() {
                if all_new {
                    copy_samples(&transaction, &sql::COPY_NEW_SAMPLES, &harvest).await?;
                } else {
                    transaction.execute(&transaction.prepare_cached(&sql::UPSERT_SAMPLES).await?, &[]).await?;
                }
                transaction.execute(&transaction.prepare_cached(&sql::UPSERT_LATEST).await?, &[]).await?;
                note(&transaction, &harvest).await?;
            }
            write_letters(&transaction, cluster_id, &fresh).await?;
            failpoint::here("store.before_commit");
            transaction.commit().await?;
            failpoint::here("store.committed");
            self.newest.note(&harvest);
            self.merged.note(&harvest);
            break;
        }
        tell(&fresh);
        Ok(summary(works.len(), &fresh))
    }

    /// A connection with its staging tables, to the server whose ids we know.
    async fn client(&self) -> Result<Client, Error> {
        let client = self.pool.get().await?;
        let answers = client.simple_query(&sql::STAGING).await?;
        let started = answers.iter().find_map(|answer| match answer {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        });
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        if *server != started {
            self.registry.forget();
            self.partitions.forget();
            self.newest.forget();
            *server = started;
        }
        drop(server);
        Ok(client)
    }

    /// Registers the GPUs; a reading whose GPU cannot be registered becomes dead letters.
    async fn register(&self, client: &Client, works: &mut [Work]) -> Result<(), Error> {
        loop {
            let readings = works.iter().flat_map(|work| &work.readings);
            match self.registry.resolve(client, readings).await {
                Ok(()) => return Ok(()),
                Err(Refusal::Database(error)) => return Err(error),
                Err(Refusal::Identity(gpu, reason)) => {
                    for work in works.iter_mut() {
                        work.refuse(|reading| (reading.described.gpu == *gpu).then(|| reason.clone()));
                    }
                }
            }
        }
    }

    /// Puts the batches into the ledger; returns those that were not there.
    async fn enter(
        &self,
        transaction: &Transaction<'_>,
        cluster_id: i32,
        works: &[&Work],
    ) -> Result<HashSet<(String, String, i64)>, Error> {
        let column = |value: &dyn Fn(&Work) -> u64| works.iter().map(|work| int8(value(work))).collect::<Vec<_>>();
        let count = |value: &dyn Fn(&Work) -> u64| works.iter().map(|work| int4(value(work))).collect::<Vec<_>>();
        let text = |value: &dyn Fn(&Work) -> String| works.iter().map(|work| value(work)).collect::<Vec<_>>();
        let statement = transaction.prepare_cached(sql::INSERT_LEDGER).await?;
        let rows = transaction
            .query(
                &statement,
                &[
                    &cluster_id,
                    &self.collector,
                    &column(&|work| work.claimed.batch.published_ms.unsigned_abs()),
                    &text(&|work| work.claimed.batch.lane.clone()),
                    &text(&|work| work.claimed.batch.run.clone()),
                    &column(&|work| work.claimed.batch.n),
                    &column(&|work| work.claimed.manifest.rows_before),
                    &count(&Work::stored),
                    &count(&Work::dead),
                    &count(&|work| work.expired),
                    &text(&|work| clean(&work.source().file)),
                    &column(&|work| work.source().pass),
                    &column(&|work| work.source().lines[0]),
                    &column(&|work| work.source().lines[1]),
                    &column(&|work| work.source().bytes[0]),
                    &column(&|work| work.source().bytes[1]),
                    &works.iter().map(|work| work.source().shift_us).collect::<Vec<_>>(),
                ],
            )
            .await?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect())
    }

    /// Finds the readings of a batch that PostgreSQL refuses, by halves, and makes them dead letters. Nothing is
    /// committed here. Returns how many there were.
    async fn isolate(&self, work: &mut Work) -> Result<usize, Error> {
        let mut client = self.client().await?;
        self.register(&client, std::slice::from_mut(work)).await?;
        let Some(ids) = self.registry.ids(work.readings.iter()) else {
            return Err(forgotten());
        };
        let mut refused: Vec<(usize, String)> = Vec::new();
        let mut suspects: Vec<_> = std::iter::once(0..work.readings.len()).collect();
        let mut transaction = client.transaction().await?;
        while let Some(range) = suspects.pop() {
            if range.is_empty() {
                continue;
            }
            let harvest = harvest(&ids, work.readings[range.clone()].iter()).ok_or_else(forgotten)?;
            let savepoint = transaction.savepoint("suspects").await?;
            let outcome = try_harvest(&savepoint, &harvest).await;
            savepoint.rollback().await?;
            match outcome {
                Ok(()) => {}
                Err(error) if error.is_refusal() && range.len() == 1 => refused.push((range.start, error.to_string())),
                Err(error) if error.is_refusal() => {
                    let middle = range.start + range.len() / 2;
                    suspects.extend([range.start..middle, middle..range.end]);
                }
                Err(error) => return Err(error),
            }
        }
        transaction.rollback().await?;
        let mut index = 0..;
        work.refuse(|_| {
            let index = index.next();
            refused.iter().find(|(at, _)| Some(*at) == index).map(|(_, reason)| format!("PostgreSQL refuses: {reason}"))
        });
        Ok(refused.len())
    }
}

impl Stored {
    pub(crate) fn add(&mut self, other: Stored) {
        self.batches += other.batches;
        self.replays += other.replays;
        self.rows += other.rows;
        self.dead += other.dead;
        self.expired += other.expired;
    }
}

/// Merges readings; `None` when the GPU of one has no id.
fn harvest<'a>(ids: &Ids<'_>, readings: impl Iterator<Item = &'a Reading>) -> Option<Harvest> {
    let mut harvest = Harvest::default();
    for reading in readings {
        harvest.add(ids.of(reading)?, reading);
    }
    Some(harvest)
}

fn forgotten() -> Error {
    Error::transient("the registry was forgotten meanwhile")
}

async fn try_harvest(transaction: &Transaction<'_>, harvest: &Harvest) -> Result<(), Error> {
    copy_samples(transaction, sql::COPY_SAMPLES, harvest).await?;
    copy_latest(transaction, harvest).await?;
    transaction.execute(sql::UPSERT_SAMPLES.as_str(), &[]).await?;
    transaction.execute(sql::UPSERT_LATEST.as_str(), &[]).await?;
    Ok(())
}

/// Copies the samples: into this connection's staging table, where nobody else could wait for a lock, or to where they stay.
async fn copy_samples(transaction: &Transaction<'_>, statement: &str, harvest: &Harvest) -> Result<(), Error> {
    if harvest.samples.is_empty() {
        return Ok(());
    }
    let mut samples = Encoder::new();
    for ((gpu_id, _), (sample, conflicts)) in &harvest.samples {
        samples.sample(*gpu_id, sample, *conflicts);
    }
    copy(transaction, statement, samples).await
}

/// Copies the newest values into this connection's staging table.
async fn copy_latest(transaction: &Transaction<'_>, harvest: &Harvest) -> Result<(), Error> {
    if harvest.latest.is_empty() {
        return Ok(());
    }
    let mut latest = Encoder::new();
    for (gpu_id, newest) in &harvest.latest {
        latest.latest(*gpu_id, newest);
    }
    copy(transaction, sql::COPY_LATEST, latest).await
}

async fn copy(transaction: &Transaction<'_>, statement: &str, rows: Encoder) -> Result<(), Error> {
    let table = statement.split_whitespace().nth(1).unwrap_or_default();
    let statement = transaction.prepare_cached(statement).await?;
    let mut sink = pin!(transaction.copy_in(&statement).await?);
    failpoint::about("store.copying", table);
    for chunk in rows.finish() {
        sink.send(chunk).await?;
    }
    CopyInSink::finish(sink.as_mut()).await?;
    Ok(())
}

async fn write_letters(transaction: &Transaction<'_>, cluster_id: i32, works: &[&Work]) -> Result<(), Error> {
    let letters: Vec<_> = works.iter().flat_map(|work| work.letters.iter().map(move |letter| (work, letter))).collect();
    if letters.is_empty() {
        return Ok(());
    }
    let statement = transaction.prepare_cached(sql::INSERT_DEAD_LETTERS).await?;
    transaction
        .execute(
            &statement,
            &[
                &cluster_id,
                &letters.iter().map(|(work, _)| work.claimed.batch.to_string()).collect::<Vec<_>>(),
                &letters.iter().map(|(_, letter)| letter.key.clone()).collect::<Vec<_>>(),
                &letters.iter().map(|(_, letter)| int4(letter.rows)).collect::<Vec<_>>(),
                &letters.iter().map(|(work, _)| clean(&work.source().file)).collect::<Vec<_>>(),
                &letters.iter().map(|(work, _)| int8(work.source().pass)).collect::<Vec<_>>(),
                &letters.iter().map(|(_, letter)| letter.line.map(int8)).collect::<Vec<_>>(),
                &letters.iter().map(|(_, letter)| letter.byte.map(int8)).collect::<Vec<_>>(),
                &letters.iter().map(|(_, letter)| clean(&letter.reason)).collect::<Vec<_>>(),
                &letters.iter().map(|(_, letter)| letter.raw.as_slice()).collect::<Vec<_>>(),
                &letters.iter().map(|(_, letter)| int8(letter.raw_bytes)).collect::<Vec<_>>(),
                &letters.iter().map(|(_, letter)| letter.sha256.as_deref().map(clean)).collect::<Vec<_>>(),
            ],
        )
        .await?;
    Ok(())
}

/// What has to be known, a line a flight at most: it names the first batch, a line of each is for who looks closely.
fn tell(fresh: &[&Work]) {
    for work in fresh {
        let (batch, attempt) = (&work.claimed.batch, work.claimed.attempt);
        let trace_id = trace_id(work.claimed.manifest.traceparent.as_deref());
        tracing::debug!(%batch, trace_id, attempt, stored = work.stored(), dead = work.dead(), expired = work.expired, "stored");
    }
    let of = |rows: fn(&Work) -> u64| fresh.iter().filter(move |work| rows(work) > 0);
    if let Some(first) = of(Work::dead).next() {
        let (rows, batches) = (of(Work::dead).map(|work| work.dead()).sum::<u64>(), of(Work::dead).count());
        tracing::warn!(batch = %first.claimed.batch, batches, rows, "dead letters");
    }
    let expired = |work: &Work| work.expired;
    if let Some(first) = of(expired).next() {
        let (rows, batches) = (of(expired).map(|work| work.expired).sum::<u64>(), of(expired).count());
        tracing::error!(batch = %first.claimed.batch, batches, rows, "expired before anybody read them");
    }
}

fn summary(batches: usize, fresh: &[&Work]) -> Stored {
    Stored {
        batches: batches as u64,
        replays: (batches - fresh.len()) as u64,
        rows: fresh.iter().map(|work| work.stored()).sum(),
        dead: fresh.iter().map(|work| work.dead()).sum(),
        expired: fresh.iter().map(|work| work.expired).sum(),
    }
}

fn key_of(batch: &BatchId) -> (String, String, i64) {
    (batch.lane.clone(), batch.run.clone(), int8(batch.n))
}

fn day_of(batch: &BatchId) -> i32 {
    Timestamp::from_millis(batch.published_ms).day()
}

/// PostgreSQL's text knows no NUL.
fn clean(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

fn int8(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn int4(value: u64) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}
