//! All clusters as the memory holds them (pure): who is where, with which values.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use nexus_common::domain::{
    Finding, Host, Metric, Sign, Thresholds, Timestamp, Vitals, carry_on, diagnose, examine, expect,
};
use nexus_common::queue::{Feed, FeedSample};

use super::gpu::{Gpu, Identity};

/// Everything that is known, by name.
#[derive(Debug, Default)]
pub(crate) struct Fleet {
    pub(crate) clusters: BTreeMap<String, BTreeMap<String, Machine>>,
    /// Where each GPU of the registry is: cluster, host, place on it.
    places: HashMap<i32, (String, String, Place)>,
    /// Metrics outside the catalogue that some GPU reported.
    pub(crate) others: BTreeSet<Arc<str>>,
}

/// Orders the GPUs of a host: numbers among the indices as numbers, because longer ones come later; then the registry's id.
pub(crate) type Place = (usize, String, i32);

/// One host and its GPUs.
#[derive(Debug, Default)]
pub(crate) struct Machine {
    /// What its GPUs say together.
    pub(crate) host: Host,
    pub(crate) gpus: BTreeMap<Place, Gpu>,
    /// Signs that the collectors noted of indices where no GPU is known.
    noted: BTreeMap<String, Vec<Sign>>,
}

/// What a look into PostgreSQL found of one GPU.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) cluster_id: String,
    pub(crate) host_id: String,
    pub(crate) gpu: Gpu,
}

/// A sign of a GPU that the collectors remember.
#[derive(Debug)]
pub(crate) struct Noted {
    pub(crate) cluster_id: String,
    pub(crate) host_id: String,
    /// Index on the host.
    pub(crate) gpu_id: String,
    pub(crate) sign: Sign,
}

fn place_of(gpu: &Identity) -> Place {
    (gpu.gpu_id.len(), gpu.gpu_id.clone(), gpu.id)
}

impl Machine {
    /// The GPU a sample is of. An index can have passed from one GPU to another: the UUID tells, or the newer one it is.
    fn find(&mut self, sample: &FeedSample) -> Option<&mut Gpu> {
        let here = self.gpus.values_mut().filter(|gpu| gpu.identity.gpu_id == sample.gpu_id);
        match &sample.uuid {
            Some(uuid) => here.into_iter().find(|gpu| gpu.identity.uuid.as_ref() == Some(uuid)),
            None => here.max_by_key(|gpu| (gpu.identity.uuid.is_none(), gpu.last_seen)),
        }
    }

    /// Another GPU took this one's place: see [`Host::is_replaced`].
    pub(crate) fn is_replaced(&self, gpu: &Gpu, thresholds: &Thresholds) -> bool {
        self.host.is_replaced(&gpu.identity.gpu_id, gpu.last_seen, thresholds.stale_after)
    }

    /// What is the matter with one of its GPUs.
    pub(crate) fn findings(&self, gpu: &Gpu, now: Timestamp, thresholds: &Thresholds) -> Vec<Finding> {
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
    pub(crate) fn never_seen_findings(&self, gpu_id: &str, now: Timestamp, thresholds: &Thresholds) -> Vec<Finding> {
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

    /// Brings what the GPUs say together up to date.
    fn sum_up(&mut self) {
        self.host = Host::new(self.gpus.values().map(|gpu| {
            let identity = &gpu.identity;
            (identity.gpu_id.as_str(), identity.model.as_deref(), gpu.last_seen)
        }));
    }
}

impl Fleet {
    /// Merges a feed. `false`: it speaks of a GPU that is not known, or left something out.
    pub(crate) fn take(&mut self, cluster_id: &str, feed: &Feed, now: Timestamp, thresholds: &Thresholds) -> bool {
        let mut complete = feed.left_out == 0 && feed.untold == 0;
        let Some(hosts) = self.clusters.get_mut(cluster_id) else { return complete && feed.samples.is_empty() };
        for sample in &feed.samples {
            let at = Timestamp(sample.timestamp_us);
            let Some(machine) = hosts.get_mut(&sample.host_id) else {
                complete = false;
                continue;
            };
            let Some(gpu) = machine.find(sample) else {
                complete = false;
                continue;
            };
            for (name, value) in &sample.data {
                let metric = Metric::named(name);
                if let Metric::Other(name) = &metric
                    && !self.others.contains(name)
                {
                    self.others.insert(Arc::clone(name));
                }
                gpu.take(&metric, *value, at);
            }
            machine.host.seen(&sample.gpu_id, at);
            let newest = machine.host.newest();
            if let Some(gpu) = machine.find(sample) {
                gpu.held = gpu.signs(newest, now, thresholds);
            }
        }
        complete
    }

    /// Makes sure that these clusters and hosts are there.
    pub(crate) fn name(&mut self, cluster_id: &str, host_id: Option<&str>) {
        if !self.clusters.contains_key(cluster_id) {
            self.clusters.insert(cluster_id.to_owned(), BTreeMap::new());
        }
        if let (Some(host_id), Some(hosts)) = (host_id, self.clusters.get_mut(cluster_id))
            && !hosts.contains_key(host_id)
        {
            hosts.insert(host_id.to_owned(), Machine::default());
        }
    }

    /// Merges what PostgreSQL holds of a GPU. One that moved is only where it is now.
    pub(crate) fn enter(&mut self, entry: Entry) {
        let Entry { cluster_id, host_id, gpu } = entry;
        let place = place_of(&gpu.identity);
        let moved = self
            .places
            .get(&gpu.identity.id)
            .is_some_and(|(cluster, host, known)| (cluster, host, known) != (&cluster_id, &host_id, &place));
        let before = if moved { self.remove(gpu.identity.id) } else { None };
        for name in gpu.others() {
            self.others.insert(Arc::clone(name));
        }
        self.places.insert(gpu.identity.id, (cluster_id.clone(), host_id.clone(), place.clone()));
        self.name(&cluster_id, Some(&host_id));
        let Some(machine) = self.clusters.get_mut(&cluster_id).and_then(|hosts| hosts.get_mut(&host_id)) else {
            return;
        };
        match machine.gpus.get_mut(&place) {
            Some(known) => {
                known.merge(&gpu);
                known.identity = gpu.identity;
            }
            None => {
                let mut gpu = gpu;
                if let Some(before) = before {
                    gpu.merge(&before);
                }
                machine.gpus.insert(place, gpu);
            }
        }
    }

    fn remove(&mut self, id: i32) -> Option<Gpu> {
        let (cluster, host, place) = self.places.remove(&id)?;
        self.clusters.get_mut(&cluster)?.get_mut(&host)?.gpus.remove(&place)
    }

    /// Forgets what a whole look into PostgreSQL did not find, and sums up what each host says.
    pub(crate) fn settle(&mut self, found: &HashSet<i32>, named: &HashSet<(String, Option<String>)>) {
        let gone: Vec<i32> = self.places.keys().filter(|id| !found.contains(id)).copied().collect();
        for id in gone {
            self.remove(id);
        }
        self.clusters.retain(|cluster, hosts| {
            hosts.retain(|host, machine| {
                !machine.gpus.is_empty() || named.contains(&(cluster.clone(), Some(host.clone())))
            });
            !hosts.is_empty() || named.contains(&(cluster.clone(), None))
        });
        for hosts in self.clusters.values_mut() {
            hosts.values_mut().for_each(Machine::sum_up);
            expect(hosts.values_mut().map(|machine| &mut machine.host));
        }
    }

    /// Takes over since when signs have held, as the collectors noted it; what was noted before is forgotten.
    pub(crate) fn remember(&mut self, noted: Vec<Noted>) {
        for machine in self.clusters.values_mut().flat_map(BTreeMap::values_mut) {
            machine.noted.clear();
            machine.gpus.values_mut().for_each(|gpu| gpu.noted.clear());
        }
        for Noted { cluster_id, host_id, gpu_id, sign } in noted {
            let machine = self.clusters.get_mut(&cluster_id).and_then(|hosts| hosts.get_mut(&host_id));
            let Some(machine) = machine else { continue };
            let mut empty = true;
            for gpu in machine.gpus.values_mut().filter(|gpu| gpu.identity.gpu_id == gpu_id) {
                gpu.noted.push(sign.clone());
                empty = false;
            }
            if empty {
                machine.noted.entry(gpu_id).or_default().push(sign);
            }
        }
    }
}
