//! `nexus queue`: what waits, since when, in whose hands. Reads only: nothing here claims, renews, counts or deletes.

mod peek;
mod scene;
mod stats;
mod watch;

use clap::{Args, Subcommand};

/// Look into the queue without disturbing it.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Subcommand)]
enum Command {
    Stats(Box<stats::Options>),
    Peek(Box<peek::Options>),
    Watch(Box<watch::Options>),
}

/// Looks.
///
/// # Errors
/// Where etcd does not answer, or refuses.
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    match &options.command {
        Command::Stats(options) => stats::run(options).await,
        Command::Peek(options) => peek::run(options).await,
        Command::Watch(options) => watch::run(options).await,
    }
}
