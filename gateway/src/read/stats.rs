use std::collections::BTreeMap;
use std::sync::Arc;

use nexus_common::domain::{Condition, Status, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use super::fleet::{Cluster, in_cluster};
use super::{Model, Result, Time};
use crate::memory::{Distribution, Health};

/// A cluster in figures, all of them over what was reported.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Stats {
    /// The cluster itself.
    #[serde(flatten)]
    pub cluster: Cluster,
    /// Its hosts by state.
    pub hosts: HostCounts,
    /// Its GPUs by state.
    pub gpus: GpuCounts,
    /// Its GPUs by what is the matter with them; a GPU can have several conditions.
    pub conditions: ConditionCounts,
    /// How old its values are.
    pub freshness: Freshness,
    /// How the newest values of its GPUs are spread, by metric. A metric no GPU reported is not in here.
    pub distributions: BTreeMap<&'static str, Distribution>,
}

/// Hosts by state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct HostCounts {
    /// All.
    pub total: u32,
    /// Every GPU is there and reports.
    pub ok: u32,
    /// A GPU is missing or silent.
    pub degraded: u32,
    /// All GPUs are silent.
    pub stale: u32,
    /// Never reported a value.
    pub empty: u32,
}

/// GPUs by state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct GpuCounts {
    /// Those that ever reported.
    pub total: u32,
    /// Those there should be.
    pub expected: u32,
    /// Those there should be and that never reported, and those their host goes on without.
    pub missing: u32,
    /// They report.
    pub ok: u32,
    /// They are silent.
    pub stale: u32,
    /// Never reported a value.
    pub empty: u32,
}

/// GPUs by condition, of whatever severity.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct ConditionCounts {
    /// An error that needs somebody.
    pub sick: u32,
    /// Hotter than they should be.
    pub hot: u32,
    /// Clocks held back for protection.
    pub throttled: u32,
    /// Idle, with memory held.
    pub idle_allocated: u32,
    /// Their host reports without them.
    pub missing: u32,
    /// Silent for too long.
    pub stale: u32,
}

/// How old the newest values of the GPUs are.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Freshness {
    /// Of the GPU that reported last.
    #[schema(required)]
    pub newest: Option<Time>,
    /// Of the GPU that has been silent for longest.
    #[schema(required)]
    pub oldest: Option<Time>,
    /// How long ago `newest` was; below zero where a clock runs ahead.
    #[schema(required)]
    pub age_seconds: Option<f64>,
    /// The age from which a GPU counts as stale.
    pub stale_after_seconds: f64,
}

impl Model {
    /// One cluster in figures.
    ///
    /// # Errors
    /// [`super::Error::NotFound`] where there is none of this name.
    pub fn stats(&self, cluster_id: &str) -> Result<Stats> {
        let fleet = self.fleet()?;
        let (hosts, now) = (in_cluster(&fleet, cluster_id)?, Timestamp::now());
        let healths = hosts.healths(now, self.thresholds());
        Ok(Stats {
            cluster: Cluster::of(cluster_id, &healths, self, now),
            hosts: HostCounts::of(&healths),
            gpus: GpuCounts::of(&healths),
            conditions: ConditionCounts::of(&healths),
            freshness: self.freshness(&healths, now),
            distributions: hosts.spread(now, self.thresholds()).as_ref().clone(),
        })
    }

    fn freshness(&self, healths: &[Arc<Health>], now: Timestamp) -> Freshness {
        let newest = healths.iter().filter_map(|host| host.places.newest).max();
        #[allow(clippy::cast_precision_loss)] // microseconds of an age
        let age = |newest: Timestamp| (now.0 - newest.0) as f64 / 1e6;
        Freshness {
            newest: newest.map(Time),
            oldest: healths.iter().filter_map(|host| host.places.oldest).min().map(Time),
            age_seconds: newest.map(age),
            stale_after_seconds: self.thresholds().stale_after.as_secs_f64(),
        }
    }
}

impl HostCounts {
    fn of(healths: &[Arc<Health>]) -> Self {
        let mut counts = HostCounts::default();
        for health in healths {
            counts.total += 1;
            *match health.status {
                Status::Ok => &mut counts.ok,
                Status::Degraded => &mut counts.degraded,
                Status::Stale => &mut counts.stale,
                Status::Empty => &mut counts.empty,
            } += 1;
        }
        counts
    }
}

impl GpuCounts {
    /// Of one cluster's hosts.
    pub(crate) fn of(healths: &[Arc<Health>]) -> Self {
        let mut counts = GpuCounts::default();
        for Health { places, expected, missing, .. } in healths.iter().map(AsRef::as_ref) {
            counts.total += places.count();
            counts.expected += expected;
            counts.missing += u32::try_from(missing.len()).unwrap_or(u32::MAX);
            counts.ok += places.ok;
            counts.stale += places.stale;
            counts.empty += places.empty;
        }
        counts
    }
}

impl ConditionCounts {
    fn of(healths: &[Arc<Health>]) -> Self {
        let mut counts = ConditionCounts::default();
        for finding in healths.iter().flat_map(|host| host.findings()) {
            *match finding.condition {
                Condition::Sick => &mut counts.sick,
                Condition::Hot => &mut counts.hot,
                Condition::Throttled => &mut counts.throttled,
                Condition::IdleAllocated => &mut counts.idle_allocated,
                Condition::Missing => &mut counts.missing,
                Condition::Stale => &mut counts.stale,
            } += 1;
        }
        counts
    }
}
