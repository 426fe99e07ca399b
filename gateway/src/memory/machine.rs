//! One host as the memory holds it. It changes here only, and how it is is worked out once for all who ask, until it changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use nexus_common::domain::{Finding, Host, Metric, Sign, Thresholds, Timestamp, Vitals, carry_on, diagnose, examine};
use nexus_common::queue::FeedSample;

use super::gpu::{Gpu, Identity};
use super::health::Health;
use super::kept::{Kept, holds};

/// Orders the GPUs of a host: numbers among the indices as numbers, because longer ones come later; then the registry's id.
pub(crate) type Place = (usize, String, i32);

/// One host and its GPUs.
#[derive(Debug, Default)]
pub(crate) struct Machine {
    host: Host,
    gpus: BTreeMap<Place, Gpu>,
    /// Signs that the collectors noted of indices where no GPU is known.
    noted: BTreeMap<String, Vec<Sign>>,
    health: Kept<Health>,
}

/// Where a GPU is among those of its host.
pub(super) fn place_of(gpu: &Identity) -> Place {
    (gpu.gpu_id.len(), gpu.gpu_id.clone(), gpu.id)
}

/// What it tells.
impl Machine {
    /// What its GPUs say together.
    pub(crate) fn host(&self) -> &Host {
        &self.host
    }

    /// Its GPUs in their order.
    pub(crate) fn gpus(&self) -> &BTreeMap<Place, Gpu> {
        &self.gpus
    }

    /// How it is now.
    pub(crate) fn health(&self, now: Timestamp, thresholds: &Thresholds) -> Arc<Health> {
        self.health.at(now, || {
            let times = self.gpus.values().map(|gpu| gpu.last_seen).chain(self.host.times()).flatten();
            (Health::of(self, now, thresholds), holds(times, now, thresholds.stale_after))
        })
    }

    /// Another GPU took this one's place: see [`Host::is_replaced`].
    pub(crate) fn is_replaced(&self, gpu: &Gpu, thresholds: &Thresholds) -> bool {
        self.host.is_replaced(&gpu.identity.gpu_id, gpu.last_seen, thresholds.stale_after)
    }

    /// What is the matter with one of its GPUs.
    pub(super) fn findings(&self, gpu: &Gpu, now: Timestamp, thresholds: &Thresholds) -> Vec<Finding> {
        diagnose(&self.signs(gpu, now, thresholds), thresholds)
    }

    /// The single facts that say so.
    pub(crate) fn signs(&self, gpu: &Gpu, now: Timestamp, thresholds: &Thresholds) -> Vec<Sign> {
        if self.is_replaced(gpu, thresholds) {
            return Vec::new();
        }
        gpu.signs(self.host.newest(), now, thresholds)
    }

    /// What is the matter with a GPU it should have and that never reported.
    pub(super) fn never_seen_findings(&self, gpu_id: &str, now: Timestamp, thresholds: &Thresholds) -> Vec<Finding> {
        diagnose(&self.never_seen_signs(gpu_id, now, thresholds), thresholds)
    }

    /// The single facts that say so.
    pub(crate) fn never_seen_signs(&self, gpu_id: &str, now: Timestamp, thresholds: &Thresholds) -> Vec<Sign> {
        let vitals = Vitals { last_seen: None, host_last_seen: self.host.newest(), reading: &|_| None };
        let mut signs = examine(&vitals, now, thresholds);
        if let Some(noted) = self.noted.get(gpu_id) {
            carry_on(&mut signs, noted);
        }
        signs
    }
}

/// How it changes.
impl Machine {
    /// Merges a sample of the feed, and names the metrics outside the catalogue. `false`: it is of no GPU that is known.
    pub(super) fn take(
        &mut self,
        sample: &FeedSample,
        others: &mut BTreeSet<Arc<str>>,
        now: Timestamp,
        thresholds: &Thresholds,
    ) -> bool {
        let at = Timestamp(sample.timestamp_us);
        let Some(gpu) = self.find(sample) else { return false };
        for (name, value) in &sample.data {
            let metric = Metric::named(name);
            if let Metric::Other(name) = &metric
                && !others.contains(name)
            {
                others.insert(Arc::clone(name));
            }
            gpu.take(&metric, *value, at);
        }
        self.health.forget();
        self.host.seen(&sample.gpu_id, at);
        let newest = self.host.newest();
        if let Some(gpu) = self.find(sample) {
            gpu.held = gpu.signs(newest, now, thresholds);
        }
        true
    }

    /// The GPU a sample is of. An index can have passed from one GPU to another: the UUID tells, or the newer one it is.
    fn find(&mut self, sample: &FeedSample) -> Option<&mut Gpu> {
        let here = self.gpus.values_mut().filter(|gpu| gpu.identity.gpu_id == sample.gpu_id);
        match &sample.uuid {
            Some(uuid) => here.into_iter().find(|gpu| gpu.identity.uuid.as_ref() == Some(uuid)),
            None => here.max_by_key(|gpu| (gpu.identity.uuid.is_none(), gpu.last_seen)),
        }
    }

    /// Merges what PostgreSQL holds of a GPU, and what was known of it where it was before.
    pub(super) fn enter(&mut self, gpu: Gpu, before: Option<&Gpu>) {
        self.health.forget();
        let place = place_of(&gpu.identity);
        match self.gpus.get_mut(&place) {
            Some(known) => {
                known.merge(&gpu);
                known.identity = gpu.identity;
            }
            None => {
                let mut gpu = gpu;
                if let Some(before) = before {
                    gpu.merge(before);
                }
                self.gpus.insert(place, gpu);
            }
        }
    }

    pub(super) fn remove(&mut self, place: &Place) -> Option<Gpu> {
        self.health.forget();
        self.gpus.remove(place)
    }

    /// Brings what the GPUs say together up to date.
    pub(super) fn sum_up(&mut self) {
        self.health.forget();
        self.host = Host::new(self.gpus.values().map(|gpu| {
            let identity = &gpu.identity;
            (identity.gpu_id.as_str(), identity.model.as_deref(), gpu.last_seen)
        }));
    }

    /// The same, for whoever says how many GPUs it should have.
    pub(super) fn host_mut(&mut self) -> &mut Host {
        self.health.forget();
        &mut self.host
    }

    /// Forgets what was noted.
    pub(super) fn forget_noted(&mut self) {
        self.health.forget();
        self.noted.clear();
        self.gpus.values_mut().for_each(|gpu| gpu.noted.clear());
    }

    /// Takes over since when a sign has held at an index.
    pub(super) fn note(&mut self, gpu_id: String, sign: Sign) {
        self.health.forget();
        let mut empty = true;
        for gpu in self.gpus.values_mut().filter(|gpu| gpu.identity.gpu_id == gpu_id) {
            gpu.noted.push(sign.clone());
            empty = false;
        }
        if empty {
            self.noted.entry(gpu_id).or_default().push(sign);
        }
    }
}
