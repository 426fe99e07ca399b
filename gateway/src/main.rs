//! `nexus-gateway`: parse, listen, run, exit code.

use std::process::ExitCode;

use clap::Parser;
use nexus_common::{logging, shutdown};
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
    let config = Program::parse().config;
    if let Err(error) = logging::start(&config.logging) {
        return refuse(&error);
    }
    let listener = match TcpListener::bind((config.bind_address, config.port)).await {
        Ok(listener) => listener,
        Err(error) => return refuse(&format!("PORT={} on {}: {error}", config.port, config.bind_address)),
    };
    let ended = match shutdown::on_signal() {
        Ok(stop) => nexus_gateway::run(config, listener, stop).await,
        Err(error) => Err(error.into()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A value that cannot work: one line, status 2.
fn refuse(reason: &str) -> ExitCode {
    eprintln!("error: {reason}");
    ExitCode::from(2)
}
