//! The newest values of every GPU, held in memory: seeded from PostgreSQL, kept by the live feed, so that questions about
//! now ask no database.
//!
//! - **It does not matter what comes first.** Per metric the value with the newer time stands, so the feed and a look into
//!   PostgreSQL may overlap in any order.
//! - **PostgreSQL is right.** A look into it ([`refresh()`]) repeats every REFRESH_INTERVAL, at once when the feed speaks of
//!   a GPU that is not known or says that it left something out, and every two seconds while the feed cannot be trusted.
//!   What such a look does not find is forgotten; a PostgreSQL that was restarted may have been restored, so then
//!   everything is.
//! - Before the first look nothing is answered.

mod fleet;
mod gpu;
mod health;
mod kept;
mod machine;
mod machines;
mod refresh;
mod spread;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use nexus_common::domain::{Metric, Thresholds, Timestamp};
use nexus_common::observe::{Registry, looked_at};
use nexus_common::queue::Feed;
use tokio::sync::Notify;

pub(crate) use fleet::{Entry, Fleet, Noted};
pub(crate) use gpu::{Gpu, Identity};
pub(crate) use health::{GpuHealth, Health};
pub(crate) use machine::Machine;
pub(crate) use machines::Machines;
pub use refresh::refresh;
pub use spread::Distribution;

/// A cheap handle on the memory.
#[derive(Debug, Clone)]
pub struct Memory(Arc<Inside>);

/// The lock is a plain one: nothing awaits while holding it, and the longest critical section is a walk over the GPUs. Who
/// reads takes the lock of what is kept ([`kept`]) under it, one at a time.
#[derive(Debug)]
struct Inside {
    fleet: RwLock<Fleet>,
    thresholds: Thresholds,
    /// A first look was taken.
    seeded: AtomicBool,
    /// The feed tells all there is.
    trusted: AtomicBool,
    /// Something is known to be missing.
    wanting: AtomicBool,
    wake: Notify,
}

/// One GPU's newest values.
#[derive(Debug)]
pub struct Newest<'a> {
    /// The cluster's name.
    pub cluster_id: &'a str,
    /// The host's name.
    pub host_id: &'a str,
    /// The index on the host.
    pub gpu_id: &'a str,
    /// Where the source had one.
    pub uuid: Option<&'a str>,
    /// The newest time of all its values.
    pub timestamp: Timestamp,
    /// The values, each with its own time; the catalogue's first and in its order.
    pub values: Vec<(Metric, f64, Timestamp)>,
}

/// Says whether a GPU is wanted: cluster, host, index, UUID.
pub type Wanted<'a> = dyn Fn(&str, &str, &str, Option<&str>) -> bool + 'a;

impl Default for Memory {
    fn default() -> Self {
        Memory::new(Thresholds::default())
    }
}

impl Memory {
    /// Empty, and not to be asked before the first [`refresh()`].
    pub fn new(thresholds: Thresholds) -> Self {
        Memory(Arc::new(Inside {
            fleet: RwLock::default(),
            thresholds,
            seeded: AtomicBool::new(false),
            trusted: AtomicBool::new(false),
            wanting: AtomicBool::new(false),
            wake: Notify::new(),
        }))
    }

    /// Has Prometheus told what is in it, and whether it is kept up to date.
    pub fn register(&self, registry: &mut Registry) {
        let memory = self.clone();
        registry.register_collector(looked_at(move |scrape| {
            let help = "1 while values come as they are committed; 0 while the watch on etcd is broken.";
            scrape.gauge("nexus_gateway_feed_up", help, i64::from(memory.is_fed()))?;
            let machines = |fleet: &Fleet| fleet.clusters.values().flat_map(|hosts| hosts.values()).count();
            let gpus = |fleet: &Fleet| {
                let hosts = fleet.clusters.values().flat_map(|hosts| hosts.values());
                hosts.map(|machine| machine.gpus().len()).sum::<usize>()
            };
            let (hosts, gpus) = {
                let fleet = memory.fleet();
                (machines(&fleet), gpus(&fleet))
            };
            scrape.gauge("nexus_gateway_memory_hosts", "Hosts whose newest values are in memory.", hosts)?;
            scrape.gauge("nexus_gateway_memory_gpus", "GPUs whose newest values are in memory.", gpus)
        }));
    }

    /// Merges what a feed says: per metric the newer value stands. Asks for a refresh where the feed speaks of a GPU that
    /// is not known yet, or left something out.
    pub fn take(&self, cluster_id: &str, feed: &Feed) {
        let complete = self.write().take(cluster_id, feed, Timestamp::now(), &self.0.thresholds);
        if !complete {
            self.want();
        }
    }

    /// The feed may be missing something (the watch broke, or started anew): refresh at once and then often, until
    /// [`Memory::trust`].
    pub fn distrust(&self) {
        self.0.trusted.store(false, Ordering::Release);
        self.want();
    }

    /// The feed tells everything from here on: refresh once more, then at leisure.
    pub fn trust(&self) {
        self.0.trusted.store(true, Ordering::Release);
        self.want();
    }

    fn want(&self) {
        self.0.wanting.store(true, Ordering::Release);
        self.0.wake.notify_one();
    }

    /// Whether there is something to answer with.
    pub fn is_seeded(&self) -> bool {
        self.0.seeded.load(Ordering::Acquire)
    }

    /// Whether the feed keeps it up to date, or only looks into PostgreSQL do.
    pub fn is_fed(&self) -> bool {
        self.0.trusted.load(Ordering::Acquire)
    }

    /// From where on something is the matter.
    pub(crate) fn thresholds(&self) -> &Thresholds {
        &self.0.thresholds
    }

    /// All that is known; hold it for a moment only.
    pub(crate) fn fleet(&self) -> RwLockReadGuard<'_, Fleet> {
        self.0.fleet.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Fleet> {
        self.0.fleet.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows the GPUs with a value that are wanted, by cluster, host and index.
    pub fn newest(&self, wanted: &Wanted<'_>, show: &mut dyn FnMut(&Newest<'_>)) {
        for (cluster_id, hosts) in &self.fleet().clusters {
            for (host_id, machine) in hosts {
                for gpu in machine.gpus().values() {
                    let (gpu_id, uuid) = (gpu.identity.gpu_id.as_str(), gpu.identity.uuid.as_deref());
                    let Some(timestamp) = gpu.last_seen else { continue };
                    if wanted(cluster_id, host_id, gpu_id, uuid) && !machine.is_replaced(gpu, self.thresholds()) {
                        let values = gpu.readings().collect();
                        show(&Newest { cluster_id, host_id, gpu_id, uuid, timestamp, values });
                    }
                }
            }
        }
    }
}
