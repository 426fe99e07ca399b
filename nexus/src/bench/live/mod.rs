//! The live feed under many clients: how long from publishing, and from COMMIT, until a client has the frame.
//!
//! Every frame is told to every client; one client never reads. PostgreSQL notes when it committed each sample, the ledger
//! when its batch was published, on the same clock as ours, and the kernel notes when a frame is in a client's socket. The
//! first client keeps whole frames, so that a revision can be matched with its samples; the others note only which revision
//! came when, and each must have got every revision once and in order.

mod reader;

use std::collections::HashMap;
use std::fmt;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use nexus_common::domain::Timestamp;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use tokio_util::sync::CancellationToken;

use self::reader::{First, Reader, first_of, read};
use super::figures::{HEADING, Spread};
use super::process::Usage;
use super::profile::{Profiler, Where};
use super::say;
use super::stack::Stack;

/// Rows that are published together; at 1,000 rows/s twenty batches a second.
const BATCH: u32 = 50;
/// How long the last rows may take until they are stored.
const LAST: Duration = Duration::from_secs(60);
/// Threads that read for all clients: more would take turns with the gateway's.
const THREADS: usize = 2;
/// A start without a measurement: connections, partitions.
const START_SECONDS: u32 = 2;

/// What was measured.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    mode: &'static str,
    clients: u32,
    #[serde(flatten)]
    told: Told,
    /// How long the disk takes to make 4 KiB durable: between COMMIT and the feed lies one such write, etcd's.
    disk: Spread,
}

/// How long rows took to the clients.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Told {
    pub(super) rows: usize,
    pub(super) rows_per_second: f64,
    pub(super) frames: usize,
    /// From COMMIT until the kernel had the frame in a client's socket, over all clients but the one that never reads: what
    /// a client on a machine of its own has to wait for.
    pub(super) commit_to_socket: Spread,
    /// From COMMIT until a client here has read the frame, over all clients but the one that never reads.
    pub(super) commit_to_client: Spread,
    /// The same for the last of all clients to get each frame.
    pub(super) commit_to_last_client: Spread,
    /// From the moment the streamer gave a batch its time, before etcd is asked, until a client has read its frame.
    pub(super) publish_to_client: Spread,
    /// With its clients, before anything was published, and after the last row.
    gateway_before: Usage,
    gateway_after: Usage,
    /// Where it was looked.
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    parts: Option<Where>,
}

/// Measures so many clients at this rate for so many seconds.
pub(super) async fn measure(
    dir: Option<&Path>,
    clients: u32,
    rate: u32,
    seconds: u32,
    profile: bool,
) -> anyhow::Result<Figures> {
    let mut stack = Stack::start_to(dir, profile).await?;
    let disk = stack.disk()?;
    stack.collectors(1).await?;
    let address = stack.gateway().await?;
    let told = tell(&mut stack, address, clients, rate, seconds, profile).await?;
    Ok(Figures { mode: "live", clients, told, disk })
}

/// Publishes rows at this rate to so many clients and one that never reads, and holds when they had them against when they
/// were published and committed. Every GPU has been seen before: making its acquaintance is not what is measured.
///
/// # Errors
/// Where a client missed a frame, or a frame cannot be matched with a commit.
pub(super) async fn tell(
    stack: &mut Stack,
    gateway: SocketAddr,
    clients: u32,
    rate: u32,
    seconds: u32,
    profile: bool,
) -> anyhow::Result<Told> {
    // An hour ago, so that no time comes twice.
    let now = Timestamp::now().as_millis() / 1_000;
    let acquaintance = publish(stack, "acquaintance.csv", (rate, rate), now - 3_600, Duration::ZERO).await?;
    noted(stack, rate as usize, acquaintance).await?;

    say(&format!("connecting {clients} clients, and one that never reads"));
    let clients = Clients::connect(gateway, clients).await?;
    let gateway_before = stack.usage("gateway").context("the gateway's memory")?;
    let rows = rate * (seconds + START_SECONDS);
    say(&format!("publishing {rows} rows, {rate} a second"));
    let profiler = Profiler::start(stack, profile);
    let started = std::time::Instant::now();
    let pause = Duration::from_secs_f64(f64::from(BATCH) / f64::from(rate));
    let since = publish(stack, "live.csv", (rows, rate), Timestamp::now().as_millis() / 1_000, pause).await?;
    let took = started.elapsed();
    let parts = Profiler::end(profiler).await?;
    let noted = noted(stack, rows as usize, since).await?;
    let gateway_after = stack.usage("gateway").context("the gateway's memory")?;
    sleep(Duration::from_secs(1)).await;
    let mut readers = clients.end().await?;

    let first = readers.iter_mut().find(|reader| reader.texts.is_some()).context("there is no client")?;
    let mut by_revision = HashMap::new();
    for (arrival, text) in first.arrivals.iter().zip(first.texts.take().into_iter().flatten()) {
        let sample = first_of(&serde_json::from_slice(&text)?).context("a frame without a sample")?;
        match noted.get(&sample) {
            Some(noted) => _ = by_revision.insert(arrival.revision, *noted),
            // The last of the acquaintance may have been on its way.
            None if by_revision.is_empty() => {}
            None => bail!("a frame could not be matched with a commit"),
        }
    }
    let mut expected: Vec<_> = by_revision.keys().copied().collect();
    expected.sort_unstable();
    let (frames, begin) = (expected.len(), *expected.first().context("no frame came")?);
    let of_run = |reader: &Reader| {
        let revisions = reader.arrivals.iter().map(|arrival| arrival.revision);
        revisions.filter(|revision| *revision >= begin).collect::<Vec<_>>()
    };
    let complete = readers.iter().all(|reader| of_run(reader) == expected);
    ensure!(complete, "not every client got every revision once and in order");

    let begin = noted.values().map(|noted| noted.committed).min().unwrap_or_default();
    let begin = begin + i64::from(START_SECONDS) * 1_000_000;
    let (mut in_socket, mut read, mut whole, mut last) = (Vec::new(), Vec::new(), Vec::new(), HashMap::new());
    for arrival in readers.iter().flat_map(|reader| &reader.arrivals) {
        let Some(noted) = by_revision.get(&arrival.revision).filter(|noted| noted.committed >= begin) else { continue };
        in_socket.push(arrival.in_socket - noted.committed);
        read.push(arrival.read - noted.committed);
        whole.push(arrival.read - noted.published);
        let last: &mut i64 = last.entry(arrival.revision).or_default();
        *last = (*last).max(arrival.read - noted.committed);
    }
    let spread = |micros| Spread::of(micros).context("nothing was measured");
    Ok(Told {
        rows: rows as usize,
        rows_per_second: (f64::from(rows) / took.as_secs_f64()).round(),
        frames,
        commit_to_socket: spread(in_socket)?,
        commit_to_client: spread(read)?,
        commit_to_last_client: spread(last.into_values().collect())?,
        publish_to_client: spread(whole)?,
        gateway_before,
        gateway_after,
        parts,
    })
}

/// Publishes so many rows of so many GPUs, from a second since 1970 on; the time of the first, in microseconds.
async fn publish(
    stack: &mut Stack,
    name: &str,
    (rows, gpus): (u32, u32),
    start: i64,
    pause: Duration,
) -> anyhow::Result<i64> {
    let csv = stack.file(name);
    write_rows(&csv, rows, gpus, start)?;
    let variables = [
        ("CSV_FILE", csv.display().to_string()),
        ("BATCH_SIZE", BATCH.to_string()),
        ("STREAM_INTERVAL", format!("{}us", pause.as_micros())),
    ];
    stack.stream(&variables).await?;
    Ok(start * 1_000_000)
}

/// Clients that listen from before anything is published.
#[derive(Debug)]
struct Clients {
    stop: CancellationToken,
    reading: JoinSet<anyhow::Result<Vec<Reader>>>,
    /// The one that never reads.
    _silent: WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>,
}

impl Clients {
    /// So many that read, and one that never does.
    async fn connect(address: SocketAddr, count: u32) -> anyhow::Result<Clients> {
        let path = "/ws?mode=all";
        let (silent, _) = tokio_tungstenite::connect_async(format!("ws://{address}{path}"))
            .await
            .context("the client that never reads")?;
        let mut readers = Vec::new();
        for number in 0..count {
            let reader = Reader::connect(address, path, number == 0).await;
            readers.push(reader.with_context(|| format!("client {number}"))?);
        }
        let (mut reading, stop) = (JoinSet::new(), CancellationToken::new());
        let share = readers.len().div_ceil(THREADS);
        while !readers.is_empty() {
            let (part, stopped) = (readers.split_off(readers.len().saturating_sub(share)), stop.clone());
            reading.spawn_blocking(move || read(part, &stopped));
        }
        Ok(Clients { stop, reading, _silent: silent })
    }

    /// What all of them have got.
    async fn end(mut self) -> anyhow::Result<Vec<Reader>> {
        self.stop.cancel();
        let mut readers = Vec::new();
        while let Some(read) = self.reading.join_next().await {
            readers.extend(read??);
        }
        Ok(readers)
    }
}

/// One value a row, each of a GPU and time of its own.
fn write_rows(path: &Path, rows: u32, gpus: u32, start: i64) -> anyhow::Result<()> {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    writeln!(file, "timestamp,hostname,gpu_id,power_draw")?;
    for row in 0..rows {
        let (second, gpu) = (start + i64::from(row / gpus), row % gpus);
        writeln!(file, "{second},live-{:04},{},{}", gpu / 8, gpu % 8, 100 + row % 600)?;
    }
    Ok(file.flush()?)
}

/// What PostgreSQL noted of a sample, in microseconds since 1970.
#[derive(Debug, Clone, Copy)]
struct Noted {
    committed: i64,
    published: i64,
}

/// When each sample was committed and published, once all of them are.
async fn noted(stack: &Stack, rows: usize, since: i64) -> anyhow::Result<HashMap<First, Noted>> {
    let question = include_str!("commits.sql").replace(":since", &since.to_string());
    let all = async {
        loop {
            let found = stack.ask(&question).await?;
            if found.len() >= rows {
                return anyhow::Ok(found);
            }
            sleep(Duration::from_millis(200)).await;
        }
    };
    let Ok(found) = timeout(LAST, all).await else { bail!("not all rows were stored within {LAST:?}") };
    let noted = |row: &tokio_postgres::Row| Noted { committed: row.get(3), published: row.get(4) };
    Ok(found?.iter().map(|row| ((row.get(0), row.get(1), row.get(2)), noted(row))).collect())
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures { clients, told, .. } = self;
        let Told { gateway_before, gateway_after, .. } = told;
        writeln!(
            f,
            "{} rows at {:.0} rows/s in {} frames to {clients} clients, and one that never reads",
            told.rows, told.rows_per_second, told.frames
        )?;
        writeln!(f, "                          {HEADING}")?;
        writeln!(f, "publish to client         {}", told.publish_to_client)?;
        writeln!(f, "COMMIT to client's socket {}", told.commit_to_socket)?;
        writeln!(f, "COMMIT to client          {}", told.commit_to_client)?;
        writeln!(f, "COMMIT to the last client {}", told.commit_to_last_client)?;
        writeln!(f, "4 KiB durable on the disk {}", self.disk)?;
        write!(
            f,
            "gateway: {:.1} MiB before, {:.1} MiB after; {:.1} s of processor time",
            gateway_before.rss_mib,
            gateway_after.rss_mib,
            gateway_after.cpu_seconds - gateway_before.cpu_seconds
        )?;
        told.parts.iter().try_for_each(|parts| write!(f, "{parts}"))
    }
}
