//! `nexus expired`: rows that waited in the queue until they expired, and their way back.

mod list;
mod republish;
mod shelf;

use clap::{Args, Subcommand};
use nexus_common::books::expired::Batch;

use super::desk::{self, Desk};
use super::servers::Servers;

/// Rows that waited in the queue until they expired, and their way back.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  nexus expired list                                which lines of which file expired
  nexus expired republish --all                     read them from their files again, and publish them
  nexus expired republish --all --dir /archive      the files were moved to this folder
  nexus expired republish --file /archive/a.csv.gz  those of this file, whatever it was called (zipped or not)
  nexus expired republish --lane stream-5f… --file copy.csv   what was read from standard input")]
pub(crate) struct Options {
    #[command(flatten)]
    servers: Servers,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Subcommand)]
enum Command {
    /// Which lines of which file expired
    List(list::Options),
    /// Read expired rows from their files again, and publish them, each once
    Republish(republish::Options),
}

/// Runs a command.
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let desk = Desk::open(&options.servers).await?;
    let outcome = match &options.command {
        Command::List(asked) => list::run(&desk, &options.servers, asked).await,
        Command::Republish(asked) => republish::run(desk, &options.servers, asked).await,
    };
    outcome.map_err(desk::explain)
}

/// Whether a batch is of this file: its path as the streamer knew it, or the end of it.
fn is_of(batch: &Batch, file: &str) -> bool {
    batch.file.strip_suffix(file).is_some_and(|before| before.is_empty() || before.ends_with('/'))
}
