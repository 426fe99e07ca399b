//! Clusters, hosts and GPUs: who is who, by small integer ids.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use deadpool_postgres::Client;
use foldhash::fast::RandomState;
use nexus_common::db::Error;
use nexus_common::domain::{Described, GpuIdentity, Timestamp};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Json;

use super::newcomers;
use crate::work::Reading;

/// The ids this process knows. What is in PostgreSQL is committed before it is known here, so an id is always good.
#[derive(Debug)]
pub(crate) struct Registry {
    cluster: String,
    /// Keep model, device, labels and place up to date (ENABLE_NEXUS).
    keeps_details: bool,
    known: Mutex<HashMap<GpuIdentity, Known>>,
    cluster_id: Mutex<Option<i32>>,
    /// One worker registers at a time: the others would do the same work again.
    registering: tokio::sync::Mutex<()>,
    /// All GPUs that were registered before are known.
    loaded: AtomicBool,
}

/// GPUs and their ids, of one store.
#[derive(Debug)]
pub(crate) struct Ids<'a>(HashMap<ByAddress<'a>, i32, RandomState>);

impl Ids<'_> {
    /// The GPU's id; `None` for one that is not of this store.
    pub(crate) fn of(&self, reading: &Reading) -> Option<i32> {
        self.0.get(&ByAddress(&reading.described)).copied()
    }
}

/// A description known by where it is: readings share theirs, and few are compared text by text.
#[derive(Debug, Clone, Copy)]
struct ByAddress<'a>(&'a Arc<Described>);

impl PartialEq for ByAddress<'_> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(self.0, other.0)
    }
}

impl Eq for ByAddress<'_> {}

impl Hash for ByAddress<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(self.0).hash(state);
    }
}

/// What is said of a GPU, and the newest time at which it is.
#[derive(Debug, Clone, Copy)]
struct Said<'a> {
    described: &'a Arc<Described>,
    timestamp: Timestamp,
}

/// Each description once, the newest last.
fn said<'a>(readings: impl Iterator<Item = &'a Reading>) -> Vec<Said<'a>> {
    let mut newest = HashMap::<ByAddress<'a>, Timestamp, RandomState>::default();
    for reading in readings {
        match newest.entry(ByAddress(&reading.described)) {
            Entry::Vacant(slot) => _ = slot.insert(reading.timestamp),
            Entry::Occupied(mut slot) if *slot.get() < reading.timestamp => _ = slot.insert(reading.timestamp),
            Entry::Occupied(_) => {}
        }
    }
    let mut said: Vec<_> =
        newest.into_iter().map(|(ByAddress(described), timestamp)| Said { described, timestamp }).collect();
    // Of one time in one order, whoever stores: two collectors take their locks alike.
    said.sort_by(|a, b| (a.timestamp, &a.described.gpu).cmp(&(b.timestamp, &b.described.gpu)));
    said
}

#[derive(Debug, Clone)]
struct Known {
    id: i32,
    described: Arc<Described>,
    seen: Timestamp,
    /// When the same GPU was seen in another place.
    seen_elsewhere: Option<Timestamp>,
}

/// A reading whose GPU cannot be registered.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// PostgreSQL does not take this identity: the reading is at fault.
    Identity(Box<GpuIdentity>, String),
    /// Anything else: not the reading's fault.
    Database(Error),
}

impl From<tokio_postgres::Error> for Refusal {
    fn from(error: tokio_postgres::Error) -> Self {
        Refusal::Database(error.into())
    }
}

impl Registry {
    pub(crate) fn new(cluster: &str, keeps_details: bool) -> Self {
        Registry {
            cluster: cluster.to_owned(),
            keeps_details,
            known: Mutex::default(),
            cluster_id: Mutex::default(),
            registering: tokio::sync::Mutex::default(),
            loaded: AtomicBool::new(false),
        }
    }

    /// The cluster's id; registers the cluster when it is new.
    pub(crate) async fn cluster_id(&self, client: &Client) -> Result<i32, Error> {
        if let Some(id) = *self.cluster_id.lock().unwrap_or_else(PoisonError::into_inner) {
            return Ok(id);
        }
        let id = find_or_insert(
            client,
            "SELECT id FROM clusters WHERE name = $1",
            "INSERT INTO clusters (name) VALUES ($1) ON CONFLICT DO NOTHING RETURNING id",
            &[&self.cluster],
        )
        .await?;
        *self.cluster_id.lock().unwrap_or_else(PoisonError::into_inner) = Some(id);
        Ok(id)
    }

    /// Makes sure that the readings' GPUs are known and, newest reading last, what is said of them.
    pub(crate) async fn resolve(
        &self,
        client: &Client,
        readings: impl Iterator<Item = &Reading>,
    ) -> Result<(), Refusal> {
        let cluster_id = self.cluster_id(client).await.map_err(Refusal::Database)?;
        let news: Vec<_> = said(readings).into_iter().filter(|said| !self.is_old(said)).collect();
        if news.is_empty() {
            return Ok(());
        }
        let _registering = self.registering.lock().await;
        if !self.loaded.load(Ordering::Relaxed) {
            self.load(client, cluster_id).await?;
            self.loaded.store(true, Ordering::Relaxed);
        }
        self.register_newcomers(client, cluster_id, &news).await;
        for said in news {
            let known = self.known().get(&said.described.gpu).cloned();
            let outcome = match known {
                None => self.register(client, cluster_id, &said).await,
                Some(known) if self.is_back(&known, &said) => self.register(client, cluster_id, &said).await,
                Some(known) if self.is_news(&known, &said) => self.update(client, known.id, &said).await,
                Some(_) => Ok(()),
            };
            if let Err(error) = outcome {
                // Two collectors learned of one GPU in different ways at one moment: the next try finds what the other wrote.
                if error.code() == Some(&SqlState::UNIQUE_VIOLATION) {
                    return Err(Refusal::Database(Error::transient(
                        "another collector registered the GPU at this moment",
                    )));
                }
                let error = Error::from(error);
                return Err(if error.is_refusal() {
                    Refusal::Identity(Box::new(said.described.gpu.clone()), error.to_string())
                } else {
                    Refusal::Database(error)
                });
            }
        }
        Ok(())
    }

    /// Registers what can be registered at once. Only a shorter way: where it fails, each GPU is registered by itself, and
    /// what is wrong with one of them is found out then.
    async fn register_newcomers(&self, client: &Client, cluster_id: i32, news: &[Said<'_>]) {
        let newcomers: Vec<_> = {
            let known = self.known();
            let is_new = |said: &&Said<'_>| !known.contains_key(&said.described.gpu);
            news.iter().filter(is_new).map(|said| (&**said.described, said.timestamp)).collect()
        };
        if newcomers.len() < 2 {
            return;
        }
        let outcome = newcomers::register(client, cluster_id, &newcomers, self.keeps_details).await;
        let ids = outcome.unwrap_or_else(|error| {
            tracing::debug!(%error, "GPUs are registered one by one");
            HashMap::new()
        });
        for said in news {
            if let Some(id) = ids.get(&newcomers::place(said.described)) {
                let known =
                    Known { id: *id, described: said.described.clone(), seen: said.timestamp, seen_elsewhere: None };
                self.known().entry(said.described.gpu.clone()).or_insert(known);
            }
        }
        // Another collector was quicker: what it has registered is there.
        if ids.len() < newcomers.len()
            && let Err(error) = self.load(client, cluster_id).await
        {
            tracing::debug!(%error, "GPUs are looked up one by one");
        }
    }

    /// The ids of the readings' GPUs; `None` when one is not known (any more): resolve again. A reading without an id must
    /// never be left out quietly, its batch's ledger row says that it is stored.
    pub(crate) fn ids<'a>(&self, readings: impl Iterator<Item = &'a Reading>) -> Option<Ids<'a>> {
        let known = self.known();
        let mut ids = HashMap::default();
        for reading in readings {
            if let Entry::Vacant(slot) = ids.entry(ByAddress(&reading.described)) {
                slot.insert(known.get(&reading.described.gpu)?.id);
            }
        }
        Some(Ids(ids))
    }

    /// Is there nothing in this that the registry does not know?
    fn is_old(&self, said: &Said<'_>) -> bool {
        self.known()
            .get(&said.described.gpu)
            .is_some_and(|known| !self.is_news(known, said) && !self.is_back(known, said))
    }

    /// Learns of all GPUs of the cluster in one query: a restarted collector looks none up one by one.
    async fn load(&self, client: &Client, cluster_id: i32) -> Result<(), tokio_postgres::Error> {
        let rows = client
            .query(
                "SELECT h.name, g.gpu_index, g.uuid, g.mig, g.id, g.model, g.device, g.labels,
                     COALESCE((extract(epoch FROM g.seen_at) * 1000000)::bigint, 0)
                 FROM gpus g JOIN hosts h ON h.id = g.host_id WHERE g.cluster_id = $1",
                &[&cluster_id],
            )
            .await?;
        let mut known = self.known();
        for row in rows {
            let gpu = GpuIdentity { host: row.get(0), gpu: row.get(1), uuid: row.get(2), mig: row.get(3) };
            let Json(labels) = row.get(7);
            let described = Described { gpu: gpu.clone(), model: row.get(5), device: row.get(6), labels };
            let (id, seen) = (row.get(4), Timestamp(row.get(8)));
            known.entry(gpu).or_insert(Known { id, described: Arc::new(described), seen, seen_elsewhere: None });
        }
        Ok(())
    }

    /// The database is another one than before (restarted, restored): what is known may not be true of it.
    pub(crate) fn forget(&self) {
        self.loaded.store(false, Ordering::Relaxed);
        self.known().clear();
        *self.cluster_id.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn is_news(&self, known: &Known, said: &Said<'_>) -> bool {
        let is_same = || {
            let (known, said) = (&known.described, said.described);
            Arc::ptr_eq(known, said)
                || (&known.model, &known.device, &known.labels) == (&said.model, &said.device, &said.labels)
        };
        self.keeps_details && said.timestamp > known.seen && !is_same()
    }

    /// Has the GPU left for another place and come back?
    fn is_back(&self, known: &Known, said: &Said<'_>) -> bool {
        self.keeps_details && known.seen_elsewhere.is_some_and(|elsewhere| said.timestamp > elsewhere)
    }

    async fn register(&self, client: &Client, cluster_id: i32, said: &Said<'_>) -> Result<(), tokio_postgres::Error> {
        let gpu = &said.described.gpu;
        let host_id = find_or_insert(
            client,
            "SELECT id FROM hosts WHERE cluster_id = $1 AND name = $2",
            "INSERT INTO hosts (cluster_id, name) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING id",
            &[&cluster_id, &gpu.host],
        )
        .await?;
        let id = match &gpu.uuid {
            Some(uuid) => self.by_uuid(client, cluster_id, host_id, gpu, uuid).await?,
            None => by_place(client, cluster_id, host_id, gpu).await?,
        };
        self.update(client, id, said).await?;
        // A GPU with a UUID that moved to another place is one GPU; the newest reading says where it is.
        if self.keeps_details {
            client
                .execute(
                    "UPDATE gpus SET host_id = $2, gpu_index = $3
                     WHERE id = $1 AND (host_id, gpu_index) <> ($2, $3)
                       AND seen_at <= to_timestamp($4::float8 / 1e6)",
                    &[&id, &host_id, &gpu.gpu, &(said.timestamp.0 as f64)],
                )
                .await?;
            self.note_place(id, said);
        }
        Ok(())
    }

    /// The GPU is where this reading says; where else it was known it may come back to.
    fn note_place(&self, id: i32, said: &Said<'_>) {
        let gpu_here = &said.described.gpu;
        for (gpu, known) in self.known().iter_mut().filter(|(gpu, known)| known.id == id && gpu.uuid.is_some()) {
            let here = (&gpu.host, &gpu.gpu) == (&gpu_here.host, &gpu_here.gpu);
            known.seen_elsewhere = if here { None } else { known.seen_elsewhere.max(Some(said.timestamp)) };
        }
    }

    async fn by_uuid(
        &self,
        client: &Client,
        cluster_id: i32,
        host_id: i32,
        gpu: &GpuIdentity,
        uuid: &String,
    ) -> Result<i32, tokio_postgres::Error> {
        // A GPU known by its place alone gets its UUID when a source first tells it.
        client
            .execute(
                "UPDATE gpus SET uuid = $3, mig = $4 WHERE host_id = $1 AND gpu_index = $2 AND uuid IS NULL
                   AND NOT EXISTS (SELECT FROM gpus o
                       WHERE o.cluster_id = $5 AND o.uuid = $3 AND COALESCE(o.mig, '') = COALESCE($4, ''))",
                &[&host_id, &gpu.gpu, uuid, &gpu.mig, &cluster_id],
            )
            .await?;
        let find =
            "SELECT id FROM gpus WHERE cluster_id = $1 AND uuid = $2 AND COALESCE(mig, '') = COALESCE($3::text, '')";
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 3] = [&cluster_id, uuid, &gpu.mig];
        loop {
            if let Some(row) = client.query_opt(find, &params).await? {
                return Ok(row.get(0));
            }
            let inserted = client
                .query_opt(
                    "INSERT INTO gpus (host_id, cluster_id, gpu_index, uuid, mig) VALUES ($1, $2, $3, $4, $5)
                     ON CONFLICT DO NOTHING RETURNING id",
                    &[&host_id, &cluster_id, &gpu.gpu, uuid, &gpu.mig],
                )
                .await?;
            if let Some(row) = inserted {
                return Ok(row.get(0));
            }
        }
    }

    async fn update(&self, client: &Client, id: i32, said: &Said<'_>) -> Result<(), tokio_postgres::Error> {
        let Described { gpu, model, device, labels } = &**said.described;
        if self.keeps_details {
            client
                .execute(
                    "UPDATE gpus SET model = COALESCE($2, model), device = COALESCE($3, device), labels = $4,
                         seen_at = to_timestamp($5::float8 / 1e6)
                     WHERE id = $1 AND COALESCE(seen_at, '-infinity') <= to_timestamp($5::float8 / 1e6)",
                    &[&id, model, device, &Json(labels), &(said.timestamp.0 as f64)],
                )
                .await?;
        }
        let mut known = self.known();
        let seen_elsewhere = known.get(gpu).and_then(|known| known.seen_elsewhere);
        let described = said.described.clone();
        known.insert(gpu.clone(), Known { id, described, seen: said.timestamp, seen_elsewhere });
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, HashMap<GpuIdentity, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A source without UUIDs means the GPU that is in this place now, whatever its UUID.
async fn by_place(
    client: &Client,
    cluster_id: i32,
    host_id: i32,
    gpu: &GpuIdentity,
) -> Result<i32, tokio_postgres::Error> {
    loop {
        let found = client
            .query_opt(
                "SELECT id FROM gpus WHERE host_id = $1 AND gpu_index = $2
                 ORDER BY uuid IS NULL, seen_at DESC NULLS LAST LIMIT 1",
                &[&host_id, &gpu.gpu],
            )
            .await?;
        if let Some(row) = found {
            return Ok(row.get(0));
        }
        let inserted = client
            .query_opt(
                "INSERT INTO gpus (host_id, cluster_id, gpu_index, mig) VALUES ($1, $2, $3, $4)
                 ON CONFLICT DO NOTHING RETURNING id",
                &[&host_id, &cluster_id, &gpu.gpu, &gpu.mig],
            )
            .await?;
        if let Some(row) = inserted {
            return Ok(row.get(0));
        }
    }
}

/// Looks first: a blind INSERT … ON CONFLICT burns a number of the sequence each time.
async fn find_or_insert(
    client: &Client,
    find: &str,
    insert: &str,
    params: &[&(dyn tokio_postgres::types::ToSql + Sync)],
) -> Result<i32, tokio_postgres::Error> {
    loop {
        for statement in [find, insert] {
            if let Some(row) = client.query_opt(statement, params).await? {
                return Ok(row.get(0));
            }
        }
    }
}
