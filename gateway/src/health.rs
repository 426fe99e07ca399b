//! What the gateway depends on, and how that is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nexus_common::db;
use nexus_common::observe::{self, Dependency, Probe, State};
use serde::Serialize;
use utoipa::ToSchema;

use crate::memory::Memory;

/// All dependencies of this process; cheap to clone.
#[derive(Debug, Clone)]
pub struct Health {
    health: observe::Health,
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

impl Health {
    /// Of these dependencies. `migrated` turns true when the schema is there.
    ///
    /// Requests can be answered once the schema is there, the newest values are in memory and PostgreSQL answers. Reading
    /// needs no etcd: without it values come from PostgreSQL every two seconds.
    pub fn new(probes: Vec<Probe>, migrated: Arc<AtomicBool>, memory: Memory) -> Self {
        let known = memory.clone();
        let can_work = move || migrated.load(Ordering::Acquire) && known.is_seeded();
        Health { health: observe::Health::new(probes, &[db::DEPENDENCY], can_work), memory }
    }

    /// What every component has.
    pub fn common(&self) -> &observe::Health {
        &self.health
    }

    /// Asks all dependencies at once.
    pub async fn report(&self) -> Report {
        let observe::Report { status, version, dependencies } = self.health.report().await;
        let live_feed = if self.memory.is_fed() { State::Up } else { State::Down };
        Report { status, version, live_feed, dependencies }
    }

    /// Requests can be answered.
    pub async fn is_ready(&self) -> bool {
        self.health.is_ready().await
    }
}
