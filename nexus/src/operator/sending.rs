//! Publishing rows once more: the lane of a return, back-pressure, and words for whoever waits.
//!
//! A return is noted in PostgreSQL before its first row is published, and its lane's cursor moves with every batch. So
//! whoever is killed here loses nothing: the same command goes on behind the last batch that was published.

use std::io::IsTerminal;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use nexus_common::books::returns::Return;
use nexus_common::config::{duration, some_time};
use nexus_common::domain::Reject;
use nexus_common::etcd::Client;
use nexus_common::queue::{Body, Bounds, Depth, Draft, Fate, Keys, Lane};
use nexus_streamer::source;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::servers::Servers;
use super::{table, words};

/// How long etcd may be silent before somebody hears of it.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a publish that is not answered asks why.
const ASK_EVERY: Duration = Duration::from_secs(2);

/// How rows go into the queue again: the streamer's variables.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub(crate) struct Manner {
    /// How long a message waits in the queue before it expires (which is recorded)
    #[arg(long, env = "MESSAGE_TTL", default_value = "1h", value_parser = some_time)]
    message_ttl: Duration,

    /// Stop publishing while so many rows wait in the queue
    #[arg(long, env = "HIGH_WATER_ROWS", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    high_water_rows: u64,
}

/// How rows are read once more: the streamer's variables. They must be what they were when the file was streamed.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub(crate) struct Reading {
    /// Host of rows whose form names none (nvidia-smi): what the streamer had, by default its host's name
    #[arg(long, env = "SOURCE_HOST")]
    source_host: Option<String>,

    /// Offset from UTC of time stamps without one, such as +02:00
    #[arg(long, env = "SOURCE_UTC_OFFSET", default_value = "+00:00", value_parser = source::utc_offset)]
    source_utc_offset: jiff::tz::Offset,

    /// The longest row in bytes
    #[arg(long, env = "MAX_ROW_BYTES", default_value_t = source::DEFAULT_MAX_ROW_BYTES)]
    max_row_bytes: usize,

    /// How far ahead of the clock a row's time may lie
    #[arg(long, env = "MAX_FUTURE", default_value = "1day", value_parser = duration)]
    max_future: Duration,
}

impl Reading {
    pub(crate) fn options(&self) -> source::Options {
        source::Options {
            max_row_bytes: self.max_row_bytes,
            max_future: self.max_future,
            // Not this machine's name, which need not be that of the streamer's: better to ask.
            source_host: self.source_host.clone(),
            utc_offset: self.source_utc_offset,
            ..source::Options::default()
        }
    }
}

/// What became of a batch.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Sent {
    /// It is in the queue.
    Yes,
    /// Open the lane again and go on from where its cursor stands: etcd lost what it had, or takes smaller batches only.
    Again,
}

/// A way into the queue.
pub(crate) struct Sending {
    client: Client,
    keys: Keys,
    manner: Manner,
    depth: watch::Receiver<Option<Depth>>,
    _following: JoinSet<()>,
    told: Instant,
    pub(crate) bounds: Bounds,
}

impl Sending {
    /// Looks whether etcd takes anything at all.
    ///
    /// # Errors
    /// Where it does not answer, or is full.
    pub(crate) async fn begin(servers: &Servers, manner: &Manner) -> anyhow::Result<Sending> {
        let (client, keys) = servers.queue().await?;
        client.health().await.with_context(|| format!("etcd at {}", servers.common.etcd_endpoints.join(",")))?;
        if client.count(&keys.members("collector")).await? == 0 {
            eprintln!(
                "nexus: no collector is running: what is published waits in the queue, and expires after {}",
                humane(manner.message_ttl)
            );
        }
        let (depth, work) = Depth::follow(client.clone(), &keys);
        let mut following = JoinSet::new();
        following.spawn(work);
        let sending = Sending {
            client,
            keys,
            manner: manner.clone(),
            depth,
            _following: following,
            told: Instant::now(),
            bounds: Bounds::new(usize::MAX, servers.common.max_txn_ops),
        };
        sending.has_space().await?;
        Ok(sending)
    }

    /// Opens a return's lane. Whoever had it open before can publish nothing any more.
    ///
    /// # Errors
    /// Where etcd does not answer, or refuses.
    pub(crate) async fn open(&self, of: &Return) -> anyhow::Result<Lane> {
        let (name, start) = (of.lane(), Value::Object(serde_json::Map::default()));
        let opening = Lane::open(&self.client, &self.keys, &name, &start, self.manner.message_ttl);
        match tokio::time::timeout(PATIENCE, opening).await {
            Ok(lane) => Ok(lane?),
            Err(_) => bail!("etcd does not answer; the same command goes on later"),
        }
    }

    /// Where a lane's cursor stands in its source, as its producer wrote it; `None` where etcd has no such lane (any more).
    ///
    /// # Errors
    /// As etcd answers.
    pub(crate) async fn position(&self, lane: &str) -> anyhow::Result<Option<Value>> {
        Ok(Lane::look(&self.client, &self.keys, lane).await?.map(|cursor| cursor.position))
    }

    /// Publishes a batch when there is room for it.
    ///
    /// # Errors
    /// Where somebody else goes on with this return, or etcd is full, away or refuses for good.
    pub(crate) async fn publish(
        &mut self,
        lane: &mut Lane,
        mut draft: Draft,
        position: &Value,
    ) -> anyhow::Result<Sent> {
        self.has_room().await?;
        self.has_space().await?;
        loop {
            match self.attempt(lane, &draft, position).await? {
                Ok(_) => return Ok(Sent::Yes),
                Err(Fate::Fenced(lane)) => {
                    bail!("somebody else goes on with {lane} (the same command, run again): it is in their hands now")
                }
                Err(Fate::Rewound(lane)) => {
                    eprintln!("nexus: etcd went back in time: going on from where the cursor of {lane} stands");
                    return Ok(Sent::Again);
                }
                Err(Fate::TooLarge(_)) if draft.messages.len() > 1 => {
                    self.bounds.messages = self.bounds.messages.min(draft.messages.len().div_ceil(2));
                    self.bounds.bytes /= 2;
                    return Ok(Sent::Again);
                }
                Err(Fate::TooLarge(reason)) => {
                    anyhow::ensure!(bury(&mut draft, &reason), "etcd refuses even a single message: {reason}");
                }
                Err(fate) => return Err(fate.into()),
            }
        }
    }

    /// Waits for etcd's answer as long as etcd answers otherwise.
    async fn attempt(
        &self,
        lane: &mut Lane,
        draft: &Draft,
        position: &Value,
    ) -> anyhow::Result<Result<nexus_common::queue::BatchId, Fate>> {
        let mut silent_since = Instant::now();
        let mut publishing = std::pin::pin!(lane.publish(draft, position));
        loop {
            tokio::select! {
                outcome = &mut publishing => return Ok(outcome),
                () = tokio::time::sleep(ASK_EVERY) => {}
            }
            match self.client.out_of_space().await {
                Ok(true) => bail!(NO_SPACE),
                Ok(false) => silent_since = Instant::now(),
                Err(error) if silent_since.elapsed() > PATIENCE => {
                    bail!("{error}; nothing is lost, the same command goes on later")
                }
                Err(_) => {}
            }
        }
    }

    async fn has_space(&self) -> anyhow::Result<()> {
        match self.client.out_of_space().await? {
            true => bail!(NO_SPACE),
            false => Ok(()),
        }
    }

    /// Waits below the high-water mark.
    async fn has_room(&mut self) -> anyhow::Result<()> {
        let limit = self.manner.high_water_rows;
        let queued = |depth: &Option<Depth>| depth.map(|depth| depth.rows);
        let listed = tokio::time::timeout(PATIENCE, self.depth.wait_for(Option::is_some)).await;
        let rows = queued(&*listed.context("etcd does not tell what is queued; the same command goes on later")??);
        if rows.is_some_and(|rows| rows >= limit) {
            eprintln!(
                "nexus: waiting: {} rows are queued, HIGH_WATER_ROWS is {}; collectors make room, and Ctrl-C loses nothing",
                table::count(rows.unwrap_or(0)),
                table::count(limit)
            );
            self.depth.wait_for(|depth| queued(depth).is_some_and(|rows| rows < limit)).await?;
        }
        Ok(())
    }

    /// Says how far it is, now and then.
    pub(crate) fn tell(&mut self, of: &Return, published: u64) {
        const NOW_AND_THEN: Duration = Duration::from_secs(2);
        if std::io::stderr().is_terminal() && self.told.elapsed() > NOW_AND_THEN {
            self.told = Instant::now();
            eprintln!("nexus: {} {}: {} of {}", of.kind.name(), of.id, table::count(published), words::rows(of.rows));
        }
    }
}

const NO_SPACE: &str = "etcd is out of space (NOSPACE alarm): nothing more is published; \
     start collectors to drain it (upkeep then clears the alarm), and run the same command again: it goes on where it stopped";

/// A row that etcd does not take becomes a dead letter once more; `false` when it is one already.
fn bury(draft: &mut Draft, reason: &str) -> bool {
    let [body @ Body::Rows { rows, .. }] = draft.messages.as_slice() else { return false };
    let [row] = rows.as_slice() else { return false };
    let reject = Reject::new(format!("too large for etcd: {reason}"), &body.encode());
    draft.messages = vec![Body::Dead { line: row.line, byte: row.byte, reject }];
    true
}

fn humane(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3_600),
    }
}
