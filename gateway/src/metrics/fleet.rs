//! The GPUs as metrics: how many are how, and by name only those with which something is the matter. All of it is in memory;
//! how many collectors are alive is asked of etcd.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use nexus_common::domain::{Condition, Severity, Sign, Thresholds, Timestamp, reasons};
use nexus_common::etcd::Client;
use nexus_common::queue::{Keys, Role};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use tokio::time::timeout;

use crate::memory::{self, Memory};
use crate::read::GpuCounts;

/// Where a scrape asks.
#[derive(Debug, Clone)]
pub struct Fleet {
    memory: Memory,
    client: Client,
    keys: Keys,
    /// Conditions that may have a series of their own.
    most: usize,
}

/// What one look found. Nothing of GPUs where the memory is not filled yet: no figure is better than a wrong one.
#[derive(Debug, Default)]
pub(super) struct Gpus {
    cluster_id: String,
    seen: Option<Seen>,
    collectors: Option<i64>,
}

#[derive(Debug, Default, PartialEq)]
struct Seen {
    clusters: BTreeMap<String, Counts>,
    active: Vec<Active>,
    left_out: usize,
}

/// One cluster in numbers.
#[derive(Debug, Default, PartialEq)]
struct Counts {
    gpus: GpuCounts,
    /// GPUs by condition and severity; one can have several conditions.
    conditions: BTreeMap<(Condition, Severity), u32>,
}

/// A reason that holds, and where.
#[derive(Debug, Clone, PartialEq)]
struct Active {
    cluster: String,
    host: String,
    gpu: String,
    uuid: String,
    condition: Option<Condition>,
    severity: Severity,
    reason: String,
}

impl Fleet {
    /// Over a gateway's memory, and the etcd of its cluster. At most `most` conditions get a series of their own.
    pub fn new(memory: Memory, client: Client, keys: Keys, most: u32) -> Self {
        Fleet { memory, client, keys, most: usize::try_from(most).unwrap_or(usize::MAX) }
    }

    /// Looks; etcd has `patience` to answer.
    pub(super) async fn look(&self, patience: Duration) -> Gpus {
        let Fleet { memory, client, keys, most } = self;
        let collectors = keys.members(Role::Collector.as_str());
        let collectors = timeout(patience, client.count(&collectors)).await.ok().and_then(Result::ok);
        let seen = memory.is_seeded().then(|| Seen::of(&memory.fleet(), Timestamp::now(), memory.thresholds(), *most));
        Gpus { cluster_id: keys.cluster_id().to_owned(), seen, collectors }
    }
}

impl Seen {
    /// Counts all, and names what matters most: at most `most`, the most severe first.
    fn of(fleet: &memory::Fleet, now: Timestamp, thresholds: &Thresholds, most: usize) -> Seen {
        let mut seen = Seen::default();
        let mut active = BTreeMap::<Severity, Vec<Active>>::new();
        for (cluster, hosts) in &fleet.clusters {
            let counts = seen.clusters.entry(cluster.clone()).or_default();
            let healths = hosts.healths(now, thresholds);
            counts.gpus = GpuCounts::of(&healths);
            for finding in healths.iter().flat_map(|health| health.findings()) {
                *counts.conditions.entry((finding.condition, finding.severity)).or_default() += 1;
            }
            for (host, machine) in hosts {
                let mut tell = |gpu: &str, uuid: Option<&str>, signs: &[Sign]| {
                    for reason in reasons(signs, thresholds) {
                        let named = active.entry(reason.severity).or_default();
                        if named.len() >= most {
                            seen.left_out += 1;
                            continue;
                        }
                        named.push(Active {
                            cluster: cluster.clone(),
                            host: host.clone(),
                            gpu: gpu.to_owned(),
                            uuid: uuid.unwrap_or_default().to_owned(),
                            condition: reason.condition,
                            severity: reason.severity,
                            reason: reason.word.into_owned(),
                        });
                    }
                };
                for gpu in machine.gpus().values() {
                    let identity = &gpu.identity;
                    tell(&identity.gpu_id, identity.uuid.as_deref(), &machine.signs(gpu, now, thresholds));
                }
                for index in machine.host().never_seen() {
                    let index = index.to_string();
                    tell(&index, None, &machine.never_seen_signs(&index, now, thresholds));
                }
            }
        }
        seen.active = active.into_values().rev().flatten().collect();
        seen.left_out += seen.active.len().saturating_sub(most);
        seen.active.truncate(most);
        seen
    }
}

impl Collector for Gpus {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let own = self.cluster_id.as_str();
        if let Some(collectors) = self.collectors {
            let help = "Collectors whose session etcd holds, as this gateway sees it";
            let mut family = encoder.encode_descriptor("nexus_gateway_collectors", help, None, MetricType::Gauge)?;
            ConstGauge::new(collectors).encode(family.encode_family(&[("cluster", own)])?)?;
        }
        let Some(seen) = &self.seen else { return Ok(()) };
        let help = "GPUs by state, as /api/v1/clusters/{cluster_id}/stats counts them: a missing one can be stale too";
        let mut family = encoder.encode_descriptor("nexus_gpus", help, None, MetricType::Gauge)?;
        for (cluster, counts) in &seen.clusters {
            let GpuCounts { missing, ok, stale, empty, .. } = counts.gpus;
            for (status, count) in [("ok", ok), ("stale", stale), ("missing", missing), ("empty", empty)] {
                let labels = [("cluster", cluster.as_str()), ("status", status)];
                ConstGauge::new(i64::from(count)).encode(family.encode_family(&labels)?)?;
            }
        }
        let help = "GPUs by what is the matter with them, and how much it matters; one can have several conditions";
        let mut family = encoder.encode_descriptor("nexus_gpu_conditions", help, None, MetricType::Gauge)?;
        for (cluster, counts) in &seen.clusters {
            let each = Condition::ALL.into_iter().flat_map(|one| Severity::ALL.map(|severity| (one, severity)));
            for (condition, severity) in each {
                let count = counts.conditions.get(&(condition, severity)).copied().unwrap_or_default();
                let labels =
                    [("cluster", cluster.as_str()), ("condition", condition.as_str()), ("severity", severity.as_str())];
                ConstGauge::new(i64::from(count)).encode(family.encode_family(&labels)?)?;
            }
        }
        let help =
            "1 for each reason of each condition that holds. A condition none: an XID that is no fault of the GPU";
        let mut family = encoder.encode_descriptor("nexus_gpu_condition", help, None, MetricType::Gauge)?;
        for active in &seen.active {
            let labels = [
                ("cluster", active.cluster.as_str()),
                ("host", active.host.as_str()),
                ("gpu", active.gpu.as_str()),
                ("uuid", active.uuid.as_str()),
                ("condition", active.condition.map_or("none", Condition::as_str)),
                ("severity", active.severity.as_str()),
                ("reason", active.reason.as_str()),
            ];
            ConstGauge::new(1_i64).encode(family.encode_family(&labels)?)?;
        }
        let help = "Reasons beyond METRICS_MAX_CONDITIONS, the mildest, which have no series in nexus_gpu_condition";
        let mut family = encoder.encode_descriptor("nexus_gpu_conditions_left_out", help, None, MetricType::Gauge)?;
        let left_out = i64::try_from(seen.left_out).unwrap_or(i64::MAX);
        ConstGauge::new(left_out).encode(family.encode_family(&[("cluster", own)])?)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use nexus_common::domain::Metric;
    use prometheus_client::encoding::text::encode_registry;
    use prometheus_client::registry::Registry;
    use serde_json::Value;

    use super::*;
    use crate::memory::{Entry, Gpu, Identity};

    const NOW: Timestamp = Timestamp(1_750_000_000_000_000);

    /// A fleet of GPUs on `host`: index and the readings of now.
    fn fleet(host: &str, gpus: &[(&str, &[(&str, f64)])]) -> memory::Fleet {
        let mut fleet = memory::Fleet::default();
        for (id, (index, readings)) in (1..).zip(gpus) {
            let uuid = Some(format!("GPU-{index}"));
            let identity =
                Identity { id, gpu_id: (*index).to_owned(), uuid, model: None, device: None, labels: Value::Null };
            let mut gpu = Gpu::new(identity);
            for (name, value) in *readings {
                gpu.take(&Metric::named(name), *value, NOW);
            }
            fleet.enter(Entry { cluster_id: "c".to_owned(), host_id: host.to_owned(), gpu });
        }
        let named = [("c".to_owned(), None), ("c".to_owned(), Some(host.to_owned()))].into();
        fleet.settle(&HashSet::from_iter(1..=i32::try_from(gpus.len()).unwrap()), &named);
        fleet
    }

    fn seen(fleet: &memory::Fleet, most: usize) -> Seen {
        Seen::of(fleet, NOW, &Thresholds::default(), most)
    }

    fn text(seen: Option<Seen>) -> String {
        let gpus = Gpus { cluster_id: "c".to_owned(), seen, collectors: Some(2) };
        let mut registry = Registry::default();
        registry.register_collector(Box::new(gpus));
        let mut text = String::new();
        encode_registry(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn what_is_the_matter_is_named_with_its_reason() {
        let power = &[("power_watts", 300.0)][..];
        // Index 2 never came: the highest says that there should be one.
        let sick = &[("xid", 79.0), ("clock_event_reasons", 72.0)][..];
        let text = text(Some(seen(&fleet("h \"1\"", &[("0", power), ("1", sick), ("3", power)]), 10)));
        let place = r#"cluster="c",host="h \"1\"",gpu="1",uuid="GPU-1""#;
        for line in [
            r#"nexus_gateway_collectors{cluster="c"} 2"#.to_owned(),
            r#"nexus_gpus{cluster="c",status="ok"} 3"#.to_owned(),
            r#"nexus_gpus{cluster="c",status="missing"} 1"#.to_owned(),
            r#"nexus_gpu_conditions{cluster="c",condition="sick",severity="critical"} 1"#.to_owned(),
            r#"nexus_gpu_conditions{cluster="c",condition="hot",severity="warning"} 0"#.to_owned(),
            format!(r#"nexus_gpu_condition{{{place},condition="sick",severity="critical",reason="xid_79"}} 1"#),
            format!(r#"nexus_gpu_condition{{{place},condition="throttled",severity="warning",reason="hardware_thermal"}} 1"#),
            r#"nexus_gpu_condition{cluster="c",host="h \"1\"",gpu="2",uuid="",condition="missing",severity="critical",reason="missing"} 1"#.to_owned(),
            r#"nexus_gpu_conditions_left_out{cluster="c"} 0"#.to_owned(),
        ] {
            assert!(text.lines().any(|given| given == line), "{line}: {text}");
        }
        let named = text.lines().filter(|line| line.starts_with("nexus_gpu_condition{")).count();
        assert_eq!(named, 3, "{text}");
    }

    #[test]
    fn an_application_that_failed_is_told_and_makes_no_gpu_sick() {
        let text = text(Some(seen(&fleet("h", &[("0", &[("xid", 31.0)])]), 10)));
        assert!(text.contains(r#"condition="none",severity="warning",reason="xid_31"} 1"#), "{text}");
        assert!(text.contains(r#"nexus_gpu_conditions{cluster="c",condition="sick",severity="critical"} 0"#), "{text}");
    }

    #[test]
    fn the_mildest_are_left_out_and_counted() {
        let (info, hot, sick) = (&[("xid", 63.0)][..], &[("temperature_celsius", 90.0)][..], &[("xid", 79.0)][..]);
        let gpus = [("0", info), ("1", hot), ("2", sick), ("3", info), ("4", sick), ("5", sick)];
        let fleet = fleet("h", &gpus);
        for (most, named) in [(0, ""), (2, "24"), (3, "245"), (4, "2450"), (6, "245013")] {
            let seen = seen(&fleet, most);
            let gpus: String = seen.active.iter().map(|active| active.gpu.as_str()).collect();
            assert_eq!((gpus.as_str(), seen.left_out), (named, 6 - most), "{most}");
            let counted: HashMap<_, _> = seen.clusters["c"].conditions.iter().collect();
            assert_eq!(counted[&(Condition::Sick, Severity::Critical)], &3);
        }
    }

    #[test]
    fn before_the_memory_is_filled_nothing_is_said_of_gpus() {
        let text = text(None);
        assert!(!text.contains("nexus_gpu"), "{text}");
    }
}
