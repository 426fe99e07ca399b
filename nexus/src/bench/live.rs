//! The live feed under many clients: how long from COMMIT until a client has the frame.
//!
//! Every frame is told to every client; one client never reads. PostgreSQL notes when it committed each sample, on the
//! same clock as ours. The first client reads whole frames, so that a revision can be matched with its samples; the
//! others note only which revision came when, and each must have got every revision once and in order.

use std::collections::HashMap;
use std::fmt;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use futures_util::StreamExt;
use nexus_common::domain::Timestamp;
use serde::Serialize;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

use super::figures::{HEADING, Spread};
use super::say;
use super::stack::{Stack, Usage};

/// Rows that are published together; at 1,000 rows/s twenty batches a second.
const BATCH: u32 = 50;
/// How long the last frames may take to arrive.
const LAST: Duration = Duration::from_secs(10);

/// What was measured.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    mode: &'static str,
    clients: u32,
    rows: usize,
    rows_per_second: f64,
    frames: usize,
    /// From COMMIT until a client has read the frame, over all clients but the one that never reads.
    commit_to_client: Spread,
    /// The same for the last of all clients to get each frame.
    commit_to_last_client: Spread,
    gateway_before: Usage,
    gateway_after: Usage,
}

/// Which revision came when, in microseconds since 1970.
type Arrivals = Vec<(i64, i64)>;

/// Measures so many clients at this rate for so many seconds.
pub(super) async fn measure(clients: u32, rate: u32, seconds: u32) -> anyhow::Result<Figures> {
    let mut stack = Stack::start().await?;
    stack.spawn("collector", &[])?;
    let address = stack.gateway().await?;
    let csv = stack.file("rows.csv");
    // Enough for a start without a measurement: connections, partitions, the registry.
    let rows = rate * (seconds + 2);
    write_rows(&csv, rows, rate)?;

    say(&format!("connecting {clients} clients, and one that never reads"));
    let stop = CancellationToken::new();
    let url: Arc<str> = format!("ws://{address}/ws?mode=all").into();
    let (silent, _) = tokio_tungstenite::connect_async(&*url).await.context("the client that never reads")?;
    let mut readers = JoinSet::new();
    for number in 0..clients {
        let (stream, _) = tokio_tungstenite::connect_async(&*url).await.with_context(|| format!("client {number}"))?;
        readers.spawn(read(stream, number == 0, stop.clone()));
    }
    say(&format!("publishing {rows} rows, {rate} a second"));
    let before = stack.usage("gateway").context("the gateway's memory")?;
    let pause = Duration::from_secs_f64(f64::from(BATCH) / f64::from(rate));
    let variables = [
        ("CSV_FILE", csv.display().to_string()),
        ("BATCH_SIZE", BATCH.to_string()),
        ("STREAM_INTERVAL", format!("{}us", pause.as_micros())),
    ];
    let started = std::time::Instant::now();
    stack.stream(&variables).await?;
    let took = started.elapsed();
    let commits = commits(&stack, rows as usize).await?;
    let after = stack.usage("gateway").context("the gateway's memory")?;
    sleep(Duration::from_secs(1)).await;
    stop.cancel();
    drop(silent);

    let (mut all, mut samples) = (Vec::new(), HashMap::new());
    while let Some(read) = readers.join_next().await {
        let (arrivals, told) = read??;
        all.push(arrivals);
        samples.extend(told);
    }
    let frames = all.first().map_or(0, Vec::len);
    ensure!(frames > 0, "no frame came");
    let complete = all
        .iter()
        .all(|arrivals| arrivals.iter().map(|(revision, _)| revision).eq(all[0].iter().map(|(revision, _)| revision)));
    ensure!(complete, "not every client got every revision once and in order");
    let committed: HashMap<i64, i64> =
        samples.into_iter().filter_map(|(revision, sample)| Some((revision, *commits.get(&sample)?))).collect();
    ensure!(committed.len() == frames, "{} of {frames} frames could be matched with a commit", committed.len());

    // The first two seconds make connections and partitions.
    let first = commits.values().min().copied().unwrap_or_default() + 2_000_000;
    let measured = |(revision, at): &(i64, i64)| {
        let commit = committed.get(revision).filter(|commit| **commit >= first)?;
        Some((*revision, at - commit))
    };
    let latencies = all.iter().flatten().filter_map(measured).map(|(_, latency)| latency).collect();
    let mut last = HashMap::new();
    for (revision, latency) in all.iter().flatten().filter_map(measured) {
        last.entry(revision).and_modify(|known: &mut i64| *known = latency.max(*known)).or_insert(latency);
    }
    Ok(Figures {
        mode: "live",
        clients,
        rows: rows as usize,
        rows_per_second: f64::from(rows) / took.as_secs_f64(),
        frames,
        commit_to_client: Spread::of(latencies).context("nothing was measured")?,
        commit_to_last_client: Spread::of(last.into_values().collect()).context("nothing was measured")?,
        gateway_before: before,
        gateway_after: after,
    })
}

/// One value a row, each of a GPU and time of its own.
fn write_rows(path: &std::path::Path, rows: u32, rate: u32) -> anyhow::Result<()> {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    writeln!(file, "timestamp,hostname,gpu_id,power_draw")?;
    let start = Timestamp::now().as_millis() / 1000;
    for row in 0..rows {
        let (second, gpu) = (start + i64::from(row / rate), row % rate);
        writeln!(file, "{second},host-{:04},{},{}", gpu / 8, gpu % 8, 100 + row % 600)?;
    }
    Ok(file.flush()?)
}

/// The first sample of a frame: host, GPU, time.
type First = (String, String, i64);
type Stream = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

/// Reads frames until told to stop and nothing more comes.
async fn read(
    mut stream: Stream,
    whole: bool,
    stop: CancellationToken,
) -> anyhow::Result<(Arrivals, Vec<(i64, First)>)> {
    let (mut arrivals, mut samples) = (Vec::new(), Vec::new());
    loop {
        let message = tokio::select! {
            message = stream.next() => message.context("the gateway closed the connection")??,
            () = stop.cancelled() => return Ok((arrivals, samples)),
        };
        let at = Timestamp::now().0;
        let Message::Text(text) = message else { continue };
        ensure!(!text.contains("\"type\":\"gap\""), "a client was told a gap: {text}");
        let Some(revision) = revision_of(&text) else { continue };
        arrivals.push((revision, at));
        if whole {
            let frame: Value = serde_json::from_str(&text)?;
            samples.push((revision, first_of(&frame).context("a frame without a sample")?));
        }
    }
}

fn revision_of(text: &str) -> Option<i64> {
    let rest = text.split_once("\"revision\":")?.1;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok().filter(|_| text.contains("\"samples\""))
}

fn first_of(frame: &Value) -> Option<First> {
    let sample = frame["samples"].get(0)?;
    let at: jiff::Timestamp = sample["timestamp"].as_str()?.parse().ok()?;
    Some((sample["host_id"].as_str()?.to_owned(), sample["gpu_id"].as_str()?.to_owned(), at.as_microsecond()))
}

/// When each sample was committed, once all of them are.
async fn commits(stack: &Stack, rows: usize) -> anyhow::Result<HashMap<First, i64>> {
    let all = async {
        loop {
            let found = stack.ask(include_str!("commits.sql")).await?;
            if found.len() >= rows {
                return anyhow::Ok(found);
            }
            sleep(Duration::from_millis(200)).await;
        }
    };
    let Ok(found) = timeout(LAST, all).await else { bail!("not all rows were stored within {LAST:?}") };
    Ok(found?.iter().map(|row| ((row.get(0), row.get(1), row.get(2)), row.get(3))).collect())
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures { clients, rows, rows_per_second, frames, gateway_before, gateway_after, .. } = self;
        writeln!(
            f,
            "{rows} rows at {rows_per_second:.0} rows/s in {frames} frames to {clients} clients, and one that never reads"
        )?;
        writeln!(f, "                          {HEADING}")?;
        writeln!(f, "COMMIT to client          {}", self.commit_to_client)?;
        writeln!(f, "COMMIT to the last client {}", self.commit_to_last_client)?;
        write!(
            f,
            "gateway: {:.1} MiB before, {:.1} MiB after; {:.1} s of processor time",
            gateway_before.rss_mib,
            gateway_after.rss_mib,
            gateway_after.cpu_seconds - gateway_before.cpu_seconds
        )
    }
}
