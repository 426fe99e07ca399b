use std::collections::BTreeMap;

use nexus_common::domain::{Status, Timestamp};
use serde::{Serialize, Serializer};

use super::cursor::Place;
use super::inventory::{Inventory, Machine};
use super::{Cursor, Error, Model, Page, Paging, Result, Time};

/// A cluster, with what its hosts say together.
#[derive(Debug, Clone, Serialize)]
pub struct Cluster {
    /// Its name, by which it is asked for.
    pub cluster_id: String,
    /// Its name for people: the same.
    pub cluster_name: String,
    /// Degraded where a host is anything but ok.
    #[serde(serialize_with = "word")]
    pub status: Status,
    /// Hosts that ever reported.
    pub host_count: u32,
    /// GPUs that ever reported.
    pub gpu_count: u32,
    /// The newest value's time.
    pub last_seen: Option<Time>,
}

/// A host, with what its GPUs say together.
#[derive(Debug, Clone, Serialize)]
pub struct Host {
    /// The cluster's name.
    pub cluster_id: String,
    /// The host's name.
    pub host_id: String,
    /// Degraded where a GPU is missing or silent.
    #[serde(serialize_with = "word")]
    pub status: Status,
    /// GPUs that ever reported; a MIG GPU is one, and so are a GPU and the one it replaced.
    pub gpu_count: u32,
    /// GPUs it should have: as its highest index tells, and no fewer than most hosts with this model have.
    pub expected_gpu_count: u32,
    /// Indices it should have and that never reported.
    pub missing_gpus: Vec<String>,
    /// The newest value's time.
    pub last_seen: Option<Time>,
}

/// A status as the API writes it.
pub(super) fn word<S: Serializer>(status: &Status, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_str(status.as_str())
}

impl Cluster {
    pub(super) fn of(name: &str, hosts: &BTreeMap<String, Machine>, model: &Model, now: Timestamp) -> Self {
        let newest = hosts.values().filter_map(Machine::newest).max();
        let complete = hosts.values().all(|host| host.status(model, now) == Status::Ok);
        Cluster {
            cluster_id: name.to_owned(),
            cluster_name: name.to_owned(),
            status: Status::of(newest, now, model.stale_after, complete),
            host_count: u32::try_from(hosts.len()).unwrap_or(u32::MAX),
            gpu_count: hosts.values().map(Machine::count).sum(),
            last_seen: newest.map(Time),
        }
    }
}

impl Host {
    fn of(cluster: &str, name: &str, machine: &Machine, model: &Model, now: Timestamp) -> Self {
        Host {
            cluster_id: cluster.to_owned(),
            host_id: name.to_owned(),
            status: machine.status(model, now),
            gpu_count: machine.count(),
            expected_gpu_count: machine.expected,
            missing_gpus: machine.missing().iter().map(u32::to_string).collect(),
            last_seen: machine.newest().map(Time),
        }
    }
}

impl Model {
    /// All clusters, by name.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a cursor of another list, and as PostgreSQL answers.
    pub async fn clusters(&self, paging: &Paging) -> Result<Page<Cluster>> {
        let after = match paging.cursor.as_ref().map(Cursor::place) {
            None => None,
            Some(Place::Name(cluster, host)) if host.is_empty() => Some(cluster),
            Some(_) => return Err(Cursor::foreign()),
        };
        let (inventory, now) = (self.inventory(None).await?, Timestamp::now());
        let found = inventory.iter().filter(|(name, _)| after.is_none_or(|after| *name > after)).take(paging.limit + 1);
        let found = found.map(|(name, hosts)| {
            (Cluster::of(name, hosts, self, now), Cursor::at(Place::Name(name.clone(), String::new())))
        });
        Ok(Page::of(found.collect(), paging.limit))
    }

    /// One cluster.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is none of this name.
    pub async fn cluster(&self, cluster_id: &str) -> Result<Cluster> {
        let inventory = self.inventory(Some(cluster_id)).await?;
        Ok(Cluster::of(cluster_id, in_cluster(&inventory, cluster_id)?, self, Timestamp::now()))
    }

    /// The hosts of one cluster or of all, by cluster and name.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a cursor of another list, and as PostgreSQL answers.
    pub async fn hosts(&self, cluster_id: Option<&str>, paging: &Paging) -> Result<Page<Host>> {
        let inventory = self.inventory(cluster_id).await?;
        self.host_page(&inventory, paging)
    }

    /// The hosts of a cluster that has to be there.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such cluster; else as [`Model::hosts`].
    pub async fn hosts_of(&self, cluster_id: &str, paging: &Paging) -> Result<Page<Host>> {
        let inventory = self.inventory(Some(cluster_id)).await?;
        in_cluster(&inventory, cluster_id)?;
        self.host_page(&inventory, paging)
    }

    /// One host.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such cluster, or no such host in it.
    pub async fn host(&self, cluster_id: &str, host_id: &str) -> Result<Host> {
        let inventory = self.inventory(Some(cluster_id)).await?;
        let machine = in_cluster(&inventory, cluster_id)?.get(host_id);
        let machine = machine
            .ok_or_else(|| Error::NotFound(format!("no host {host_id:?} is known in cluster {cluster_id:?}")))?;
        Ok(Host::of(cluster_id, host_id, machine, self, Timestamp::now()))
    }

    fn host_page(&self, inventory: &Inventory, paging: &Paging) -> Result<Page<Host>> {
        let after = match paging.cursor.as_ref().map(Cursor::place) {
            None => None,
            Some(Place::Name(cluster, host)) if !host.is_empty() => Some((cluster, host)),
            Some(_) => return Err(Cursor::foreign()),
        };
        let now = Timestamp::now();
        let all =
            inventory.iter().flat_map(|(cluster, hosts)| hosts.iter().map(move |(name, host)| (cluster, name, host)));
        let found = all
            .filter(|(cluster, name, _)| after.is_none_or(|after| (*cluster, *name) > after))
            .take(paging.limit + 1)
            .map(|(cluster, name, machine)| {
                let place = Place::Name(cluster.clone(), name.clone());
                (Host::of(cluster, name, machine, self, now), Cursor::at(place))
            });
        Ok(Page::of(found.collect(), paging.limit))
    }
}

pub(super) fn in_cluster<'a>(inventory: &'a Inventory, cluster_id: &str) -> Result<&'a BTreeMap<String, Machine>> {
    inventory.get(cluster_id).ok_or_else(|| Error::NotFound(format!("no cluster {cluster_id:?} is known")))
}
