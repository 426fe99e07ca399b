//! From the first byte of a CSV file to the last COMMIT and acknowledgement, as fast as it goes.
//!
//! The file is made before, the collectors run before; time runs from the start of the streamer's process until the last
//! batch has left the queue, which is after its COMMIT. Then the rows are counted in PostgreSQL and in the books: no figure
//! without residue 0.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use nexus_common::etcd::Client;
use nexus_common::queue::{Depth, Keys};
use serde::Serialize;
use serde_json::Value;
use tokio::process::Command;
use tokio::time::{Instant, interval, sleep};
use tokio_util::task::AbortOnDropHandle;

use super::figures::Spread;
use super::stack::{Spent, Stack};
use super::{Mode, Options, say};

/// Metrics of a GPU, a row each.
const METRICS: u32 = 10;
/// GPUs in a host where it is not told.
const GPUS_A_HOST: u32 = 8;
/// Rows in a batch of single rows: what a transaction of 1,024 operations holds, eight left for others.
const BATCH_OF_ROWS: u32 = 1_000;
/// How long nothing may become of the queue before the run has failed.
const STUCK: Duration = Duration::from_secs(60);
/// How often memory and etcd's size are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Whose memory and processor time are told.
const ROLES: [&str; 4] = ["streamer", "collector", "etcd", "postgres"];

/// What was measured.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    mode: &'static str,
    rows: u64,
    gpus: u32,
    collectors: u32,
    batch_rows: u32,
    seconds: f64,
    rows_per_second: f64,
    messages_per_second: f64,
    /// One batch, from the call until etcd has answered.
    publish_p50_ms: f64,
    publish_p99_ms: f64,
    /// The most each process had in RAM; of several collectors the largest.
    rss_mib: BTreeMap<&'static str, f64>,
    cpu_seconds: BTreeMap<&'static str, f64>,
    cpu_micros_per_row: BTreeMap<&'static str, f64>,
    /// The most etcd's database file had.
    etcd_file_mib: f64,
    /// What PostgreSQL's data grew by, for each row and for each stored sample.
    bytes_per_row: f64,
    /// How long the disk takes to make 4 KiB durable.
    disk: Spread,
    /// `nexus audit`: 0, or there is no figure.
    residue: i64,
}

/// Publishes and stores so many rows.
///
/// # Errors
/// Where a component ends, nothing moves for a minute, or the rows stored are not those of the file.
pub(super) async fn measure(dir: Option<&Path>, options: &Options) -> anyhow::Result<Figures> {
    let mut stack = Stack::start(dir).await?;
    let disk = stack.disk()?;
    let (csv, rows, gpus) = write_file(&stack, options).await?;
    let (mode, batch_rows) = match options.mode {
        Mode::Scrape => ("scrape", METRICS * gpus.min(BATCH_OF_ROWS)),
        _ => ("row", BATCH_OF_ROWS),
    };
    for _ in 0..options.collectors {
        stack.spawn("collector", &[])?;
    }
    let client = Client::connect(&[stack.etcd_endpoint()]).await?;
    let keys = Keys::new("/telemetry/queue", "local-cluster");
    while client.list(&keys.members("collector"), usize::MAX).await?.kvs.len() < options.collectors as usize {
        stack.look()?;
        sleep(Duration::from_millis(20)).await;
    }
    let empty = database_bytes(&stack).await?;
    let (mut depth, follow) = Depth::follow(client.clone(), &keys);
    #[expect(clippy::disallowed_methods, reason = "ends with the handle")]
    let _following = AbortOnDropHandle::new(tokio::spawn(follow));
    depth.wait_for(Option::is_some).await?;
    let before = ROLES.map(|role| stack.spent(role).cpu_seconds);

    say(&format!("{rows} rows of {gpus} GPUs through {} collectors", options.collectors));
    let variables = [
        ("CSV_FILE", csv),
        ("BATCH_SIZE", batch_rows.to_string()),
        ("STREAM_INTERVAL", "0s".to_owned()),
        ("LOOP_MODE", "false".to_owned()),
        ("LOG_LEVEL", "info".to_owned()),
        ("LOG_FORMAT", "json".to_owned()),
    ];
    let started = Instant::now();
    stack.spawn("streamer", &variables)?;
    let streaming = async { stack.ended("streamer").await };
    let mut etcd_file = 0;
    let (said, streamer) = {
        let mut looks = interval(LOOK_EVERY);
        let mut streaming = std::pin::pin!(streaming);
        loop {
            tokio::select! {
                ended = &mut streaming => break ended?,
                _ = looks.tick() => etcd_file = etcd_file.max(client.health().await?.file_bytes),
            }
        }
    };
    drained(&stack, &mut depth).await?;
    let seconds = started.elapsed().as_secs_f64();
    etcd_file = etcd_file.max(client.health().await?.file_bytes);

    let ledger = stack.ask(include_str!("ledger.sql")).await?;
    let ledger = ledger.first().context("no answer")?;
    let (stored, dead, expired): (i64, i64, i64) = (ledger.get(0), ledger.get(1), ledger.get(2));
    ensure!(
        stored.unsigned_abs() == rows && dead == 0 && expired == 0,
        "of {rows} rows {stored} are stored, {dead} dead, {expired} expired"
    );
    ensure!(stack.balances().await?, "the books do not balance");
    let published = last_word(&said)?;
    let mut spent = BTreeMap::new();
    for (role, before) in ROLES.into_iter().zip(before) {
        let Spent { peak_mib, cpu_seconds } = if role == "streamer" { streamer } else { stack.spent(role) };
        spent.insert(role, Spent { peak_mib, cpu_seconds: cpu_seconds - before });
    }
    let of = |figure: &dyn Fn(&Spent) -> f64| spent.iter().map(|(role, spent)| (*role, figure(spent))).collect();
    let rows_f64 = rows as f64;
    Ok(Figures {
        mode,
        rows,
        gpus,
        collectors: options.collectors,
        batch_rows,
        seconds: rounded(seconds),
        rows_per_second: (rows_f64 / seconds).round(),
        messages_per_second: (published("messages")? / seconds).round(),
        publish_p50_ms: published("publish_p50_ms")?,
        publish_p99_ms: published("publish_p99_ms")?,
        rss_mib: of(&|spent| spent.peak_mib),
        cpu_seconds: of(&|spent| rounded(spent.cpu_seconds)),
        cpu_micros_per_row: of(&|spent| rounded(spent.cpu_seconds * 1e6 / rows_f64)),
        etcd_file_mib: rounded(etcd_file as f64 / f64::from(1 << 20)),
        bytes_per_row: rounded((ledger.get::<_, i64>(3) - empty) as f64 / rows_f64),
        disk,
        residue: 0,
    })
}

/// Makes the file: whole scrapes, the last one cut where the rows are enough.
async fn write_file(stack: &Stack, options: &Options) -> anyhow::Result<(String, u64, u32)> {
    let csv = stack.file("rows.csv");
    let hosts = options.hosts.unwrap_or(options.gpus.div_ceil(GPUS_A_HOST));
    let gpus_a_host = options.gpus.div_ceil(hosts);
    // The last host lacks a GPU.
    let gpus = hosts * gpus_a_host - 1;
    let a_scrape = u64::from(gpus * METRICS);
    let scrapes = options.rows.div_ceil(a_scrape);
    let order = if matches!(options.mode, Mode::Scrape) { "gpu" } else { "metric" };
    let made = Command::new(std::env::current_exe()?)
        .args(["generate", "--order", order, "--metrics", &METRICS.to_string()])
        .args(["--hosts", &hosts.to_string(), "--gpus", &gpus_a_host.to_string()])
        .args(["--interval", "10", "--seconds", &(scrapes * 10).to_string(), "--out"])
        .arg(&csv)
        .status()
        .await?;
    ensure!(made.success(), "nexus generate: {made}");
    Ok((csv.display().to_string(), scrapes * a_scrape, gpus))
}

/// Waits until the queue is empty.
async fn drained(stack: &Stack, depth: &mut tokio::sync::watch::Receiver<Option<Depth>>) -> anyhow::Result<()> {
    let mut known = *depth.borrow_and_update();
    while known.is_none_or(|depth| depth.batches > 0) {
        match tokio::time::timeout(STUCK, depth.changed()).await {
            Ok(changed) => changed?,
            Err(_) => bail!("{known:?} for {STUCK:?}: nothing moves; see the logs in {}", stack.file("").display()),
        }
        known = *depth.borrow_and_update();
    }
    Ok(())
}

async fn database_bytes(stack: &Stack) -> anyhow::Result<i64> {
    Ok(stack.ask(include_str!("ledger.sql")).await?.first().context("no answer")?.get(3))
}

/// What the streamer said when it had published everything.
fn last_word(said: &str) -> anyhow::Result<impl Fn(&str) -> anyhow::Result<f64>> {
    let lines = said.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let word = lines.into_iter().find(|line| line["message"] == "published").context("the streamer said nothing")?;
    Ok(move |name: &str| word[name].as_f64().with_context(|| format!("the streamer did not say {name}")))
}

fn rounded(figure: f64) -> f64 {
    (figure * 100.0).round() / 100.0
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures { mode, rows, gpus, collectors, seconds, rows_per_second, messages_per_second, .. } = self;
        writeln!(f, "{mode}: {rows} rows of {gpus} GPUs in {seconds:.2} s through {collectors} collectors, residue 0")?;
        writeln!(f, "{rows_per_second:.0} rows/s, {messages_per_second:.0} messages/s")?;
        writeln!(
            f,
            "a batch of {} rows published in p50 {:.1} ms, p99 {:.1} ms",
            self.batch_rows, self.publish_p50_ms, self.publish_p99_ms
        )?;
        writeln!(f, "            µs of processor a row      seconds     most MiB")?;
        for role in ROLES {
            let of = |figures: &BTreeMap<&'static str, f64>| figures.get(role).copied().unwrap_or_default();
            let (micros, seconds, mib) = (of(&self.cpu_micros_per_row), of(&self.cpu_seconds), of(&self.rss_mib));
            writeln!(f, "{role:<12}{micros:>22.2}{seconds:>13.2}{mib:>13.1}")?;
        }
        writeln!(
            f,
            "etcd's file at most {:.1} MiB; PostgreSQL {:.0} bytes a row",
            self.etcd_file_mib, self.bytes_per_row
        )?;
        write!(f, "4 KiB durable on this disk in p50 {:.2} ms, p99 {:.2} ms", self.disk.p50_ms, self.disk.p99_ms)
    }
}
