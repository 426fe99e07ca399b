//! A cluster in figures.

use std::collections::BTreeMap;

use async_graphql::{Json, SimpleObject};

use super::words::Status;
use crate::memory::Distribution;
use crate::read;

/// A cluster in figures, all of them over what was reported.
#[derive(SimpleObject)]
#[graphql(rename_fields = "snake_case")]
pub(super) struct Stats {
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
    /// Its hosts by state.
    hosts: HostCounts,
    /// Its GPUs by state.
    gpus: GpuCounts,
    /// Its GPUs by what is the matter with them; a GPU can have several conditions.
    conditions: ConditionCounts,
    /// How old its values are.
    freshness: Freshness,
    /// How the newest values of its GPUs are spread, an object as in REST: metric to unit, count, stale, min, avg, p50,
    /// p95 and max. A metric no GPU reported is not in here.
    distributions: Json<BTreeMap<&'static str, Distribution>>,
}

/// Hosts by state.
#[derive(SimpleObject)]
#[graphql(rename_fields = "snake_case")]
pub(super) struct HostCounts {
    /// All.
    total: u32,
    /// Every GPU is there and reports.
    ok: u32,
    /// Something is the matter with a GPU.
    degraded: u32,
    /// All GPUs are silent.
    stale: u32,
    /// Never reported a value.
    empty: u32,
}

/// GPUs by state.
#[derive(SimpleObject)]
#[graphql(rename_fields = "snake_case")]
pub(super) struct GpuCounts {
    /// Those that ever reported.
    total: u32,
    /// Those there should be.
    expected: u32,
    /// Those there should be and that never reported, and those their host goes on without.
    missing: u32,
    /// They report.
    ok: u32,
    /// They are silent.
    stale: u32,
    /// Never reported a value.
    empty: u32,
}

/// GPUs by condition, of whatever severity.
#[derive(SimpleObject)]
#[graphql(rename_fields = "snake_case")]
pub(super) struct ConditionCounts {
    /// An error that needs somebody.
    sick: u32,
    /// Hotter than they should be.
    hot: u32,
    /// Clocks held back for protection.
    throttled: u32,
    /// Idle, with memory held.
    idle_allocated: u32,
    /// Their host reports without them.
    missing: u32,
    /// Silent for too long.
    stale: u32,
}

/// How old the newest values of the GPUs are.
#[derive(SimpleObject)]
#[graphql(rename_fields = "snake_case")]
pub(super) struct Freshness {
    /// Of the GPU that reported last.
    newest: Option<String>,
    /// Of the GPU that has been silent for longest.
    oldest: Option<String>,
    /// How long ago `newest` was; below zero where a clock runs ahead.
    age_seconds: Option<f64>,
    /// The age from which a GPU counts as stale.
    stale_after_seconds: f64,
}

impl From<read::Stats> for Stats {
    fn from(stats: read::Stats) -> Self {
        let read::Stats { cluster, hosts, gpus, conditions, freshness, distributions } = stats;
        let text = |time: Option<read::Time>| time.map(|time| time.0.to_string());
        Stats {
            cluster_id: cluster.cluster_id,
            cluster_name: cluster.cluster_name,
            status: cluster.status.into(),
            host_count: cluster.host_count,
            gpu_count: cluster.gpu_count,
            last_seen: text(cluster.last_seen),
            hosts: hosts.into(),
            gpus: gpus.into(),
            conditions: conditions.into(),
            freshness: Freshness {
                newest: text(freshness.newest),
                oldest: text(freshness.oldest),
                age_seconds: freshness.age_seconds,
                stale_after_seconds: freshness.stale_after_seconds,
            },
            distributions: Json(distributions),
        }
    }
}

impl From<read::HostCounts> for HostCounts {
    fn from(counts: read::HostCounts) -> Self {
        let read::HostCounts { total, ok, degraded, stale, empty } = counts;
        HostCounts { total, ok, degraded, stale, empty }
    }
}

impl From<read::GpuCounts> for GpuCounts {
    fn from(counts: read::GpuCounts) -> Self {
        let read::GpuCounts { total, expected, missing, ok, stale, empty } = counts;
        GpuCounts { total, expected, missing, ok, stale, empty }
    }
}

impl From<read::ConditionCounts> for ConditionCounts {
    fn from(counts: read::ConditionCounts) -> Self {
        let read::ConditionCounts { sick, hot, throttled, idle_allocated, missing, stale } = counts;
        ConditionCounts { sick, hot, throttled, idle_allocated, missing, stale }
    }
}
