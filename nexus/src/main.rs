//! `nexus`: the local stack, the components, and the operator's commands, in one program.

mod bench;
mod cli;
mod generate;
mod gpus;
mod keys;
mod migrate;
mod operator;
mod programs;
mod setup;
mod tail;
mod up;
mod web;

use std::process::ExitCode;

use nexus_common::{component, config};

use crate::cli::Command;

#[tokio::main]
async fn main() -> ExitCode {
    match cli::parse() {
        Command::Up(options) => {
            let logging = options.own_logging();
            component::run("nexus", &logging, async |stop| up::run(*options, stop).await).await
        }
        Command::Generate(options) => report(generate::run(&options)),
        Command::Gpus(options) => report(gpus::run(&options).await),
        Command::Audit(options) => report(operator::audit::run(&options).await),
        Command::Queue(options) => report(operator::queue::run(&options).await),
        Command::Dlq(options) => report(operator::dlq::run(&options).await),
        Command::Expired(options) => report(operator::expired::run(&options).await),
        Command::Rewind(options) => report(operator::rewind::run(&options).await),
        Command::Actions(options) => report(operator::actions::run(&options).await),
        Command::Keys(options) => report(keys::run(&options)),
        Command::Migrate(options) => {
            let logging = options.logging.clone();
            component::run("nexus", &logging, async |stop| migrate::run(*options, stop).await).await
        }
        Command::Members(options) => report(operator::members::run(&options).await),
        Command::Trace(options) => report(operator::trace::run(&options).await),
        Command::Doctor(options) => report(operator::doctor::run(&options).await),
        Command::Bench(options) => report(bench::run(&options).await),
        Command::Tail(options) => {
            let logging = options.logging();
            component::run("nexus", &logging, async |stop| tail::run(*options, stop).await).await
        }
        Command::Etcd(options) => report(setup::etcd(&options).await),
        Command::Postgres(options) => report(setup::postgres(&options).await),
        Command::Streamer(config) => programs::streamer(*config).await,
        Command::Collector(config) => programs::collector(*config).await,
        Command::Gateway(config) => programs::gateway(*config).await,
    }
}

/// One line for an error, and the status that goes with it.
fn report(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("nexus: {error:#}");
            ExitCode::from(config::exit_status(&error))
        }
    }
}
