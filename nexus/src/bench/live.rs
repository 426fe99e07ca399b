//! The live feed under many clients: how long from COMMIT until a client has the frame.
//!
//! Every frame is told to every client; one client never reads. PostgreSQL notes when it committed each sample, on the
//! same clock as ours, and so does the kernel when a frame is in a client's socket. The first client keeps whole frames, so
//! that a revision can be matched with its samples; the others note only which revision came when, and each must have got
//! every revision once and in order.

use std::collections::HashMap;
use std::fmt;
use std::io::{ErrorKind, IoSliceMut, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use futures_util::StreamExt;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use nexus_common::domain::Timestamp;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt};
use serde::Serialize;
use serde_json::Value;
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
/// Threads that read for all clients: more would take turns with the gateway's.
const THREADS: usize = 2;

/// What was measured.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    mode: &'static str,
    clients: u32,
    rows: usize,
    rows_per_second: f64,
    frames: usize,
    /// From COMMIT until the kernel had the frame in a client's socket, over all clients but the one that never reads: what
    /// a client on a machine of its own has to wait for.
    commit_to_socket: Spread,
    /// From COMMIT until a client here has read the frame, over all clients but the one that never reads.
    commit_to_client: Spread,
    /// The same for the last of all clients to get each frame.
    commit_to_last_client: Spread,
    /// How long the disk takes to make 4 KiB durable: between COMMIT and the feed lies one such write, etcd's.
    disk: Spread,
    gateway_before: Usage,
    gateway_after: Usage,
}

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
    let mut readers = Vec::new();
    for number in 0..clients {
        let reader = Reader::connect(&url, number == 0).await;
        readers.push(reader.with_context(|| format!("client {number}"))?);
    }
    let mut reading = JoinSet::new();
    let share = readers.len().div_ceil(THREADS);
    while !readers.is_empty() {
        let (part, stopped) = (readers.split_off(readers.len().saturating_sub(share)), stop.clone());
        reading.spawn_blocking(move || read(part, &stopped));
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

    while let Some(read) = reading.join_next().await {
        readers.extend(read??);
    }
    let first = readers.iter().find(|reader| reader.texts.is_some()).context("there is no client")?;
    let frames = first.arrivals.len();
    ensure!(frames > 0, "no frame came");
    let revisions = |reader: &Reader| reader.arrivals.iter().map(|arrival| arrival.revision).collect::<Vec<_>>();
    let expected = revisions(first);
    let complete = readers.iter().all(|reader| revisions(reader) == expected);
    ensure!(complete, "not every client got every revision once and in order");
    let mut committed = HashMap::new();
    for (revision, text) in expected.into_iter().zip(first.texts.iter().flatten()) {
        let sample = first_of(&serde_json::from_slice(text)?).context("a frame without a sample")?;
        committed.insert(revision, *commits.get(&sample).context("a frame could not be matched with a commit")?);
    }

    // The first two seconds make connections and partitions.
    let begin = commits.values().min().copied().unwrap_or_default() + 2_000_000;
    let (mut in_socket, mut read, mut last) = (Vec::new(), Vec::new(), HashMap::new());
    for arrival in readers.iter().flat_map(|reader| &reader.arrivals) {
        let Some(commit) = committed.get(&arrival.revision).filter(|commit| **commit >= begin) else { continue };
        in_socket.push(arrival.in_socket - commit);
        read.push(arrival.read - commit);
        let last: &mut i64 = last.entry(arrival.revision).or_default();
        *last = (*last).max(arrival.read - commit);
    }
    Ok(Figures {
        mode: "live",
        clients,
        rows: rows as usize,
        rows_per_second: f64::from(rows) / took.as_secs_f64(),
        frames,
        commit_to_socket: Spread::of(in_socket).context("nothing was measured")?,
        commit_to_client: Spread::of(read).context("nothing was measured")?,
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
/// library's, then [`read()`] takes text frames from its socket as they come. A server's frames are not masked.
struct Reader {
    stream: TcpStream,
    /// The beginning of a frame whose end has not come.
    begun: Vec<u8>,
    arrivals: Vec<Arrival>,
    /// Whole texts, where they are wanted.
    texts: Option<Vec<Vec<u8>>>,
}

/// When a revision came, in microseconds since 1970.
#[derive(Debug, Clone, Copy)]
struct Arrival {
    revision: i64,
    /// The kernel had it for the client.
    in_socket: i64,
    /// The client had it.
    read: i64,
}

impl Reader {
    async fn connect(url: &str, whole: bool) -> anyhow::Result<Reader> {
        let (mut stream, _) = tokio_tungstenite::connect_async(url).await?;
        // The first message says where the feed stands; nothing else comes before anything is published, so nothing is
        // left in the library's hands.
        stream.next().await.context("the gateway says nothing")??;
        let MaybeTlsStream::Plain(stream) = stream.into_inner() else { bail!("{url} is not plain") };
        let stream = stream.into_std()?;
        #[cfg(target_os = "linux")]
        {
            setsockopt(&stream, nix::sys::socket::sockopt::ReceiveTimestampns, &true)?;
            // What was received is acknowledged a little later, not while others wait for their frames.
            socket2::SockRef::from(&stream).set_tcp_quickack(false)?;
        }
        let texts = whole.then(Vec::new);
        Ok(Reader { stream: TcpStream::from_std(stream), begun: Vec::new(), arrivals: Vec::new(), texts })
    }

    /// Takes what is there.
    fn take(&mut self, room: &mut [u8], times: &mut [u8]) -> anyhow::Result<()> {
        loop {
            let (length, in_socket) = match receive(&self.stream, room, times) {
                Ok((0, _)) => bail!("the gateway ended the connection"),
                Ok(received) => received,
                Err(Errno::EAGAIN) => return Ok(()),
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let read = Timestamp::now().0;
            let in_socket = in_socket.unwrap_or(read);
            if self.begun.is_empty() {
                let rest = self.frames(&room[..length], in_socket, read)?;
                self.begun.extend_from_slice(&room[length - rest..length]);
            } else {
                let mut bytes = std::mem::take(&mut self.begun);
                bytes.extend_from_slice(&room[..length]);
                let rest = self.frames(&bytes, in_socket, read)?;
                bytes.drain(..bytes.len() - rest);
                self.begun = bytes;
            }
            if length < room.len() {
                return Ok(());
            }
        }
    }

    /// Notes the frames in these bytes. Returns how many bytes are left of one whose end is not there yet.
    fn frames(&mut self, mut bytes: &[u8], in_socket: i64, read: i64) -> anyhow::Result<usize> {
        while let Some((head, length)) = frame(bytes)
            && let Some(text) = bytes.get(head..head + length)
        {
            match bytes[0] & 0x0f {
                1 => self.note(text, in_socket, read)?,
                8 => bail!("the gateway closed the connection: {}", String::from_utf8_lossy(text)),
                // An answer without content, masked with zeros.
                9 => self.stream.write_all(&[0x8a, 0x80, 0, 0, 0, 0])?,
                _ => {}
            }
            bytes = &bytes[head + length..];
        }
        Ok(bytes.len())
    }

    fn note(&mut self, text: &[u8], in_socket: i64, read: i64) -> anyhow::Result<()> {
        let start = std::str::from_utf8(&text[..text.len().min(200)]).unwrap_or_default();
        ensure!(!start.contains("\"type\":\"gap\""), "a client was told a gap: {start}");
        let Some(revision) = revision_of(start) else { return Ok(()) };
        self.arrivals.push(Arrival { revision, in_socket, read });
        if let Some(texts) = &mut self.texts {
            texts.push(text.to_vec());
        }
        Ok(())
    }
}

/// Reads what there is, and the time at which its last byte was in the socket, in microseconds since 1970.
#[cfg(target_os = "linux")]
fn receive(stream: &TcpStream, room: &mut [u8], times: &mut [u8]) -> Result<(usize, Option<i64>), Errno> {
    let mut into = [IoSliceMut::new(room)];
    let message = recvmsg::<()>(stream.as_raw_fd(), &mut into, Some(times), MsgFlags::MSG_DONTWAIT)?;
    let in_socket = message.cmsgs()?.find_map(|told| match told {
        ControlMessageOwned::ScmTimestampns(at) => Some(at.tv_sec() * 1_000_000 + at.tv_nsec() / 1_000),
        _ => None,
    });
    Ok((message.bytes, in_socket))
}

/// The same where a kernel keeps no such times.
#[cfg(not(target_os = "linux"))]
fn receive(stream: &TcpStream, room: &mut [u8], _: &mut Vec<u8>) -> Result<(usize, Option<i64>), Errno> {
    let read = nix::sys::socket::recv(stream.as_raw_fd(), room, MsgFlags::MSG_DONTWAIT)?;
    Ok((read, None))
}

/// Lengths of the head and of what follows, once the head is there.
fn frame(bytes: &[u8]) -> Option<(usize, usize)> {
    match bytes.get(1)? & 0x7f {
        126 => Some((4, u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?).into())),
        127 => Some((10, usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?)),
        short => Some((2, short.into())),
    }
}

/// Reads frames of these clients, in one thread, until told to stop.
fn read(mut readers: Vec<Reader>, stop: &CancellationToken) -> anyhow::Result<Vec<Reader>> {
    let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(readers.len()));
    for (number, reader) in readers.iter_mut().enumerate() {
        poll.registry().register(&mut reader.stream, Token(number), Interest::READABLE)?;
    }
    let (mut room, mut times) = (vec![0; 128 << 10], nix::cmsg_space!(nix::sys::time::TimeSpec));
    while !stop.is_cancelled() {
        match poll.poll(&mut events, Some(Duration::from_millis(100))) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        for event in &events {
            readers[event.token().0].take(&mut room, &mut times)?;
        }
    }
    Ok(readers)
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
        writeln!(f, "COMMIT to client's socket {}", self.commit_to_socket)?;
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
