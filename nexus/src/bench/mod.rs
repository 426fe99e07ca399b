//! `nexus bench`: what the pipeline does, measured on servers of its own.
//!
//! Everything runs on this machine: etcd and PostgreSQL with fsync, the components as processes of their own, and the
//! clients in this one. What the clients cost is in the figures.

mod api;
mod figures;
mod live;
mod plot;
mod soak;
mod stack;
mod throughput;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

/// Measures the pipeline on servers of its own; what it prints can be repeated with the same options.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// What is measured
    #[arg(long, value_enum)]
    mode: Mode,

    /// Clients at once: 1000 of the live feed, 200 of the API where not given
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    clients: Option<u32>,

    /// Rows a second that are published (live, soak)
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(10..=100_000))]
    rate: u32,

    /// How long is measured, in seconds
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: u32,

    /// How long a client of the API waits between two questions; without a pause the machine is full
    #[arg(long, default_value = "0s", value_parser = nexus_common::config::duration)]
    pause: Duration,

    /// GPUs of the fleet
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(8..=100_000))]
    gpus: u32,

    /// Rows that are published (row, scrape), or loaded as history before the API is asked: ten values of a GPU and time
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    rows: u64,

    /// Hosts that the GPUs are in; without it eight GPUs are in each
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    hosts: Option<u32>,

    /// Collectors at once (row, scrape)
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    collectors: u32,

    /// Where the servers keep their data while it runs; without it the system's folder for temporary files
    #[arg(long)]
    dir: Option<PathBuf>,

    /// Where the plot of a soak goes, as SVG
    #[arg(long)]
    report: Option<PathBuf>,

    /// Print figures as one JSON object
    #[arg(long)]
    json: bool,
}

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// From the CSV file to committed rows, a message each
    Row,
    /// The same for scrapes: the ten metrics of a GPU are one message, a scrape one batch
    Scrape,
    /// From COMMIT to the clients of the live feed, one of which never reads
    Live,
    /// Answers of the API to many clients at once
    Api,
    /// Whether anything grows while rows flow at one rate, for as long as one likes
    Soak,
}

/// Measures, and prints the figures.
///
/// # Errors
/// Where a server or component does not start, or an answer is wrong: then no figure is printed.
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let dir = options.dir.as_deref();
    let (table, json) = match options.mode {
        Mode::Row | Mode::Scrape => {
            let figures = throughput::measure(dir, options).await?;
            (figures.to_string(), serde_json::to_string(&figures)?)
        }
        Mode::Live => {
            let figures = live::measure(dir, options.clients.unwrap_or(1_000), options.rate, options.seconds).await?;
            (figures.to_string(), serde_json::to_string(&figures)?)
        }
        Mode::Api => {
            let figures = api::measure(dir, options.clients.unwrap_or(200), options).await?;
            (figures.to_string(), serde_json::to_string(&figures)?)
        }
        Mode::Soak => {
            let figures = soak::measure(dir, options).await?;
            (figures.to_string(), serde_json::to_string(&figures)?)
        }
    };
    writeln!(std::io::stdout(), "{}", if options.json { json } else { table })?;
    Ok(())
}

/// What happens meanwhile, for people.
fn say(text: &str) {
    // Nobody reads it: nothing to fail for.
    let _ = writeln!(std::io::stderr(), "{text}");
}
