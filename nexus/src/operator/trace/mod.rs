//! `nexus trace`: one value back to its file, line and byte, and forward to where it is now.
//!
//! A sample does not say which batch brought it, and a stored batch leaves etcd. But the ledger says which bytes of which
//! source each batch held, and reading is repeatable: so the source is read again, and the row that says the same GPU and
//! time is the one. A file is known by its content (lanes are named after it), whatever it is called now.

mod file;
mod print;
mod question;
mod report;
mod search;
mod sources;

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use nexus_common::config::{Invalid, hostname};
use nexus_common::domain::{Metric, Timestamp};
use nexus_streamer::source::{self, DEFAULT_MAX_ROW_BYTES};

use self::question::{Question, Value};
use self::search::Search;
use self::sources::Files;
use super::servers::Servers;
use super::words::{json, piped};

/// Follow one value back to its file, line and byte, and say where it is now
///
/// The way leads through ledger, batch and queue; where it is now is one of: stored, in flight, queued, a dead letter,
/// expired, lost or unknown.
///
/// KEY is the key of a message, whole or its last part, or a batch's name. Sources are read again where they lie under the
/// name their streamer read, or where --file says.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  nexus trace --host host-004 --gpu 0 --at 2026-01-01T00:00:07Z --metric power_watts
  nexus trace --host host-004 --gpu GPU-5fd4f087 --at 1767225607 --file /archive/export.csv.gz
  nexus trace 1767225607000_host-004_0_1000000001        (a message, as nexus queue peek shows it)
  nexus trace 1767225607000_8f3a…-0of1.9c1d….7 --json    (a batch)")]
pub(crate) struct Options {
    /// A message's key, or a batch's name
    #[arg(conflicts_with_all = ["host", "gpu", "at", "metric"], required_unless_present = "host")]
    key: Option<String>,

    /// The host of the value
    #[arg(long, requires_all = ["gpu", "at"])]
    host: Option<String>,

    /// Its GPU: an index on the host, or a UUID
    #[arg(long, requires = "host")]
    gpu: Option<String>,

    /// When the GPU was read, exactly: RFC 3339, epoch seconds or milliseconds, as the API answers it
    #[arg(long, requires = "host", value_name = "TIME")]
    at: Option<String>,

    /// This metric only, by name, DCGM field or alias
    #[arg(long, requires = "host")]
    metric: Option<String>,

    /// Where a source is now; may be given several times
    #[arg(long, value_name = "PATH")]
    file: Vec<PathBuf>,

    /// As the streamer had it: host of rows whose form names none
    #[arg(long, env = "SOURCE_HOST")]
    source_host: Option<String>,

    /// As the streamer had it: offset from UTC of time stamps without one
    #[arg(long, env = "SOURCE_UTC_OFFSET", default_value = "+00:00", value_parser = source::utc_offset, allow_hyphen_values = true)]
    source_utc_offset: jiff::tz::Offset,

    /// As the streamer had it: the longest row in bytes
    #[arg(long, env = "MAX_ROW_BYTES", default_value_t = DEFAULT_MAX_ROW_BYTES)]
    max_row_bytes: usize,

    /// Print one JSON document
    #[arg(long)]
    json: bool,

    #[command(flatten, next_help_heading = "Servers")]
    servers: Servers,
}

impl Options {
    fn question(&self) -> Result<Question, Invalid> {
        if let Some(key) = &self.key {
            return Question::of_key(key);
        }
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let at = nexus_gateway::read::moment(&text(&self.at), Timestamp::now());
        let at = at.map_err(|error| Invalid(format!("--at: {error}")))?;
        let metric = self.metric.as_deref().map(Metric::named);
        Ok(Question::Value(Value { host: text(&self.host), gpu: text(&self.gpu), at, metric }))
    }

    fn source(&self) -> source::Options {
        source::Options {
            max_row_bytes: self.max_row_bytes,
            // What was published is read, whatever the clock says today.
            max_future: std::time::Duration::from_secs(100 * 365 * 86_400),
            source_host: Some(self.source_host.clone().unwrap_or_else(hostname)),
            utc_offset: self.source_utc_offset,
            ..source::Options::default()
        }
    }
}

/// Traces, and prints.
///
/// # Errors
/// [`Invalid`] for a question that cannot be understood; else where neither etcd nor PostgreSQL answers.
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let question = options.question()?;
    for path in &options.file {
        std::fs::File::open(path).map_err(|error| Invalid(format!("--file {}: {error}", path.display())))?;
    }
    let files = Files::new(options.source(), &options.file);
    let search = Search::open(&options.servers, files).await?;
    let report = search.find(&question).await.context("tracing")?;
    let mut out = std::io::stdout().lock();
    piped(|| match options.json {
        true => json(&mut out, &report),
        false => print::write(&mut out, &question.title(), &report),
    })
    .map(drop)
}
