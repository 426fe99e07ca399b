//! Clusters and hosts.

use async_graphql::{ComplexObject, Context, SimpleObject};

use super::asked::Asked;
use super::gpu::Gpu;
use super::page::{self, Page};
use super::stats::Stats;
use super::words::Status;
use crate::read;

/// A cluster, with what its hosts say together.
#[derive(SimpleObject)]
#[graphql(complex, rename_fields = "snake_case")]
pub(super) struct Cluster {
    /// Its name, by which it is asked for.
    cluster_id: String,
    /// Its name for people: the same.
    cluster_name: String,
    /// Degraded where a host is anything but ok.
    status: Status,
    /// Hosts that ever reported.
    host_count: u32,
    /// GPUs that ever reported.
    gpu_count: u32,
    /// The newest value's time.
    last_seen: Option<String>,
}

impl From<read::Cluster> for Cluster {
    fn from(cluster: read::Cluster) -> Self {
        let read::Cluster { cluster_id, cluster_name, status, host_count, gpu_count, last_seen } = cluster;
        let (status, last_seen) = (status.into(), last_seen.map(|time| time.0.to_string()));
        Cluster { cluster_id, cluster_name, status, host_count, gpu_count, last_seen }
    }
}

#[ComplexObject(rename_fields = "snake_case", rename_args = "snake_case")]
impl Cluster {
    /// Its hosts, by name.
    async fn hosts(
        &self,
        context: &Context<'_>,
        #[graphql(default = 100)] limit: i32,
        cursor: Option<String>,
    ) -> Option<Vec<Host>> {
        Asked::answer(context, |asked| {
            let paging = page::part(limit, cursor.as_deref())?;
            Ok(page::items(asked.read.hosts_of(&self.cluster_id, &paging)?))
        })
    }

    /// The same, page by page.
    async fn hosts_page(
        &self,
        context: &Context<'_>,
        #[graphql(default = 100)] first: i32,
        after: Option<String>,
    ) -> Option<Page<Host>> {
        Asked::answer(context, |asked| {
            let paging = page::first(first, after.as_deref())?;
            Ok(Page::of(asked.read.hosts_of(&self.cluster_id, &paging)?))
        })
    }

    /// It in figures.
    async fn stats(&self, context: &Context<'_>) -> Option<Stats> {
        Asked::answer(context, |asked| Ok(asked.stats(&self.cluster_id)?.into()))
    }
}

/// A host, with what its GPUs say together.
#[derive(SimpleObject)]
#[graphql(complex, rename_fields = "snake_case")]
pub(super) struct Host {
    /// The cluster's name.
    cluster_id: String,
    /// The host's name.
    host_id: String,
    /// Degraded where something is the matter with a GPU.
    status: Status,
    /// GPUs that ever reported; a MIG GPU is one, and so are a GPU and the one it replaced.
    gpu_count: u32,
    /// GPUs it should have: as its highest index tells, and no fewer than most hosts with this model have.
    expected_gpu_count: u32,
    /// GPUs it should have and that never reported, and those it goes on without.
    missing_gpus: Vec<String>,
    /// The newest value's time.
    last_seen: Option<String>,
}

impl From<read::Host> for Host {
    fn from(host: read::Host) -> Self {
        let read::Host { cluster_id, host_id, status, gpu_count, expected_gpu_count, missing_gpus, last_seen } = host;
        let (status, last_seen) = (status.into(), last_seen.map(|time| time.0.to_string()));
        Host { cluster_id, host_id, status, gpu_count, expected_gpu_count, missing_gpus, last_seen }
    }
}

#[ComplexObject(rename_fields = "snake_case", rename_args = "snake_case")]
impl Host {
    /// The cluster it is in.
    async fn cluster(&self, context: &Context<'_>) -> Option<Cluster> {
        Asked::answer(context, |asked| Ok(asked.cluster(&self.cluster_id)?.into()))
    }

    /// Its GPUs, by index.
    async fn gpus(
        &self,
        context: &Context<'_>,
        #[graphql(default = 100)] limit: i32,
        cursor: Option<String>,
    ) -> Option<Vec<Gpu>> {
        Asked::answer(context, |asked| {
            let paging = page::part(limit, cursor.as_deref())?;
            Ok(page::items(asked.read.gpus_of(&self.cluster_id, &self.host_id, &paging)?))
        })
    }

    /// The same, page by page.
    async fn gpus_page(
        &self,
        context: &Context<'_>,
        #[graphql(default = 100)] first: i32,
        after: Option<String>,
    ) -> Option<Page<Gpu>> {
        Asked::answer(context, |asked| {
            let paging = page::first(first, after.as_deref())?;
            Ok(Page::of(asked.read.gpus_of(&self.cluster_id, &self.host_id, &paging)?))
        })
    }
}
