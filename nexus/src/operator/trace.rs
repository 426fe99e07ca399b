//! `nexus trace`.

use clap::Args;

use super::servers::Servers;

/// To come.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    servers: Servers,

    /// Print JSON, for scripts
    #[arg(long)]
    json: bool,
}

/// To come.
#[expect(clippy::unused_async, reason = "to come")]
pub(crate) async fn run(_options: &Options) -> anyhow::Result<()> {
    anyhow::bail!("to come")
}
