//! `nexus-collector`: see [`nexus_collector`].

use std::process::ExitCode;

use clap::Parser;
use nexus_common::{logging, shutdown};

#[tokio::main]
async fn main() -> ExitCode {
    let config = nexus_collector::Config::parse();
    if let Err(line) = logging::start(&config.logging) {
        eprintln!("nexus-collector: {line}");
        return ExitCode::from(2);
    }
    let outcome = match shutdown::on_signal() {
        Ok(stop) => nexus_collector::run(config, stop).await,
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("nexus-collector: {error:#}");
            ExitCode::from(nexus_common::config::exit_status(&error))
        }
    }
}
