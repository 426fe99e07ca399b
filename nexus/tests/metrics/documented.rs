//! `docs/METRICS.md` says what the components tell: rendered from what a running stack tells, and compared here.
//!
//! `make docs` writes it anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use nexus_common::testing::{self, Authority};

use crate::archived::archiving_by;
use crate::stack::Stack;
use crate::world::PATIENCE;

const INTRODUCTION: &str = "# Metrics

Streamer and collector serve `/metrics` on METRICS_ADDR (127.0.0.1:9101 and 127.0.0.1:9102), the gateway on its own port, all
in Prometheus' text format 0.0.4:

`deployments/prometheus/prometheus.yml` scrapes all three, under the job names that its rules go by.

Everything but `process_…` bears the label `cluster`. No metric has a series for each lane, batch or value. Histograms have
`_bucket`, `_sum` and `_count`; their label `le` is left out here. This file is rendered by `make docs` from a running stack.
What the backup scripts leave for a node exporter (`nexus_backup_…`) is in [BACKUP.md](BACKUP.md).

| metric | type | unit | labels | told by | meaning |
|---|---|---|---|---|---|
";

/// What is not even described until it is known. What is described and has no series yet is waited for without being named.
const LATE: [&str; 7] = [
    "nexus_audit_balanced",
    "nexus_etcd_db_size_bytes",
    "nexus_gateway_collectors",
    "nexus_gateway_feed_revision",
    "nexus_gpus",
    "nexus_postgres_archive_waiting_bytes",
    "nexus_rollup_todo",
];

#[derive(Default)]
struct Metric {
    kind: String,
    help: String,
    /// Told with a value: only then its labels are known.
    has_series: bool,
    labels: BTreeSet<String>,
    told_by: BTreeSet<&'static str>,
}

/// Takes in what a component tells.
fn take_in(metrics: &mut BTreeMap<String, Metric>, role: &'static str, scrape: &str) {
    for line in scrape.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(name), help) => {
                let metric = metrics.entry(name.to_owned()).or_default();
                let help = help.unwrap_or_default();
                assert!(metric.help.is_empty() || metric.help == help, "{name} means different things");
                metric.help = help.to_owned();
                metric.told_by.insert(role);
            }
            (Some("#"), Some("TYPE"), Some(name), kind) => {
                metrics.get_mut(name).unwrap().kind = kind.unwrap_or_default().to_owned();
            }
            _ => {
                let series = &line[..line.find(['{', ' ']).unwrap()];
                let name = ["_bucket", "_sum", "_count"].iter().find_map(|part| {
                    let name = series.strip_suffix(part)?;
                    metrics.get(name).is_some_and(|metric| metric.kind == "histogram").then_some(name)
                });
                let metric = metrics.get_mut(name.unwrap_or(series)).unwrap_or_else(|| panic!("{line}: not described"));
                metric.has_series = true;
                metric.labels.extend(labels(line));
            }
        }
    }
}

/// The names of a series' labels, but for those that all have.
fn labels(line: &str) -> impl Iterator<Item = String> {
    let inside = line.find('{').and_then(|from| Some(&line[from + 1..line.rfind('}')?])).unwrap_or_default();
    // A name stands before `="`; values of ours hold no such thing.
    let names = inside.split("=\"").map(|before| before.rsplit([',', '"']).next().unwrap_or_default());
    let known =
        names.filter(|name| !["", "cluster", "le"].contains(name) && name.bytes().all(|c| c.is_ascii_lowercase()));
    known.map(str::to_owned).collect::<Vec<_>>().into_iter()
}

/// By the name's own words.
fn unit(name: &str) -> &'static str {
    let mut words = name.rsplit('_');
    words
        .find_map(|word| {
            ["seconds", "bytes", "rows", "batches", "messages", "frames"].into_iter().find(|unit| *unit == word)
        })
        .unwrap_or("")
}

fn rendered(metrics: &BTreeMap<String, Metric>) -> String {
    let mut text = INTRODUCTION.to_owned();
    for (name, metric) in metrics {
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let told_by: Vec<_> = metric.told_by.iter().copied().collect();
        let told_by = if told_by.len() == 3 { "all".to_owned() } else { told_by.join(", ") };
        let (kind, unit, labels, help) = (&metric.kind, unit(name), labels.join(" "), metric.help.replace('|', "\\|"));
        writeln!(text, "| `{name}` | {kind} | {unit} | {labels} | {told_by} | {help} |").unwrap();
    }
    text
}

/// What the table lacks still: metrics that nobody has described, and those without a series.
fn lacking(metrics: &BTreeMap<String, Metric>) -> Vec<String> {
    let late = LATE.into_iter().filter(|name| !metrics.contains_key(*name)).map(str::to_owned);
    let bare = metrics.iter().filter(|(_, metric)| !metric.has_series).map(|(name, _)| name.clone());
    late.chain(bare).collect()
}

/// All that the stack tells, once there is a series of each: a look comes too soon on a machine that is slow or one that is
/// fast, and what was told once stays.
async fn everything(stack: &Stack) -> BTreeMap<String, Metric> {
    let mut metrics = BTreeMap::new();
    let whole = async {
        let mut looks = tokio::time::interval(Duration::from_millis(50));
        loop {
            looks.tick().await;
            for role in ["streamer", "collector", "gateway"] {
                take_in(&mut metrics, role, &stack.scrape(role).await);
            }
            if lacking(&metrics).is_empty() {
                break;
            }
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, whole).await.is_ok();
    assert!(in_time, "not told in {PATIENCE:?}, or without a series: {:?}", lacking(&metrics));
    metrics
}

#[tokio::test]
async fn the_table_of_metrics_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs/METRICS.md");
    // Its rows are of long ago: what is the matter with each GPU is that it is stale. The certificate nobody asks for.
    let folder = testing::folder();
    let certificate = Authority::new("ours").issue("client").write(folder.path(), "client");
    let [cert, key] = certificate.each_ref().map(|path| path.to_str().unwrap());
    let world = archiving_by("true").await;
    let stack = Stack::on(world, 100, &[("DB_CERT_FILE", cert), ("DB_KEY_FILE", key)]).await;
    stack.until("collector", "nexus_collector_rows_total", 100.0).await;
    let rendered = rendered(&everything(&stack).await);
    if std::env::var_os("NEXUS_WRITE_DOCS").is_some() {
        std::fs::write(&path, &rendered).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == rendered, "docs/METRICS.md is out of date: run make docs\n{rendered}");
    stack.stop().await;
}
