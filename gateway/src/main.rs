//! `nexus-gateway`: see [`nexus_gateway`].

use std::process::ExitCode;

use clap::Parser;
use nexus_common::component;
use nexus_common::config::Invalid;
use nexus_gateway::Config;
use tokio::net::TcpListener;

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
    let (address, port, logging) = (config.bind_address, config.port, config.logging.clone());
    component::run("nexus-gateway", &logging, async |stop| {
        let listener = TcpListener::bind((address, port)).await;
        let listener = listener.map_err(|error| Invalid(format!("PORT={port} on {address}: {error}")))?;
        nexus_gateway::run(config, listener, stop).await
    })
    .await
}
