//! The live feed under many clients: how long from COMMIT until a client has the frame.
//!
//! Every frame is told to every client; one client never reads. PostgreSQL notes when it committed each sample, on the
//! same clock as ours. The first client reads whole frames, so that a revision can be matched with its samples; the
//! others note only which revision came when, and each must have got every revision once and in order.

use std::collections::HashMap;
use std::fmt;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::{Buf, Bytes, BytesMut};
use futures_util::StreamExt;
use nexus_common::domain::Timestamp;
use serde::Serialize;
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::MaybeTlsStream;
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
    /// How long the disk takes to make 4 KiB durable: between COMMIT and the feed lies one such write, etcd's.
    disk: Spread,
    gateway_before: Usage,
    gateway_after: Usage,
}

/// Which revision came when, in microseconds since 1970.
type Arrivals = Vec<(i64, i64)>;

/// Measures so many clients at this rate for so many seconds.
pub(super) async fn measure(dir: Option<&Path>, clients: u32, rate: u32, seconds: u32) -> anyhow::Result<Figures> {
    let mut stack = Stack::start(dir).await?;
    let disk = stack.disk()?;
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
        let reader = Reader::connect(&url).await.with_context(|| format!("client {number}"))?;
        readers.spawn(read(reader, number == 0, stop.clone()));
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
        disk,
        gateway_before: before,
        gateway_after: after,
    })
}

/// One value a row, each of a GPU and time of its own.
fn write_rows(path: &Path, rows: u32, rate: u32) -> anyhow::Result<()> {
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

/// A client that costs as little as it can, because it shares the machine with what is measured: the handshake is a
/// library's, then it takes text frames from the socket as they come. A server's frames are not masked.
struct Reader {
    stream: TcpStream,
    buffer: BytesMut,
}

impl Reader {
    async fn connect(url: &str) -> anyhow::Result<Reader> {
        let (mut stream, _) = tokio_tungstenite::connect_async(url).await?;
        // The first message says where the feed stands; nothing else comes before anything is published, so nothing is
        // left in the library's hands.
        stream.next().await.context("the gateway says nothing")??;
        let MaybeTlsStream::Plain(stream) = stream.into_inner() else { bail!("{url} is not plain") };
        Ok(Reader { stream, buffer: BytesMut::with_capacity(64 << 10) })
    }

    /// The next text, and when it was all there.
    async fn next(&mut self) -> anyhow::Result<(Bytes, i64)> {
        loop {
            if let Some((head, length)) = frame(&self.buffer)
                && self.buffer.len() >= head + length
            {
                let at = Timestamp::now().0;
                let opcode = self.buffer[0] & 0x0f;
                self.buffer.advance(head);
                let text = self.buffer.split_to(length).freeze();
                match opcode {
                    1 => return Ok((text, at)),
                    8 => bail!("the gateway closed the connection: {}", String::from_utf8_lossy(&text)),
                    // A question whether we are there is not answered within the minutes this takes.
                    _ => continue,
                }
            }
            let read = self.stream.read_buf(&mut self.buffer).await?;
            ensure!(read > 0, "the gateway ended the connection");
        }
    }
}

/// Lengths of the head and of what follows, once the head is there.
fn frame(bytes: &[u8]) -> Option<(usize, usize)> {
    match bytes.get(1)? & 0x7f {
        126 => Some((4, u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?).into())),
        127 => Some((10, usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?)),
        short => Some((2, short.into())),
    }
}

/// Reads frames until told to stop.
async fn read(
    mut reader: Reader,
    whole: bool,
    stop: CancellationToken,
) -> anyhow::Result<(Arrivals, Vec<(i64, First)>)> {
    let (mut arrivals, mut samples) = (Vec::new(), Vec::new());
    loop {
        let (text, at) = tokio::select! {
            next = reader.next() => next?,
            () = stop.cancelled() => return Ok((arrivals, samples)),
        };
        let start = std::str::from_utf8(&text[..text.len().min(200)]).unwrap_or_default();
        ensure!(!start.contains("\"type\":\"gap\""), "a client was told a gap: {start}");
        let Some(revision) = revision_of(start) else { continue };
        arrivals.push((revision, at));
        if whole {
            let frame: Value = serde_json::from_slice(&text)?;
            samples.push((revision, first_of(&frame).context("a frame without a sample")?));
        }
    }
}

fn revision_of(text: &str) -> Option<i64> {
    let rest = text.split_once("\"revision\":")?.1;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok().filter(|_| text.contains("\"type\":\"telemetry\""))
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
        writeln!(f, "4 KiB durable on the disk {}", self.disk)?;
        write!(
            f,
            "gateway: {:.1} MiB before, {:.1} MiB after; {:.1} s of processor time",
            gateway_before.rss_mib,
            gateway_after.rss_mib,
            gateway_after.cpu_seconds - gateway_before.cpu_seconds
        )
    }
}
