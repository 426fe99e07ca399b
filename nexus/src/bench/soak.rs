//! Hours of churn at one rate: what grows, and what stays as it was.
//!
//! A generated export is looped in step with the clock through two collectors, with a gateway that one live client
//! listens to. Every few seconds everything that could grow is written down; what grew is told by the first quarter of
//! the run (its start left out) against the last.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use futures_util::StreamExt;
use serde::Serialize;
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::plot::{Along, Series, plot};
use super::process::Usage;
use super::stack::{Stack, keys};
use super::{Options, say};

/// Seconds of telemetry in the file that is looped.
const FILE_SECONDS: u32 = 60;
/// Metrics of a GPU, a row each.
const METRICS: u32 = 10;
/// Connections, partitions and the registry are made in this part of a run: it is no measure of growth.
const WARM_UP: f64 = 0.1;
/// Growth from the first quarter to the last from which on something is called growing.
const GROWS: f64 = 1.2;

/// Everything at one moment.
#[derive(Debug, Clone, Serialize)]
struct Moment {
    minute: f64,
    etcd_file_mib: f64,
    etcd_used_mib: f64,
    queued_rows: u64,
    stored_rows: u64,
    rows_per_second: f64,
    /// From publish to COMMIT, of what was stored since the moment before.
    latency_p50_ms: f64,
    latency_p99_ms: f64,
    streamer: Usage,
    collector: Usage,
    gateway: Usage,
}

/// What a run came to.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    mode: &'static str,
    minutes: f64,
    rate: u32,
    moments: Vec<Moment>,
    growth: Vec<Growth>,
    /// `nexus audit` at the end.
    balanced: bool,
}

/// One thing over the run.
#[derive(Debug, Serialize)]
struct Growth {
    what: &'static str,
    unit: &'static str,
    /// Median of the first quarter, and of the last.
    first: f64,
    last: f64,
    max: f64,
    grows: bool,
}

/// What is watched: its name, its unit, and from where on growth counts, so that 1 MiB more of 2 is none.
type Watched = (&'static str, &'static str, f64, fn(&Moment) -> f64);

const WATCHED: [Watched; 14] = [
    ("etcd's file", "MiB", 64.0, |now| now.etcd_file_mib),
    ("etcd in use", "MiB", 32.0, |now| now.etcd_used_mib),
    ("queue", "rows", 20_000.0, |now| now.queued_rows as f64),
    ("publish to COMMIT p50", "ms", 200.0, |now| now.latency_p50_ms),
    ("publish to COMMIT p99", "ms", 1_000.0, |now| now.latency_p99_ms),
    ("streamer's memory", "MiB", 16.0, |now| now.streamer.rss_mib),
    ("collector's memory", "MiB", 32.0, |now| now.collector.rss_mib),
    ("gateway's memory", "MiB", 32.0, |now| now.gateway.rss_mib),
    ("streamer's threads", "", 8.0, |now| now.streamer.threads as f64),
    ("collector's threads", "", 8.0, |now| now.collector.threads as f64),
    ("gateway's threads", "", 8.0, |now| now.gateway.threads as f64),
    ("streamer's open files", "", 16.0, |now| now.streamer.files as f64),
    ("collector's open files", "", 16.0, |now| now.collector.files as f64),
    ("gateway's open files", "", 16.0, |now| now.gateway.files as f64),
];

/// Runs for so long at so many rows a second; the plot goes to `report`, if there is one.
///
/// # Errors
/// Where something ends that should not, or nothing was measured.
pub(super) async fn measure(dir: Option<&Path>, options: &Options) -> anyhow::Result<Figures> {
    let Options { rate, seconds, .. } = *options;
    let mut stack = Stack::start(dir).await?;
    let csv = write_file(&stack, rate).await?;
    for _ in 0..2 {
        stack.spawn("collector", &[])?;
    }
    let address = stack.gateway().await?;
    let (live, _) = tokio_tungstenite::connect_async(format!("ws://{address}/ws")).await.context("the live client")?;
    let mut listening = JoinSet::new();
    listening.spawn(live.for_each(|_| async {}));
    let batch = (rate / 20).clamp(10, 1_000);
    let pause = Duration::from_secs_f64(f64::from(batch) / f64::from(rate));
    let streamer = [
        ("CSV_FILE", csv),
        ("LOOP_MODE", "true".to_owned()),
        ("BATCH_SIZE", batch.to_string()),
        ("STREAM_INTERVAL", format!("{}us", pause.as_micros())),
    ];
    stack.spawn("streamer", &streamer)?;
    say(&format!("{rate} rows a second for {seconds} s"));
    let moments = watch(&mut stack, seconds).await?;
    let balanced = stack.audit().await.is_ok();
    let figures = Figures {
        mode: "soak",
        minutes: f64::from(seconds) / 60.0,
        rate,
        growth: WATCHED.iter().map(|watched| growth(watched, &moments)).collect(),
        moments,
        balanced,
    };
    if let Some(report) = &options.report {
        std::fs::write(report, svg(&figures)).with_context(|| format!("writing {}", report.display()))?;
    }
    Ok(figures)
}

/// A minute of telemetry, as many rows a second as it will be published with.
async fn write_file(stack: &Stack, rate: u32) -> anyhow::Result<String> {
    let csv = stack.file("minute.csv");
    let gpus = rate.div_ceil(METRICS).max(1);
    let (hosts, interval) = (gpus.div_ceil(8).max(1), 1);
    let written = Command::new(std::env::current_exe()?)
        .arg("generate")
        .args(["--hosts", &hosts.to_string(), "--gpus", "8", "--metrics", &METRICS.to_string()])
        .args(["--seconds", &FILE_SECONDS.to_string(), "--interval", &interval.to_string()])
        .stdout(std::fs::File::create(&csv)?)
        .status()
        .await?;
    anyhow::ensure!(written.success(), "nexus generate: {written}");
    Ok(csv.display().to_string())
}

async fn watch(stack: &mut Stack, seconds: u32) -> anyhow::Result<Vec<Moment>> {
    let client = stack.client().await?;
    let manifests = keys().manifests();
    let every = Duration::from_secs(10).min(Duration::from_secs_f64(f64::from(seconds) / 20.0));
    let (begin, end) = (Instant::now(), Duration::from_secs(seconds.into()));
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    let (mut moments, mut before) = (Vec::new(), (Instant::now(), 0));
    while begin.elapsed() < end {
        ticks.tick().await;
        stack.look()?;
        let health = client.health().await?;
        let queued = client.list(&manifests, usize::MAX).await?.kvs;
        let decoded = queued.iter().filter_map(|kv| nexus_common::queue::Manifest::decode(kv.value()));
        let stored = stack.ask(&include_str!("soak.sql").replace(":ms", &every.as_millis().to_string())).await?;
        let stored = stored.first().context("no answer")?;
        let rows: i64 = stored.get(0);
        let (at, was) = std::mem::replace(&mut before, (Instant::now(), rows));
        let usage = |role| stack.usage(role).with_context(|| format!("the {role} is not there"));
        moments.push(Moment {
            minute: begin.elapsed().as_secs_f64() / 60.0,
            etcd_file_mib: mib(health.file_bytes),
            etcd_used_mib: mib(health.used_bytes),
            queued_rows: decoded.map(|manifest| manifest.rows).sum(),
            stored_rows: rows.unsigned_abs(),
            rows_per_second: (rows - was) as f64 / at.elapsed().as_secs_f64(),
            latency_p50_ms: stored.get(1),
            latency_p99_ms: stored.get(2),
            streamer: usage("streamer")?,
            collector: usage("collector")?,
            gateway: usage("gateway")?,
        });
    }
    if moments.is_empty() {
        bail!("nothing was measured");
    }
    // What is on its way arrives.
    sleep(Duration::from_millis(500)).await;
    Ok(moments)
}

fn growth((what, unit, noise, value): &Watched, moments: &[Moment]) -> Growth {
    let end = moments.last().map_or(0.0, |last| last.minute);
    let median_of = |from: f64, to: f64| {
        let within = |now: &&Moment| now.minute >= end * from && now.minute <= end * to;
        let mut values: Vec<f64> = moments.iter().filter(within).map(value).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or_default()
    };
    let (first, last) = (median_of(WARM_UP, WARM_UP + 0.25), median_of(0.75, 1.0));
    let max = moments.iter().map(value).fold(0.0, f64::max);
    Growth { what, unit, first, last, max, grows: last > first * GROWS && last - first > *noise }
}

fn mib(bytes: u64) -> f64 {
    (bytes as f64 / (1 << 20) as f64 * 10.0).round() / 10.0
}

/// Each thing that is watched over the minutes, below each other.
fn svg(figures: &Figures) -> String {
    let series = |(what, unit, _, value): &Watched| Series {
        name: if unit.is_empty() { (*what).to_owned() } else { format!("{what}, {unit}") },
        points: figures.moments.iter().map(|now| (now.minute, value(now))).collect(),
    };
    let rate = Series {
        name: "stored, rows/s".to_owned(),
        points: figures.moments.iter().map(|now| (now.minute, now.rows_per_second)).collect(),
    };
    let all: Vec<_> = std::iter::once(rate).chain(WATCHED.iter().map(series)).collect();
    plot(&format!("{} rows/s for {:.0} minutes", figures.rate, figures.minutes), &Along::Much("minutes"), &all)
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stored = self.moments.last().map_or(0, |last| last.stored_rows);
        writeln!(f, "{:.1} minutes at {} rows/s: {stored} rows stored", self.minutes, self.rate)?;
        writeln!(f, "{:<26} {:>12} {:>12} {:>12}  (medians)", "", "first", "last", "max")?;
        for Growth { what, unit, first, last, max, grows } in &self.growth {
            let verdict = if *grows { "GROWS" } else { "flat" };
            writeln!(f, "{what:<26} {first:>12.1} {last:>12.1} {max:>12.1}  {unit:<5} {verdict}")?;
        }
        write!(f, "the books at the end: {}", if self.balanced { "balanced" } else { "NOT balanced" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(memory: impl Fn(f64) -> f64) -> Vec<Moment> {
        let usage = |rss_mib| Usage { rss_mib, peak_mib: rss_mib, cpu_seconds: 0.0, threads: 4, files: 20 };
        let moment = |minute: u32| Moment {
            minute: minute.into(),
            etcd_file_mib: 20.0,
            etcd_used_mib: 5.0,
            queued_rows: 0,
            stored_rows: 0,
            rows_per_second: 0.0,
            latency_p50_ms: 5.0,
            latency_p99_ms: 9.0,
            streamer: usage(10.0),
            collector: usage(memory(minute.into())),
            gateway: usage(30.0),
        };
        (1..=60).map(moment).collect()
    }

    fn growing(moments: &[Moment]) -> Vec<&'static str> {
        WATCHED.iter().map(|watched| growth(watched, moments)).filter(|of| of.grows).map(|of| of.what).collect()
    }

    #[test]
    fn what_grows_is_told_from_what_warms_up() {
        assert_eq!(growing(&moments(|_| 40.0)), Vec::<&str>::new());
        assert_eq!(growing(&moments(|minute| 40.0 + minute.min(5.0) * 20.0)), Vec::<&str>::new());
        assert_eq!(growing(&moments(|minute| 40.0 + minute)), ["collector's memory"]);
    }
}
