//! What the gateway depends on, and how that is.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use nexus_common::etcd::{Client, GetOptions};
use serde::Serialize;
use tokio::time::{Instant, timeout};
use utoipa::ToSchema;

use crate::memory::Memory;

/// Past this a dependency counts as down.
const PATIENCE: Duration = Duration::from_secs(2);

/// One dependency and the question that shows whether it answers. The text of an error is for the log alone.
pub struct Probe {
    name: &'static str,
    ask: Box<dyn Fn() -> Answer + Send + Sync>,
}

type Answer = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

impl Probe {
    /// A dependency by its name in `/health`.
    pub fn new<F>(name: &'static str, ask: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        Probe { name, ask: Box::new(move || Box::pin(ask())) }
    }

    async fn state(&self) -> (&'static str, Dependency) {
        let asked = Instant::now();
        let answer = timeout(PATIENCE, (self.ask)()).await.unwrap_or_else(|_| Err("no answer in time".to_owned()));
        if let Err(error) = &answer {
            tracing::warn!(dependency = self.name, error, "down");
        }
        let latency_ms = (asked.elapsed().as_secs_f64() * 1e6).round() / 1e3;
        (self.name, Dependency { status: if answer.is_ok() { State::Up } else { State::Down }, latency_ms })
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Probe").field(&self.name).finish()
    }
}

/// etcd answers a linearizable read: it has a leader and a majority.
/// `key` is one that the gateway's user may read.
pub fn etcd(client: Client, key: String) -> Probe {
    Probe::new("etcd", move || {
        let (client, key) = (client.clone(), key.clone());
        async move {
            let options = GetOptions::new().with_count_only();
            client.get(&key, options).await.map(drop).map_err(|error| error.to_string())
        }
    })
}

/// All dependencies of this process; cheap to clone.
#[derive(Debug, Clone)]
pub struct Health {
    probes: Arc<[Probe]>,
    migrated: Arc<AtomicBool>,
    memory: Memory,
}

/// The answer of `/health`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Report {
    /// Up when every dependency is.
    pub status: State,
    /// The version of this gateway.
    pub version: &'static str,
    /// Whether values come as they are committed; down while the watch on etcd is broken.
    pub live_feed: State,
    /// By name.
    pub dependencies: BTreeMap<&'static str, Dependency>,
}

/// How one dependency is.
#[derive(Debug, Serialize, ToSchema)]
pub struct Dependency {
    /// Whether it answered.
    pub status: State,
    /// How long the answer, or giving up on it, took in milliseconds.
    pub latency_ms: f64,
}

/// Up or down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It answers.
    Up,
    /// It does not.
    Down,
}

impl Health {
    /// Of these dependencies. `migrated` turns true when the schema is there.
    pub fn new(probes: Vec<Probe>, migrated: Arc<AtomicBool>, memory: Memory) -> Self {
        Health { probes: probes.into(), migrated, memory }
    }

    /// Asks all of them at once.
    pub async fn report(&self) -> Report {
        let dependencies: BTreeMap<_, _> = join_all(self.probes.iter().map(Probe::state)).await.into_iter().collect();
        let all_up = dependencies.values().all(|dependency| dependency.status == State::Up);
        let status = if all_up { State::Up } else { State::Down };
        let live_feed = if self.memory.is_fed() { State::Up } else { State::Down };
        Report { status, version: env!("CARGO_PKG_VERSION"), live_feed, dependencies }
    }

    /// Requests can be answered: the schema is there, the newest values are in memory and PostgreSQL answers. Reading needs
    /// no etcd: without it values come from PostgreSQL every two seconds.
    pub async fn is_ready(&self) -> bool {
        let Some(database) = self.probes.iter().find(|probe| probe.name == crate::read::DEPENDENCY) else {
            return false;
        };
        self.migrated.load(Ordering::Acquire) && self.memory.is_seeded() && database.state().await.1.status == State::Up
    }
}
