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
    /// How much waits, since when, who holds it, how fast it moves, and how full etcd is
    Stats(Box<stats::Options>),
    /// Show messages, oldest first
    Peek(Box<peek::Options>),
    /// Show batches as they are published, claimed and acknowledged, until Ctrl-C
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
