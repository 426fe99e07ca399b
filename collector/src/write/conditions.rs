//! RECORD: a look at every GPU of the cluster, in one transaction; what is told is told once.

use std::collections::{BTreeMap, HashMap};

use deadpool_postgres::{Pool, Transaction};
use futures_util::TryStreamExt;
use nexus_common::db::Error;
use nexus_common::domain::{Event, Host, News, Remembered, Sign, SignKind, Thresholds, Timestamp, Vital, expect};
use tokio_postgres::Row;

use super::frozen;
use crate::conditions::{Change, Seat, look};

/// With the cluster's id the advisory lock of whoever looks: "cond" in ASCII.
const LOCK: i32 = 0x636f_6e64;
/// Hosts read at a time: what is in memory of each GPU besides its place is bounded by this, however many there are.
const HOSTS: usize = 250;
/// The most events of a look that are told live as well; the first look at an old export may find one for every GPU.
const LIVE: usize = 5_000;

const FIND_CLUSTER: &str = "SELECT id FROM clusters WHERE name = $1";
/// Not waited for: who does not get it leaves the look to who has it. It goes with the transaction.
const TRY_LOCK: &str = "SELECT pg_try_advisory_xact_lock($1, $2)";
const READ_SIGNS: &str =
    "SELECT host_id, gpu_index, kind, since, seen, value, announced FROM gpu_signs WHERE host_id = ANY ($1)";
const FORGET_SIGNS: &str = "DELETE FROM gpu_signs s USING unnest($1::integer[], $2::text[], $3::text[]) AS x (h, g, k)
    WHERE s.host_id = x.h AND s.gpu_index = x.g AND s.kind = x.k";

/// Keeps signs and events of one cluster.
#[derive(Debug, Clone)]
pub(crate) struct Recorder {
    pool: Pool,
    cluster: String,
    thresholds: Thresholds,
}

/// What a look told.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Told {
    /// The first events, as they were stored.
    pub(crate) events: Vec<Event>,
    /// How many more there are.
    pub(crate) left_out: usize,
}

/// A host while all are looked at.
struct Entry {
    id: i32,
    name: String,
    host: Host,
}

impl Recorder {
    pub(crate) fn new(pool: Pool, cluster: &str, thresholds: Thresholds) -> Self {
        Recorder { pool, cluster: cluster.to_owned(), thresholds }
    }

    /// Looks at every GPU and writes what changed. `None`: there is nothing to look at, or another collector looks.
    ///
    /// # Errors
    /// As PostgreSQL answers; then nothing is written.
    pub(crate) async fn record(&self, now: Timestamp) -> Result<Option<Told>, Error> {
        let mut client = self.pool.get().await?;
        // Read committed, the default: every statement sees what was committed before it. With one snapshot for all, taken
        // with the lock's own statement, the signs could be older than the lock.
        let transaction = client.transaction().await?;
        let find = transaction.prepare_cached(FIND_CLUSTER).await?;
        let Some(row) = transaction.query_opt(&find, &[&self.cluster]).await? else { return Ok(None) };
        let cluster_id: i32 = row.get(0);
        let lock = transaction.prepare_cached(TRY_LOCK).await?;
        if !transaction.query_one(&lock, &[&LOCK, &cluster_id]).await?.get::<_, bool>(0) {
            transaction.rollback().await?;
            drop(client);
            frozen::end(&self.pool).await?;
            return Ok(None);
        }
        let mut told = Told::default();
        for entries in self.hosts(&transaction, cluster_id).await?.chunks(HOSTS) {
            let changes = self.changes(&transaction, entries, now).await?;
            forget(&transaction, &changes).await?;
            store(&transaction, &changes).await?;
            let events = tell(&transaction, cluster_id, &changes).await?;
            let room = LIVE - told.events.len();
            told.left_out += events.len().saturating_sub(room);
            told.events.extend(events.into_iter().take(room));
        }
        transaction.commit().await?;
        Ok(Some(told))
    }

    /// All hosts with the GPUs they have and should have, by id; read in one pass and row by row: in pages the server would
    /// go through all GPUs for each.
    async fn hosts(&self, transaction: &Transaction<'_>, cluster_id: i32) -> Result<Vec<Entry>, Error> {
        let read = transaction.prepare_cached(include_str!("read_hosts.sql")).await?;
        let rows = transaction.query_raw(&read, [cluster_id]).await?;
        let mut entries: Vec<Entry> = rows.map_ok(|row| entry(&row)).try_collect().await?;
        entries.sort_unstable_by_key(|entry| entry.id);
        expect(entries.iter_mut().map(|entry| &mut entry.host));
        Ok(entries)
    }

    async fn changes<'a>(
        &self,
        transaction: &Transaction<'_>,
        entries: &'a [Entry],
        now: Timestamp,
    ) -> Result<Vec<(&'a Entry, Change)>, Error> {
        let ids: Vec<i32> = entries.iter().map(|entry| entry.id).collect();
        let signs = transaction.prepare_cached(READ_SIGNS).await?;
        let mut held = HashMap::<i32, BTreeMap<String, Vec<Remembered>>>::new();
        for row in transaction.query(&signs, &[&ids]).await? {
            // A kind that a newer version knows is its own.
            let Some(remembered) = remembered(&row) else { continue };
            held.entry(row.get(0)).or_default().entry(row.get(1)).or_default().push(remembered);
        }
        let vitals = Vital::ALL.map(Vital::name).map(|name| format!(", l.{name}, l.{name}_at")).concat();
        let read = include_str!("read_vitals.sql").replace("/* vitals */", &vitals);
        let mut seats = HashMap::<i32, Vec<Seat>>::new();
        for row in transaction.query(&transaction.prepare_cached(&read).await?, &[&ids]).await? {
            seats.entry(row.get(0)).or_default().push(seat(&row));
        }
        let changes = entries.iter().flat_map(|entry| {
            let (seats, held) = (seats.remove(&entry.id), held.remove(&entry.id));
            let changes = look(&entry.host, seats.unwrap_or_default(), held.unwrap_or_default(), now, &self.thresholds);
            changes.into_iter().map(move |change| (entry, change))
        });
        Ok(changes.collect())
    }
}

fn entry(row: &Row) -> Entry {
    let places: Vec<Option<String>> = row.get("places");
    let models: Vec<Option<String>> = row.get("models");
    let newest: Vec<Option<Timestamp>> = row.get("newest");
    let gpus = places.iter().zip(&models).zip(newest);
    let gpus = gpus.filter_map(|((place, model), newest)| Some((place.as_deref()?, model.as_deref(), newest)));
    Entry { id: row.get("id"), name: row.get("name"), host: Host::new(gpus) }
}

fn remembered(row: &Row) -> Option<Remembered> {
    let kind: SignKind = row.get::<_, &str>(2).parse().ok()?;
    let sign = Sign { kind, since: row.get(3), seen: row.get(4), value: row.get(5) };
    Some(Remembered { sign, announced: row.get(6) })
}

fn seat(row: &Row) -> Seat {
    let reading = |at: usize| -> Option<(f64, Timestamp)> {
        Some((row.get::<_, Option<f64>>(4 + 2 * at)?, row.get::<_, Option<Timestamp>>(5 + 2 * at)?))
    };
    let readings = std::array::from_fn(reading);
    Seat { gpu_index: row.get(1), uuid: row.get(2), last_seen: row.get(3), readings }
}

async fn forget(transaction: &Transaction<'_>, changes: &[(&Entry, Change)]) -> Result<(), Error> {
    let (mut hosts, mut indices, mut kinds) = (Vec::new(), Vec::new(), Vec::new());
    for (entry, change) in changes {
        for kind in &change.forget {
            hosts.push(entry.id);
            indices.push(change.gpu_index.as_str());
            kinds.push(kind.as_str());
        }
    }
    if !hosts.is_empty() {
        let statement = transaction.prepare_cached(FORGET_SIGNS).await?;
        transaction.execute(&statement, &[&hosts, &indices, &kinds]).await?;
    }
    Ok(())
}

async fn store(transaction: &Transaction<'_>, changes: &[(&Entry, Change)]) -> Result<(), Error> {
    let all = changes.iter().flat_map(|(entry, change)| change.store.iter().map(move |held| (entry, change, held)));
    let all: Vec<_> = all.collect();
    if all.is_empty() {
        return Ok(());
    }
    let statement = transaction.prepare_cached(include_str!("upsert_signs.sql")).await?;
    let hosts: Vec<_> = all.iter().map(|(entry, ..)| entry.id).collect();
    let indices: Vec<_> = all.iter().map(|(_, change, _)| change.gpu_index.as_str()).collect();
    let kinds: Vec<_> = all.iter().map(|(.., held)| held.sign.kind.as_str()).collect();
    let since: Vec<_> = all.iter().map(|(.., held)| held.sign.since).collect();
    let seen: Vec<_> = all.iter().map(|(.., held)| held.sign.seen).collect();
    let values: Vec<_> = all.iter().map(|(.., held)| held.sign.value).collect();
    let announced: Vec<_> = all.iter().map(|(.., held)| held.announced).collect();
    transaction.execute(&statement, &[&hosts, &indices, &kinds, &since, &seen, &values, &announced]).await?;
    Ok(())
}

/// Writes the events; returns them with their numbers.
async fn tell(
    transaction: &Transaction<'_>,
    cluster_id: i32,
    changes: &[(&Entry, Change)],
) -> Result<Vec<Event>, Error> {
    let all = changes.iter().flat_map(|(entry, change)| change.news.iter().map(move |news| (entry, change, news)));
    let all: Vec<(_, _, &News)> = all.collect();
    if all.is_empty() {
        return Ok(Vec::new());
    }
    let statement = transaction.prepare_cached(include_str!("insert_events.sql")).await?;
    let hosts: Vec<_> = all.iter().map(|(entry, ..)| entry.name.as_str()).collect();
    let gpus: Vec<_> = all.iter().map(|(_, change, _)| change.gpu_index.as_str()).collect();
    let uuids: Vec<_> = all.iter().map(|(_, change, _)| change.uuid.as_deref()).collect();
    let at: Vec<_> = all.iter().map(|(.., news)| news.at).collect();
    let kinds: Vec<_> = all.iter().map(|(.., news)| news.kind.as_str()).collect();
    let conditions: Vec<_> = all.iter().map(|(.., news)| news.condition.map(|condition| condition.as_str())).collect();
    let severities: Vec<_> = all.iter().map(|(.., news)| news.severity.as_str()).collect();
    let since: Vec<_> = all.iter().map(|(.., news)| news.since).collect();
    let codes: Vec<_> = all.iter().map(|(.., news)| news.code).collect();
    let details: Vec<_> = all.iter().map(|(.., news)| news.detail.as_str()).collect();
    let rows = transaction
        .query(
            &statement,
            &[&cluster_id, &hosts, &gpus, &uuids, &at, &kinds, &conditions, &severities, &since, &codes, &details],
        )
        .await?;
    let numbered = rows.iter().zip(all).map(|(row, (entry, change, news))| Event {
        id: row.get(0),
        host_id: entry.name.clone(),
        gpu_id: change.gpu_index.clone(),
        uuid: change.uuid.clone(),
        at: news.at,
        kind: news.kind,
        condition: news.condition,
        severity: news.severity,
        since: news.since,
        code: news.code,
        detail: news.detail.clone(),
    });
    Ok(numbered.collect())
}
