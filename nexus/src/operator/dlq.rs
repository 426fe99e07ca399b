//! `nexus dlq`.

use clap::{Args, Subcommand};

use super::servers::Servers;

/// To come.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    servers: Servers,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Subcommand)]
enum Command {}

/// To come.
#[expect(clippy::unused_async, reason = "to come")]
pub(crate) async fn run(_options: &Options) -> anyhow::Result<()> {
    anyhow::bail!("to come")
}
