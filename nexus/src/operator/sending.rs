//! Publishing rows once more, from the command line: how, and words for whoever waits. See [`nexus_common::books::sending`].

use std::io::IsTerminal;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use nexus_common::books::sending::{self, Told};
pub(crate) use nexus_common::books::sending::{Error, Sending, Sent};
use nexus_common::config::{duration, some_time};
use nexus_streamer::source;
use tokio::time::Instant;

use super::servers::Servers;
use super::{table, words};

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

/// A way into the queue, that says on standard error what it waits for and how far it is.
///
/// # Errors
/// Where etcd does not answer, or is full.
pub(crate) async fn begin(servers: &Servers, manner: &Manner) -> anyhow::Result<Sending> {
    let (client, keys) = servers.queue().await?;
    client.health().await.with_context(|| format!("etcd at {}", servers.common.etcd_endpoints.join(",")))?;
    let Manner { message_ttl, high_water_rows } = *manner;
    let manner = sending::Manner { message_ttl, high_water_rows, max_txn_ops: servers.common.max_txn_ops };
    let mut told = Instant::now();
    let tell = move |what: Told<'_>| match what {
        Told::NoCollector => eprintln!(
            "nexus: no collector is running: what is published waits in the queue, and expires after {}",
            humane(message_ttl)
        ),
        Told::Waiting { queued, limit } => eprintln!(
            "nexus: waiting: {} rows are queued, HIGH_WATER_ROWS is {}; collectors make room, and Ctrl-C loses nothing",
            table::count(queued),
            table::count(limit)
        ),
        Told::Rewound(lane) => {
            eprintln!("nexus: etcd went back in time: going on from where the cursor of {lane} stands");
        }
        Told::Published { of, rows } => {
            const NOW_AND_THEN: Duration = Duration::from_secs(2);
            if std::io::stderr().is_terminal() && told.elapsed() > NOW_AND_THEN {
                told = Instant::now();
                eprintln!("nexus: {} {}: {} of {}", of.kind.name(), of.id, table::count(rows), words::rows(of.rows));
            }
        }
    };
    Sending::begin(client, keys, manner, Box::new(tell)).await.map_err(failed)
}

/// What PostgreSQL said by itself, so that it is not said twice.
pub(crate) fn failed(error: Error) -> anyhow::Error {
    match error {
        Error::Memory(error) => error.into(),
        error => error.into(),
    }
}

fn humane(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3_600),
    }
}
