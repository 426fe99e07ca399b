//! From the first byte of a CSV file to the last COMMIT and acknowledgement, as fast as it goes; then, on the same stack, how
//! long a row takes to a client while little flows.
//!
//! The file is made before, the collectors and the gateway run before; time runs from the start of the streamer's process until
//! the last batch has left the queue, which is after its COMMIT. Then what is stored is counted, value by value, and held
//! against the lines of the file and against the books: no figure without residue 0.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use nexus_common::etcd::Client;
use nexus_common::queue::Depth;
use serde::Serialize;
use serde_json::Value;
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::sync::watch::Receiver;
use tokio::time::{Instant, interval};
use tokio_util::task::AbortOnDropHandle;

use super::figures::{Spread, rounded};
use super::live::tell;
use super::process::Spent;
use super::profile::{Profiler, Where};
use super::stack::{Stack, keys};
use super::watching::{Peaks, Profile, ROLES, Watch};
use super::{Shape, say};

/// Metrics of a GPU, a row each.
pub(super) const METRICS: u32 = 10;
/// GPUs in a host where it is not told.
const GPUS_A_HOST: u32 = 8;
/// The most messages in a batch: what a transaction of 1,024 operations holds, some left for others.
const BATCH_MESSAGES: u32 = 1_000;
/// How long nothing may become of the queue before the run has failed.
const STUCK: Duration = Duration::from_secs(60);
/// How often memory, etcd's size and PostgreSQL's backends are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Rows a second of the second part.
const LIGHT_RATE: u32 = 1_000;
/// Live clients in the second part.
const LIGHT_CLIENTS: u32 = 4;

/// What is published, and by how many it is stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) shape: Shape,
    pub(super) rows: u64,
    pub(super) gpus: u32,
    pub(super) hosts: Option<u32>,
    /// Streamers that share the file, a lane and a connection each.
    pub(super) streamers: u32,
    pub(super) collectors: u32,
    /// Whether it is looked where time goes.
    pub(super) profile: bool,
}

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Figures {
    mode: Shape,
    rows: u64,
    gpus: u32,
    collectors: u32,
    /// Of the batches that were published, on average.
    batch_rows: f64,
    pub(super) seconds: f64,
    pub(super) rows_per_second: f64,
    messages_per_second: f64,
    /// One batch, from the call until etcd has answered.
    publish_p50_ms: f64,
    publish_p99_ms: f64,
    #[serde(flatten)]
    light: Option<Light>,
    /// The most each process had in RAM, with what it shares with others (PostgreSQL's buffers); of several the largest.
    /// The gateway's is of both parts.
    rss_mib: BTreeMap<&'static str, f64>,
    /// The most each process had for itself, as it was looked at.
    own_mib: BTreeMap<&'static str, f64>,
    cpu_seconds: BTreeMap<&'static str, f64>,
    cpu_micros_per_row: BTreeMap<&'static str, f64>,
    /// The most etcd's database file had.
    etcd_file_mib: f64,
    /// The most rows that waited in the queue.
    queued_rows: u64,
    /// What PostgreSQL's data grew by, for each row.
    bytes_per_row: f64,
    /// How long the disk takes to make 4 KiB durable.
    disk: Spread,
    /// `nexus audit`: 0, or there is no figure.
    residue: i64,
    profile: Profile,
    /// Where it was looked.
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    pub(super) parts: Option<Where>,
}

/// How long a row takes to a client while 1,000 a second flow.
#[derive(Debug, Clone, Copy, Serialize)]
struct Light {
    commit_to_client_p50_ms: f64,
    commit_to_client_p99_ms: f64,
    publish_to_client_p50_ms: f64,
    publish_to_client_p99_ms: f64,
}

/// Publishes and stores so many rows; then, where it is told how long, measures at a light load.
///
/// # Errors
/// Where a component ends, nothing moves for a minute, or the rows stored are not those of the file.
pub(super) async fn measure(dir: Option<&Path>, load: Load, light_seconds: Option<u32>) -> anyhow::Result<Figures> {
    let mut stack = Stack::start_to(dir, load.profile).await?;
    let file = write_file(&stack, load, 5).await?;
    stack.collectors(load.collectors).await?;
    let address = stack.gateway().await?;
    let mut figures = flow(&mut stack, load, &file).await?;
    if let Some(seconds) = light_seconds {
        let told = tell(&mut stack, address, LIGHT_CLIENTS, LIGHT_RATE, seconds, false).await?;
        figures.light = Some(Light {
            commit_to_client_p50_ms: told.commit_to_client.p50_ms,
            commit_to_client_p99_ms: told.commit_to_client.p99_ms,
            publish_to_client_p50_ms: told.publish_to_client.p50_ms,
            publish_to_client_p99_ms: told.publish_to_client.p99_ms,
        });
        figures.rss_mib.insert("gateway", stack.spent("gateway").peak_mib);
    }
    Ok(figures)
}

/// Lets the file's rows flow through the stack and its collectors, which hold nothing yet.
async fn flow(stack: &mut Stack, load: Load, file: &RowsFile) -> anyhow::Result<Figures> {
    let RowsFile { rows, gpus, .. } = *file;
    let disk = stack.disk()?;
    let mut watch = Watch::start(stack).await?;
    let client = stack.client().await?;
    let empty = database_bytes(stack).await?;
    let mut queue = Queue::follow(&client).await?;
    let before = ROLES.map(|role| stack.spent(role).cpu_seconds);

    say(&format!("{rows} rows of {gpus} GPUs through {} collectors", load.collectors));
    let started = Instant::now();
    for index in 0..load.streamers {
        let stripe = ("STRIPE", format!("{index}/{}", load.streamers));
        stack.spawn("streamer", &[file.variables(), vec![stripe]].concat())?;
    }
    let pids = ROLES.map(|role| (role, stack.pids(role)));
    let depth = queue.depth.clone();
    let profiler = Profiler::start(stack, load.profile);
    let (published, took) = {
        let mut looks = interval(LOOK_EVERY);
        let mut work = std::pin::pin!(async {
            let mut published = Vec::new();
            for _ in 0..load.streamers {
                published.push(stack.ended("streamer").await?);
            }
            queue.drained(&client, stack).await?;
            anyhow::Ok((published, started.elapsed()))
        });
        loop {
            tokio::select! {
                ended = &mut work => break ended?,
                _ = looks.tick() => {
                    let queued = depth.borrow().map_or(0, |depth| depth.rows);
                    watch.look(queued, &pids.each_ref().map(|(role, pids)| (*role, Spent::of(pids)))).await?;
                }
            }
        }
    };
    let seconds = took.as_secs_f64();
    let parts = Profiler::end(profiler).await?;

    let residue = stored_all(stack, rows).await?;
    let values = stored_values(stack).await?;
    ensure!(values == rows, "of {rows} rows of a value each {values} values are stored");
    let streamer = published.iter().fold(Spent::default(), |all, (_, spent)| all.and(*spent));
    let words = published.iter().map(|(said, _)| last_word(said)).collect::<anyhow::Result<Vec<_>>>()?;
    let figures = |name: &str| words.iter().map(|word| word(name)).collect::<anyhow::Result<Vec<_>>>();
    let (messages, batches): (f64, f64) = (figures("messages")?.iter().sum(), figures("batches")?.iter().sum());
    // Of several streamers the slowest.
    let slowest = |name: &str| anyhow::Ok(rounded(figures(name)?.into_iter().fold(0.0, f64::max)));
    if load.shape == Shape::Row {
        ensure!(messages == rows as f64, "{messages} messages of {rows} rows: not each is a message of its own");
    }
    let mut spent = BTreeMap::new();
    for (role, before) in ROLES.into_iter().zip(before) {
        let used = if role == "streamer" { streamer } else { stack.spent(role) };
        spent.insert(role, Spent { cpu_seconds: used.cpu_seconds - before, ..used });
    }
    let cpu: Vec<_> = spent.iter().map(|(role, spent)| (*role, spent.cpu_seconds)).collect();
    let (peaks, profile) = watch.end(seconds, &cpu).await?;
    let Peaks { etcd_file_bytes, queued_rows, own_mib } = peaks;
    let etcd_file_bytes = etcd_file_bytes.max(client.health().await?.file_bytes);
    let of = |figure: &dyn Fn(&Spent) -> f64| spent.iter().map(|(role, spent)| (*role, figure(spent))).collect();
    let rows_f64 = rows as f64;
    Ok(Figures {
        mode: load.shape,
        rows,
        gpus,
        collectors: load.collectors,
        batch_rows: (rows_f64 / batches).round(),
        seconds: rounded(seconds),
        rows_per_second: (rows_f64 / seconds).round(),
        messages_per_second: (messages / seconds).round(),
        publish_p50_ms: slowest("publish_p50_ms")?,
        publish_p99_ms: slowest("publish_p99_ms")?,
        light: None,
        rss_mib: of(&|spent| spent.peak_mib),
        own_mib,
        cpu_seconds: of(&|spent| rounded(spent.cpu_seconds)),
        cpu_micros_per_row: of(&|spent| rounded(spent.cpu_seconds * 1e6 / rows_f64)),
        etcd_file_mib: rounded(etcd_file_bytes as f64 / f64::from(1 << 20)),
        queued_rows,
        bytes_per_row: rounded((database_bytes(stack).await? - empty) as f64 / rows_f64),
        disk,
        residue,
        profile,
        parts,
    })
}

/// Holds what the ledger and the books say against what was published; the residue of the audit, which is 0.
///
/// # Errors
/// Where a row is missing, dead or expired, or the books do not balance.
pub(super) async fn stored_all(stack: &Stack, rows: u64) -> anyhow::Result<i64> {
    let ledger = stack.ask(include_str!("ledger.sql")).await?;
    let ledger = ledger.first().context("no answer")?;
    let (stored, dead, expired): (i64, i64, i64) = (ledger.get(0), ledger.get(1), ledger.get(2));
    ensure!(
        stored.unsigned_abs() == rows && dead == 0 && expired == 0,
        "of {rows} rows {stored} are stored, {dead} dead, {expired} expired"
    );
    let audit = stack.audit().await?;
    let residue = audit["total"]["residue"].as_i64().context("the audit tells no residue")?;
    ensure!(residue == 0, "the audit is left with {residue} rows");
    Ok(residue)
}

/// How many values there are in `samples`: what was stored, whatever the books say of it.
async fn stored_values(stack: &Stack) -> anyhow::Result<u64> {
    let rows = stack.ask(include_str!("values.sql")).await?;
    Ok(u64::try_from(rows.first().context("no count")?.get::<_, i64>(0))?)
}

/// A file of whole scrapes, and how it is cut.
#[derive(Debug)]
pub(super) struct RowsFile {
    pub(super) csv: String,
    pub(super) rows: u64,
    pub(super) gpus: u32,
    pub(super) batch_rows: u32,
}

impl RowsFile {
    /// What a streamer is told that publishes it once, as fast as it goes, and tells what that took.
    pub(super) fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("CSV_FILE", self.csv.clone()),
            ("BATCH_SIZE", self.batch_rows.to_string()),
            ("STREAM_INTERVAL", "0s".to_owned()),
            ("LOOP_MODE", "false".to_owned()),
            ("LOG_LEVEL", "info".to_owned()),
            ("LOG_FORMAT", "json".to_owned()),
        ]
    }
}

/// Makes a file of at least so many rows, the last scrape whole, from that day of January on.
pub(super) async fn write_file(stack: &Stack, load: Load, day: u32) -> anyhow::Result<RowsFile> {
    let csv = stack.file(&format!("rows-{day}.csv"));
    let hosts = load.hosts.unwrap_or(load.gpus.div_ceil(GPUS_A_HOST));
    let gpus_a_host = load.gpus.div_ceil(hosts);
    // The last host lacks a GPU.
    let gpus = hosts * gpus_a_host - 1;
    let a_scrape = u64::from(gpus) * u64::from(METRICS);
    let scrapes = load.rows.div_ceil(a_scrape);
    let order = if load.shape == Shape::Scrape { "gpu" } else { "metric" };
    let made = Command::new(std::env::current_exe()?)
        .args(["generate", "--order", order, "--metrics", &METRICS.to_string()])
        .args(["--hosts", &hosts.to_string(), "--gpus", &gpus_a_host.to_string()])
        .args(["--interval", "10", "--seconds", &(scrapes * 10).to_string()])
        .args(["--start", &format!("2026-01-{day:02}T00:00:00Z"), "--out"])
        .arg(&csv)
        .status()
        .await?;
    ensure!(made.success(), "nexus generate: {made}");
    let (rows, lines) = (scrapes * a_scrape, lines(&csv).await?);
    ensure!(lines == rows + 1, "a file of {lines} lines: not a heading and {rows} rows");
    Ok(RowsFile { csv: csv.display().to_string(), rows, gpus, batch_rows: batch_rows(load.shape, gpus) })
}

/// How many lines a file has.
async fn lines(path: &Path) -> anyhow::Result<u64> {
    let (mut file, mut some, mut lines) = (File::open(path).await?, vec![0; 1 << 20], 0);
    loop {
        match file.read(&mut some).await? {
            0 => return Ok(lines),
            read => lines += some[..read].iter().filter(|byte| **byte == b'\n').count() as u64,
        }
    }
}

/// The most rows in a batch. In a batch of single rows no GPU comes twice: rows of one GPU and time would share a message.
fn batch_rows(shape: Shape, gpus: u32) -> u32 {
    let messages = gpus.min(BATCH_MESSAGES);
    match shape {
        Shape::Row => messages,
        Shape::Scrape => messages * METRICS,
    }
}

/// The queue's depth as it is told.
pub(super) struct Queue {
    depth: Receiver<Option<Depth>>,
    _following: AbortOnDropHandle<()>,
}

impl Queue {
    pub(super) async fn follow(client: &Client) -> anyhow::Result<Queue> {
        let (mut depth, follow) = Depth::follow(client.clone(), &keys());
        #[expect(clippy::disallowed_methods, reason = "ends with the handle")]
        let following = AbortOnDropHandle::new(tokio::spawn(follow));
        depth.wait_for(Option::is_some).await?;
        Ok(Queue { depth, _following: following })
    }

    /// Waits until at least so many rows wait.
    pub(super) async fn filled(&mut self, rows: u64) -> anyhow::Result<()> {
        self.depth.wait_for(|depth| depth.is_some_and(|depth| depth.rows >= rows)).await?;
        Ok(())
    }

    /// Waits until the queue is empty: told so, and seen to be.
    ///
    /// # Errors
    /// Where nothing moves for a minute.
    pub(super) async fn drained(&mut self, client: &Client, stack: &Stack) -> anyhow::Result<()> {
        loop {
            let known = *self.depth.borrow_and_update();
            // What was published a moment ago may not have been told.
            if known.is_some_and(|depth| depth.batches == 0) && client.count(&keys().manifests()).await? == 0 {
                return Ok(());
            }
            match tokio::time::timeout(STUCK, self.depth.changed()).await {
                Ok(changed) => changed?,
                Err(_) => bail!("{known:?} for {STUCK:?}: nothing moves; see the logs in {}", stack.file("").display()),
            }
        }
    }
}

async fn database_bytes(stack: &Stack) -> anyhow::Result<i64> {
    Ok(stack.ask(include_str!("ledger.sql")).await?.first().context("no answer")?.get(3))
}

/// What the streamer said when it had published everything.
pub(super) fn last_word(said: &str) -> anyhow::Result<impl Fn(&str) -> anyhow::Result<f64>> {
    let lines = said.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let word = lines.into_iter().find(|line| line["message"] == "published").context("the streamer said nothing")?;
    Ok(move |name: &str| word[name].as_f64().with_context(|| format!("the streamer did not say {name}")))
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures { mode, rows, gpus, collectors, seconds, rows_per_second, messages_per_second, residue, .. } = self;
        writeln!(
            f,
            "{mode:?}: {rows} rows of {gpus} GPUs in {seconds:.2} s through {collectors} collectors, residue {residue}"
        )?;
        writeln!(f, "{rows_per_second:.0} rows/s, {messages_per_second:.0} messages/s")?;
        writeln!(
            f,
            "a batch of {:.0} rows published in p50 {:.1} ms, p99 {:.1} ms",
            self.batch_rows, self.publish_p50_ms, self.publish_p99_ms
        )?;
        writeln!(f, "            µs of processor a row      seconds        cores     most MiB")?;
        for role in ROLES {
            let of = |figures: &BTreeMap<&'static str, f64>| figures.get(role).copied().unwrap_or_default();
            let (micros, seconds, mib) = (of(&self.cpu_micros_per_row), of(&self.cpu_seconds), of(&self.rss_mib));
            let cores = seconds / self.seconds;
            writeln!(f, "{role:<12}{micros:>22.2}{seconds:>13.2}{cores:>13.2}{mib:>13.1}")?;
        }
        if let Some(light) = &self.light {
            let Light { publish_to_client_p50_ms: publish, publish_to_client_p99_ms: publish_p99, .. } = light;
            let Light { commit_to_client_p50_ms: commit, commit_to_client_p99_ms: commit_p99, .. } = light;
            writeln!(f, "at {LIGHT_RATE} rows/s publish to client p50 {publish:.1} ms, p99 {publish_p99:.1} ms")?;
            writeln!(f, "at {LIGHT_RATE} rows/s COMMIT to client p50 {commit:.1} ms, p99 {commit_p99:.1} ms")?;
        }
        writeln!(
            f,
            "etcd's file at most {:.1} MiB, {} rows queued; PostgreSQL {:.0} bytes a row",
            self.etcd_file_mib, self.queued_rows, self.bytes_per_row
        )?;
        write!(f, "4 KiB durable on this disk in p50 {:.2} ms, p99 {:.2} ms", self.disk.p50_ms, self.disk.p99_ms)?;
        self.parts.iter().try_for_each(|parts| write!(f, "{parts}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_fits_a_transaction_and_holds_each_gpu_once() {
        assert_eq!((batch_rows(Shape::Row, 103), batch_rows(Shape::Row, 99_999)), (103, 1_000));
        assert_eq!((batch_rows(Shape::Scrape, 103), batch_rows(Shape::Scrape, 99_999)), (1_030, 10_000));
    }

    #[test]
    fn the_last_word_is_found_among_others() {
        let said = "not json\n{\"message\":\"published\",\"rows\":7}\n{\"message\":\"bye\"}\n";
        assert_eq!(last_word(said).unwrap()("rows").unwrap(), 7.0);
        assert!(last_word(said).unwrap()("nothing").is_err());
        assert!(last_word("{}").is_err());
    }
}
