//! How the newest values of a cluster are spread over its GPUs (pure).

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use nexus_common::domain::{Metric, Timestamp, is_silent};
use serde::Serialize;
use utoipa::ToSchema;

use super::Machine;
use super::kept::holds;

/// How the newest values of one metric are spread over the GPUs.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Distribution {
    /// Of the values.
    pub unit: &'static str,
    /// GPUs that reported it.
    pub count: usize,
    /// Those of them whose value is stale; they are counted in all the same.
    pub stale: usize,
    /// The smallest.
    pub min: f64,
    /// The mean.
    pub avg: f64,
    /// Half of them are no larger.
    pub p50: f64,
    /// 95 of 100 are no larger.
    pub p95: f64,
    /// The largest.
    pub max: f64,
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

/// Distributions by metric.
pub(crate) type Spread = BTreeMap<&'static str, Distribution>;

/// The distributions of one cluster, and when they hold where nothing is reported.
pub(super) fn spread(
    hosts: &BTreeMap<String, Machine>,
    now: Timestamp,
    stale_after: Duration,
) -> (Spread, RangeInclusive<Timestamp>) {
    let gpus = || hosts.values().flat_map(|machine| machine.gpus().values());
    let (mut spread, mut all_times) = (BTreeMap::new(), Vec::new());
    for name in SUMMED_UP {
        let metric = Metric::named(name);
        let readings: Vec<_> = gpus().filter_map(|gpu| gpu.reading(&metric)).collect();
        let times = || readings.iter().map(|(_, at)| *at);
        let stale = times().filter(|at| is_silent(*at, now, stale_after)).count();
        all_times.extend(times());
        let unit = metric.definition().map_or("", |definition| definition.unit);
        let values = readings.iter().map(|(value, _)| *value).collect();
        spread.extend(Distribution::of(unit, values, stale).map(|distribution| (name, distribution)));
    }
    (spread, holds(all_times.into_iter(), now, stale_after))
}

impl Distribution {
    /// `None` where there is no value.
    #[allow(clippy::cast_precision_loss)] // numbers of GPUs
    fn of(unit: &'static str, mut values: Vec<f64>, stale: usize) -> Option<Self> {
        values.sort_unstable_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        Some(Distribution {
            unit,
            count: values.len(),
            stale,
            min,
            avg: values.iter().sum::<f64>() / values.len() as f64,
            p50: percentile(&values, 0.5),
            p95: percentile(&values, 0.95),
            max,
        })
    }
}

/// Of sorted values, between two neighbours in proportion, as PostgreSQL's `percentile_cont` does.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // numbers of GPUs
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let place = share * sorted.len().saturating_sub(1) as f64;
    let (low, high) = (sorted.get(place.floor() as usize), sorted.get(place.ceil() as usize));
    match (low, high) {
        (Some(low), Some(high)) => low + (high - low) * place.fract(),
        _ => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_says_how_values_are_spread() {
        let spread = Distribution::of("W", vec![4.0, 1.0, 3.0, 2.0], 1).unwrap();
        assert_eq!((spread.count, spread.stale, spread.min, spread.max), (4, 1, 1.0, 4.0));
        assert_eq!((spread.avg, spread.p50), (2.5, 2.5));
        assert!((spread.p95 - 3.85).abs() < 1e-12);
        assert_eq!(Distribution::of("W", vec![7.0], 0).unwrap().p95, 7.0);
        assert_eq!(Distribution::of("W", Vec::new(), 0), None);
    }
}
