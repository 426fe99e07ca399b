use std::collections::{BTreeMap, HashMap};

use nexus_common::domain::{Metric, Status, Timestamp};
use serde::Serialize;

use super::fleet::{Cluster, in_cluster};
use super::inventory::Machine;
use super::{Model, Result, Time};

/// A cluster in figures, all of them over what was reported.
#[derive(Debug, Clone, Serialize)]
pub struct Stats {
    /// The cluster itself.
    #[serde(flatten)]
    pub cluster: Cluster,
    /// Its hosts by state.
    pub hosts: HostCounts,
    /// Its GPUs by state.
    pub gpus: GpuCounts,
    /// How old its values are.
    pub freshness: Freshness,
    /// How the newest values of its GPUs are spread, by metric. A metric no GPU reported is not in here.
    pub distributions: BTreeMap<&'static str, Distribution>,
}

/// Hosts by state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
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
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct GpuCounts {
    /// Those that ever reported.
    pub total: u32,
    /// Those there should be.
    pub expected: u32,
    /// Those there should be and that never reported.
    pub missing: u32,
    /// They report.
    pub ok: u32,
    /// They are silent.
    pub stale: u32,
    /// Never reported a value.
    pub empty: u32,
}

/// How old the newest values of the GPUs are.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Freshness {
    /// Of the GPU that reported last.
    pub newest: Option<Time>,
    /// Of the GPU that has been silent for longest.
    pub oldest: Option<Time>,
    /// How long ago `newest` was; below zero where a clock runs ahead.
    pub age_seconds: Option<f64>,
    /// The age from which a GPU counts as stale.
    pub stale_after_seconds: f64,
}

/// How the newest values of one metric are spread over the GPUs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Distribution {
    /// Of the values.
    pub unit: &'static str,
    /// GPUs that reported it.
    pub count: i64,
    /// Those of them whose value is stale; they are counted in all the same.
    pub stale: i64,
    /// The smallest.
    pub min: f64,
    /// The mean.
    pub avg: f64,
    /// The largest.
    pub max: f64,
    /// 95 of 100 are no larger.
    pub p95: f64,
}

/// What is summed up: utilisation, temperature, power and memory.
const SUMMED_UP: [&str; 6] = [
    "gpu_utilization",
    "memory_utilization",
    "temperature_celsius",
    "power_watts",
    "memory_used_mib",
    "memory_free_mib",
];

impl Model {
    /// One cluster in figures.
    ///
    /// # Errors
    /// [`super::Error::NotFound`] where there is none of this name.
    pub async fn stats(&self, cluster_id: &str) -> Result<Stats> {
        let inventory = self.inventory(Some(cluster_id)).await?;
        let (hosts, now) = (in_cluster(&inventory, cluster_id)?, Timestamp::now());
        Ok(Stats {
            cluster: Cluster::of(cluster_id, hosts, self, now),
            hosts: self.count_hosts(hosts, now),
            gpus: self.count_gpus(hosts, now),
            freshness: self.freshness(hosts, now),
            distributions: self.distributions(cluster_id, now).await?,
        })
    }

    fn count_hosts(&self, hosts: &BTreeMap<String, Machine>, now: Timestamp) -> HostCounts {
        let mut counts = HostCounts::default();
        for host in hosts.values() {
            counts.total += 1;
            *match host.status(self, now) {
                Status::Ok => &mut counts.ok,
                Status::Degraded => &mut counts.degraded,
                Status::Stale => &mut counts.stale,
                Status::Empty => &mut counts.empty,
            } += 1;
        }
        counts
    }

    fn count_gpus(&self, hosts: &BTreeMap<String, Machine>, now: Timestamp) -> GpuCounts {
        let mut counts = GpuCounts::default();
        for host in hosts.values() {
            counts.total += host.count();
            counts.expected += host.expected;
            counts.missing += u32::try_from(host.missing().len()).unwrap_or(u32::MAX);
            for seen in host.times() {
                *match seen {
                    None => &mut counts.empty,
                    Some(seen) if self.is_stale(seen, now) => &mut counts.stale,
                    Some(_) => &mut counts.ok,
                } += 1;
            }
        }
        counts
    }

    fn freshness(&self, hosts: &BTreeMap<String, Machine>, now: Timestamp) -> Freshness {
        let seen = || hosts.values().flat_map(Machine::times).flatten();
        let newest = seen().max();
        #[allow(clippy::cast_precision_loss)] // microseconds of an age
        let age = |newest: Timestamp| (now.0 - newest.0) as f64 / 1e6;
        Freshness {
            newest: newest.map(Time),
            oldest: seen().min().map(Time),
            age_seconds: newest.map(age),
            stale_after_seconds: self.stale_after.as_secs_f64(),
        }
    }

    async fn distributions(&self, cluster_id: &str, now: Timestamp) -> Result<BTreeMap<&'static str, Distribution>> {
        let metrics = SUMMED_UP.map(|name| format!("('{name}', l.{name}, l.{name}_at)")).join(", ");
        let sql = include_str!("stats.sql").replace("/* metrics */", &metrics);
        let stale_after = i64::try_from(self.stale_after.as_micros()).unwrap_or(i64::MAX);
        let rows = self.query(&sql, &[&cluster_id, &now.shifted(stale_after.saturating_neg())]).await?;
        let rows =
            rows.iter().map(|row| Ok((self.column::<String>(row, "name")?, row))).collect::<Result<HashMap<_, _>>>()?;
        let mut distributions = BTreeMap::new();
        for name in SUMMED_UP {
            let Some(row) = rows.get(name) else { continue };
            let unit = Metric::named(name).definition().map_or("", |definition| definition.unit);
            let distribution = Distribution {
                unit,
                count: self.column(row, "count")?,
                stale: self.column(row, "stale")?,
                min: self.column(row, "min")?,
                avg: self.column(row, "avg")?,
                max: self.column(row, "max")?,
                p95: self.column(row, "p95")?,
            };
            distributions.insert(name, distribution);
        }
        Ok(distributions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_summed_up_is_in_the_catalogue() {
        for name in SUMMED_UP {
            assert_eq!(Metric::named(name).definition().unwrap().name, name);
        }
    }
}
