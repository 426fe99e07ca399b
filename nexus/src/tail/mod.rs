//! `nexus tail`: the live feed in a terminal.
//!
//! It comes back by itself, from the position of the last message it was sent: what was missed in between follows, or is
//! said to be missing. Data goes to standard output, everything else to standard error. It ends with Ctrl-C, or when
//! nobody reads its output any more.

mod address;
mod connection;
mod line;

use std::io::{self, ErrorKind, IsTerminal, Write, stdout};
use std::time::Duration;

use clap::Args;
use nexus_common::config::{Invalid, LogFormat, Logging};
use nexus_common::retry::Retry;
use nexus_common::tls::{ClientConfig, Reloaded};
use tokio_util::sync::CancellationToken;

use self::address::Address;
use self::connection::{Connection, Failed};
use self::line::{Lines, Message};
use crate::keys::Shown;
use crate::web::Trust;

/// Shows what GPUs report, as it is stored.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Of this host only
    #[arg(long)]
    host: Option<String>,

    /// Of this GPU only: an index or a UUID
    #[arg(long)]
    gpu: Option<String>,

    /// This metric, by name, DCGM field or alias; may be given several times
    #[arg(long)]
    metric: Vec<String>,

    /// Of this cluster only
    #[arg(long)]
    cluster: Option<String>,

    /// Where the gateway is
    #[arg(long, env = "NEXUS_GATEWAY", default_value = "http://localhost:8080")]
    gateway: String,

    #[command(flatten)]
    trust: Trust,

    #[command(flatten)]
    shown: Shown,

    /// Messages as they come, one a line
    #[arg(long)]
    json: bool,

    /// Every frame, instead of the newest values where this terminal is slower than the feed
    #[arg(long)]
    all: bool,

    /// Go on from a position that the feed gave
    #[arg(long)]
    since: Option<String>,
}

impl Options {
    /// Nothing but the feed, unless something is wrong.
    pub(crate) fn logging(&self) -> Logging {
        Logging { log_level: "warn".to_owned(), log_format: Some(LogFormat::Text) }
    }
}

/// Shows the feed until `stop`, or until nobody reads it.
pub(crate) async fn run(options: Options, stop: CancellationToken) -> anyhow::Result<()> {
    let address = Address::of(&options)?;
    let tls = options.trust.keep(&address.url(None))?;
    let authorization = options.shown.authorization()?;
    let mut tail = Tail {
        lines: Lines { cluster: options.cluster.is_none(), coloured: stdout().is_terminal() },
        since: options.since,
        tls,
        json: options.json,
        retry: Retry::new(Duration::from_millis(500), Duration::from_secs(15)),
    };
    let shown = stop.run_until_cancelled(tail.show(&address, authorization.as_deref())).await;
    match shown {
        // Stopped.
        None => Ok(()),
        Some(Err(error)) if is_closed(&error) => Ok(()),
        Some(ended) => ended,
    }
}

struct Tail {
    lines: Lines,
    since: Option<String>,
    tls: Option<Reloaded<ClientConfig>>,
    json: bool,
    retry: Retry,
}

impl Tail {
    /// Connects and shows, again and again. Ends with an error only.
    async fn show(&mut self, address: &Address, authorization: Option<&str>) -> anyhow::Result<()> {
        let mut told = false;
        loop {
            let reason = match self.open(address, authorization).await {
                Ok(mut connection) => {
                    if std::mem::take(&mut told) {
                        eprintln!("nexus: connected to {address} again");
                    }
                    loop {
                        match connection.next().await {
                            Ok(text) => self.take(&text)?,
                            Err(reason) => break reason,
                        }
                    }
                }
                Err(Failed::ForGood(reason)) => return Err(Invalid(format!("{address}: {reason}")).into()),
                Err(Failed::ForNow(reason)) => reason,
            };
            if !std::mem::replace(&mut told, true) {
                eprintln!("nexus: {address}: {reason}; trying again");
            }
            tokio::time::sleep(self.retry.next_wait()).await;
        }
    }

    /// Connects once, with what the certificates' files hold now.
    async fn open(&self, address: &Address, authorization: Option<&str>) -> Result<Connection, Failed> {
        let tls = self.tls.as_ref().map(|tls| tls.present().value);
        Connection::open(&address.url(self.since.as_deref()), tls, authorization).await
    }

    /// Shows one message.
    fn take(&mut self, text: &str) -> io::Result<()> {
        self.retry.reset();
        let Ok(message) = serde_json::from_str::<Message>(text) else {
            eprintln!("nexus: the gateway said what this version cannot read: {}", line::plain(text));
            return Ok(());
        };
        if let Some(remark) = message.remark() {
            eprintln!("nexus: {remark}");
        }
        let mut out = stdout().lock();
        if !self.json {
            for line in self.lines.of(&message) {
                writeln!(out, "{line}")?;
            }
        } else if message.has_data() {
            writeln!(out, "{text}")?;
        }
        out.flush()?;
        // Only now: what was not shown is asked for again.
        self.since = message.position.or(self.since.take());
        Ok(())
    }
}

fn is_closed(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}
