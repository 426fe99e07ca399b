//! `nexus-gateway`: see [`nexus_gateway`].

use std::process::ExitCode;

use clap::Parser;
use nexus_common::component;
use nexus_gateway::Config;

/// Nexus gateway: GPU telemetry over HTTP
#[derive(Parser)]
#[command(name = "nexus-gateway", version)]
struct Program {
    #[command(flatten)]
    config: Config,
}

#[tokio::main]
async fn main() -> ExitCode {
    let config = component::parse::<Program>("nexus-gateway").config;
    let logging = config.logging.clone();
    component::run("nexus-gateway", &logging, async |stop| nexus_gateway::listen(config, stop).await).await
}
