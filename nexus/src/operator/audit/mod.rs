//! `nexus audit`: can I trust that no row was lost on the way?

mod content;
mod deep;
mod file;
mod recount;
mod report;

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use nexus_common::books::{self, Audit, Scope};
use nexus_common::config::hostname;
use nexus_streamer::source;

use self::file::FileAccount;
use super::servers::Servers;

/// Accounts for every row that was read: read = stored + dead + queued + in flight + expired.
///
/// Exit status 0 only where nothing is missing, 1 where something is. Rows may flow meanwhile.
///
/// Examples: `nexus audit`, `nexus audit --file data.csv --deep`, `nexus audit --json | jq .total`.
#[derive(Debug, Clone, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    #[command(flatten)]
    servers: Servers,

    /// Count the rows of this file anew, and look for each of them in the batches
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,

    /// Compare every stored value with the file
    #[arg(long, requires = "file")]
    deep: bool,

    /// Only this lane, or all whose names begin so
    #[arg(long)]
    lane: Option<String>,

    /// The host of rows whose form names none (nvidia-smi), as the streamer had it; without it this host's name
    #[arg(long, env = "SOURCE_HOST")]
    source_host: Option<String>,

    /// Offset from UTC of time stamps without one, as the streamer had it
    #[arg(long, env = "SOURCE_UTC_OFFSET", default_value = "+00:00", value_parser = source::utc_offset)]
    source_utc_offset: jiff::tz::Offset,

    /// Print JSON, for scripts
    #[arg(long)]
    json: bool,
}

/// Prints the account; an error where it does not balance.
///
/// # Errors
/// Where a row is missing, or one of the sides cannot be read.
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let (client, keys) = options.servers.queue().await?;
    let memory = options.servers.memory()?;
    let file = match &options.file {
        None => None,
        Some(path) => Some(file::account(&client, &keys, &memory, path, &options.source(), options.deep).await?),
    };
    let scope = match (&file, &options.lane) {
        (_, Some(lane)) => Scope::Beginning(lane.clone()),
        (Some(file), None) => Scope::Named(file.lanes.clone()),
        (None, None) => Scope::All,
    };
    let audit = books::audit(&client, &keys, &memory, &scope).await.map_err(|error| options.unread(error))?;
    if let (Some(lane), true) = (&options.lane, audit.lanes.is_empty()) {
        anyhow::bail!("cluster {} has no lane that is called or begins with {lane:?}", keys.cluster_id());
    }
    let mut out = std::io::stdout().lock();
    let written = match options.json {
        true => writeln!(out, "{}", report::json(&audit, file.as_ref())),
        false => report::write(&mut out, &audit, file.as_ref()),
    };
    if let Err(error) = written
        && error.kind() != std::io::ErrorKind::BrokenPipe
    {
        return Err(error.into());
    }
    verdict(&audit, file.as_ref())
}

/// What is wrong, in one line.
fn verdict(audit: &Audit, file: Option<&FileAccount>) -> anyhow::Result<()> {
    let mut wrong = Vec::new();
    let unbalanced = audit.lanes.iter().filter(|lane| lane.figures.residue != 0).count();
    if unbalanced > 0 {
        wrong.push(format!("{unbalanced} lanes do not balance (residue {} in all)", audit.total.residue));
    }
    let unknown = audit.lanes.iter().filter(|lane| !lane.known).count();
    if unknown > 0 {
        wrong.push(format!(
            "etcd has lost the cursors of {unknown} lanes: how far their sources were read is not known"
        ));
    }
    if !audit.unreadable.is_empty() {
        wrong.push(format!("{} keys cannot be read by this version", audit.unreadable.len()));
    }
    wrong.extend(file.into_iter().flat_map(FileAccount::wrong));
    anyhow::ensure!(wrong.is_empty(), "not balanced: {}", wrong.join("; "));
    Ok(())
}

impl Options {
    /// No verdict: one of the sides cannot be read.
    fn unread(&self, error: books::Error) -> anyhow::Error {
        match error {
            books::Error::Queue(error) => self.servers.etcd_failed(error),
            books::Error::Memory(error) => self.servers.memory_failed(error),
            error => error.into(),
        }
    }

    /// As the streamer read it.
    fn source(&self) -> source::Options {
        source::Options {
            source_host: Some(self.source_host.clone().unwrap_or_else(hostname)),
            utc_offset: self.source_utc_offset,
            ..source::Options::default()
        }
    }
}
