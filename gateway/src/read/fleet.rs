use std::sync::Arc;

use nexus_common::domain::{Status, Timestamp};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use super::cursor::Place;
use super::{Cursor, Error, Model, Page, Paging, Result, Time, described};
use crate::memory::{Fleet, Health, Machine, Machines};

/// A cluster, with what its hosts say together.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Cluster {
    /// Its name, by which it is asked for.
    pub cluster_id: String,
    /// Its name for people: the same.
    pub cluster_name: String,
    /// Degraded where a host is anything but ok.
    #[serde(serialize_with = "word")]
    #[schema(schema_with = described::status)]
    pub status: Status,
    /// Hosts that ever reported.
    pub host_count: u32,
    /// GPUs that ever reported.
    pub gpu_count: u32,
    /// The newest value's time.
    #[schema(required)]
    pub last_seen: Option<Time>,
}

/// A host, with what its GPUs say together.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Host {
    /// The cluster's name.
    pub cluster_id: String,
    /// The host's name.
    pub host_id: String,
    /// Degraded where something is the matter with a GPU: it is missing, silent, sick, throttled, or hot for too long.
    #[serde(serialize_with = "word")]
    #[schema(schema_with = described::status)]
    pub status: Status,
    /// GPUs that ever reported; a MIG GPU is one, and so are a GPU and the one it replaced.
    pub gpu_count: u32,
    /// GPUs it should have: as its highest index tells, and no fewer than most hosts with this model have.
    pub expected_gpu_count: u32,
    /// GPUs it should have and that never reported, and those it goes on without.
    pub missing_gpus: Vec<String>,
    /// The newest value's time.
    #[schema(required)]
    pub last_seen: Option<Time>,
}

/// A status as the API writes it.
pub(super) fn word<S: Serializer>(status: &Status, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_str(status.as_str())
}

impl Cluster {
    pub(super) fn of(name: &str, hosts: &[Arc<Health>], model: &Model, now: Timestamp) -> Self {
        let newest = hosts.iter().filter_map(|host| host.places.newest).max();
        let complete = hosts.iter().all(|host| host.status == Status::Ok);
        Cluster {
            cluster_id: name.to_owned(),
            cluster_name: name.to_owned(),
            status: Status::of(newest, now, model.thresholds().stale_after, complete),
            host_count: u32::try_from(hosts.len()).unwrap_or(u32::MAX),
            gpu_count: hosts.iter().map(|host| host.places.count()).sum(),
            last_seen: newest.map(Time),
        }
    }
}

impl Host {
    fn of(cluster: &str, name: &str, machine: &Machine, model: &Model, now: Timestamp) -> Self {
        let health = machine.health(now, model.thresholds());
        Host {
            cluster_id: cluster.to_owned(),
            host_id: name.to_owned(),
            status: health.status,
            gpu_count: health.places.count(),
            expected_gpu_count: health.expected,
            missing_gpus: health.missing.clone(),
            last_seen: health.places.newest.map(Time),
        }
    }
}

impl Model {
    /// All clusters, by name.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a cursor of another list; [`Error::Unavailable`] before anything is known.
    pub fn clusters(&self, paging: &Paging) -> Result<Page<Cluster>> {
        let after = match paging.cursor.as_ref().map(Cursor::place) {
            None => None,
            Some(Place::Name(cluster, host)) if host.is_empty() => Some(cluster),
            Some(_) => return Err(Cursor::foreign()),
        };
        let (fleet, now) = (self.fleet()?, Timestamp::now());
        let found = fleet.clusters.iter().filter(|(name, _)| after.is_none_or(|after| *name > after));
        let found = found.take(paging.limit + 1).map(|(name, hosts)| {
            (
                Cluster::of(name, &hosts.healths(now, self.thresholds()), self, now),
                Cursor::at(Place::Name(name.clone(), String::new())),
            )
        });
        Ok(Page::of(found.collect(), paging.limit))
    }

    /// One cluster.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is none of this name.
    pub fn cluster(&self, cluster_id: &str) -> Result<Cluster> {
        let (fleet, now) = (self.fleet()?, Timestamp::now());
        let hosts = in_cluster(&fleet, cluster_id)?;
        Ok(Cluster::of(cluster_id, &hosts.healths(now, self.thresholds()), self, now))
    }

    /// The hosts of one cluster or of all, by cluster and name.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a cursor of another list; [`Error::Unavailable`] before anything is known.
    pub fn hosts(&self, cluster_id: Option<&str>, paging: &Paging) -> Result<Page<Host>> {
        let after = match paging.cursor.as_ref().map(Cursor::place) {
            None => None,
            Some(Place::Name(cluster, host)) if !host.is_empty() => Some((cluster, host)),
            Some(_) => return Err(Cursor::foreign()),
        };
        let (fleet, now) = (self.fleet()?, Timestamp::now());
        let clusters = fleet.clusters.iter().filter(|(cluster, _)| cluster_id.is_none_or(|wanted| wanted == *cluster));
        let all = clusters.flat_map(|(cluster, hosts)| hosts.iter().map(move |(name, host)| (cluster, name, host)));
        let found = all
            .filter(|(cluster, name, _)| after.is_none_or(|after| (*cluster, *name) > after))
            .take(paging.limit + 1)
            .map(|(cluster, name, machine)| {
                let place = Place::Name(cluster.clone(), name.clone());
                (Host::of(cluster, name, machine, self, now), Cursor::at(place))
            });
        Ok(Page::of(found.collect(), paging.limit))
    }

    /// The hosts of a cluster that has to be there.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such cluster; else as [`Model::hosts`].
    pub fn hosts_of(&self, cluster_id: &str, paging: &Paging) -> Result<Page<Host>> {
        in_cluster(&*self.fleet()?, cluster_id)?;
        self.hosts(Some(cluster_id), paging)
    }

    /// One host.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such cluster, or no such host in it.
    pub fn host(&self, cluster_id: &str, host_id: &str) -> Result<Host> {
        let fleet = self.fleet()?;
        let machine = in_cluster(&fleet, cluster_id)?.get(host_id);
        let machine = machine
            .ok_or_else(|| Error::NotFound(format!("no host {host_id:?} is known in cluster {cluster_id:?}")))?;
        Ok(Host::of(cluster_id, host_id, machine, self, Timestamp::now()))
    }
}

pub(super) fn in_cluster<'a>(fleet: &'a Fleet, cluster_id: &str) -> Result<&'a Machines> {
    fleet.clusters.get(cluster_id).ok_or_else(|| Error::NotFound(format!("no cluster {cluster_id:?} is known")))
}
