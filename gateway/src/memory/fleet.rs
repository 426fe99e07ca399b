//! All clusters as the memory holds them (pure): who is where, with which values.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use nexus_common::domain::{Sign, Thresholds, Timestamp, expect};
use nexus_common::queue::Feed;

use super::gpu::Gpu;
use super::machine::{Machine, Place, place_of};
use super::machines::Machines;

/// Everything that is known, by name.
#[derive(Debug, Default)]
pub(crate) struct Fleet {
    pub(crate) clusters: BTreeMap<String, Machines>,
    /// Where each GPU of the registry is: cluster, host, place on it.
    places: HashMap<i32, (String, String, Place)>,
    /// Metrics outside the catalogue that some GPU reported.
    pub(crate) others: BTreeSet<Arc<str>>,
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

impl Fleet {
    /// Merges a feed. `false`: it speaks of a GPU that is not known, or left something out.
    pub(crate) fn take(&mut self, cluster_id: &str, feed: &Feed, now: Timestamp, thresholds: &Thresholds) -> bool {
        let mut complete = feed.left_out == 0 && feed.untold == 0;
        if feed.samples.is_empty() {
            return complete;
        }
        let Some(hosts) = self.clusters.get_mut(cluster_id).map(Machines::change) else { return false };
        for sample in &feed.samples {
            let machine = hosts.get_mut(&sample.host_id);
            complete &= machine.is_some_and(|machine| machine.take(sample, &mut self.others, now, thresholds));
        }
        complete
    }

    /// Makes sure that these clusters and hosts are there.
    pub(crate) fn name(&mut self, cluster_id: &str, host_id: Option<&str>) {
        if !self.clusters.contains_key(cluster_id) {
            self.clusters.insert(cluster_id.to_owned(), Machines::default());
        }
        if let (Some(host_id), Some(hosts)) = (host_id, self.clusters.get_mut(cluster_id))
            && !hosts.contains_key(host_id)
        {
            hosts.change().insert(host_id.to_owned(), Machine::default());
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
        self.places.insert(gpu.identity.id, (cluster_id.clone(), host_id.clone(), place));
        self.name(&cluster_id, Some(&host_id));
        let Some(machine) = self.clusters.get_mut(&cluster_id).and_then(|hosts| hosts.change().get_mut(&host_id))
        else {
            return;
        };
        machine.enter(gpu, before.as_ref());
    }

    fn remove(&mut self, id: i32) -> Option<Gpu> {
        let (cluster, host, place) = self.places.remove(&id)?;
        self.clusters.get_mut(&cluster)?.change().get_mut(&host)?.remove(&place)
    }

    /// Forgets what a whole look into PostgreSQL did not find, and sums up what each host says.
    pub(crate) fn settle(&mut self, found: &HashSet<i32>, named: &HashSet<(String, Option<String>)>) {
        let gone: Vec<i32> = self.places.keys().filter(|id| !found.contains(id)).copied().collect();
        for id in gone {
            self.remove(id);
        }
        self.clusters.retain(|cluster, hosts| {
            hosts.change().retain(|host, machine| {
                !machine.gpus().is_empty() || named.contains(&(cluster.clone(), Some(host.clone())))
            });
            !hosts.is_empty() || named.contains(&(cluster.clone(), None))
        });
        for hosts in self.clusters.values_mut().map(Machines::change) {
            hosts.values_mut().for_each(Machine::sum_up);
            expect(hosts.values_mut().map(Machine::host_mut));
        }
    }

    /// Takes over since when signs have held, as the collectors noted it; what was noted before is forgotten.
    pub(crate) fn remember(&mut self, noted: Vec<Noted>) {
        let machines = self.clusters.values_mut().flat_map(|hosts| hosts.change().values_mut());
        machines.for_each(Machine::forget_noted);
        for Noted { cluster_id, host_id, gpu_id, sign } in noted {
            let machine = self.clusters.get_mut(&cluster_id).and_then(|hosts| hosts.change().get_mut(&host_id));
            if let Some(machine) = machine {
                machine.note(gpu_id, sign);
            }
        }
    }
}
