//! `nexus bench`: what the pipeline does, measured on servers of its own.
//!
//! Everything runs on this machine: etcd and PostgreSQL with fsync, the components as processes of their own, and the
//! clients in this one. What the clients cost is in the figures.
//!
//! A mode measures one thing and prints it, as a table or as one JSON object; `--mode all` runs the set, keeps what each
//! printed as JSON, and renders the document from what was kept.

mod api;
mod asking;
mod figures;
mod grow;
mod history;
mod live;
mod plot;
mod process;
mod profile;
mod pure;
mod recovery;
mod report;
mod soak;
mod stack;
mod start;
mod throughput;
mod watching;

use std::fmt::Display;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use nexus_common::component::small_pages;
use nexus_common::config::Invalid;
use serde::Serialize;

use self::asking::Crowd;
use self::grow::By;
use self::throughput::Load;

/// Measures the pipeline on servers of its own; what it prints can be repeated with the same options.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// What is measured
    #[arg(long, value_enum)]
    mode: Mode,

    /// Clients at once: of the live feed (1000 where not given), of the API (200), over a growing history (4)
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    clients: Option<u32>,

    /// Rows a second that are published (live, recovery, soak; api, while it is asked)
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(10..=100_000))]
    rate: u32,

    /// How long is measured, in seconds (live, api, soak; of grow each step)
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: u32,

    /// Measure the API once more, with clients that wait so long between two questions: without a pause the machine is full
    #[arg(long, default_value = "0s", value_parser = nexus_common::config::duration)]
    pause: Duration,

    /// GPUs of the fleet: 1000 where not given, 24 of a history that grows
    #[arg(long, value_parser = clap::value_parser!(u32).range(8..=100_000))]
    gpus: Option<u32>,

    /// Rows that are published (row, scrape, grow: 1000000 where not given); values that are stored (api: 10000000; a year of
    /// grow --by history: 100000000)
    #[arg(long, value_parser = clap::value_parser!(u64).range(1_000..))]
    rows: Option<u64>,

    /// Hosts that the GPUs are in; without it eight GPUs are in each (row, scrape)
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    hosts: Option<u32>,

    /// Collectors at once (row, scrape)
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    collectors: u32,

    /// Streamers at once, which share the file (row, scrape)
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    streamers: u32,

    /// How long, after that, 1,000 rows a second are published to live clients, in seconds (row, scrape)
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    light_seconds: u32,

    /// Look where processor time goes for five seconds of it, with `perf` (row, scrape, live, api; grow: of the last step,
    /// which is the only one then); the looking is in the other figures
    #[arg(long)]
    profile: bool,

    /// What grows (grow)
    #[arg(long, value_enum, required_if_eq("mode", "grow"))]
    by: Option<By>,

    /// How far it grows; without it 10000000 rows, 100000 GPUs, 8 collectors or streamers, a queue of 1000000 rows, 365 days
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    most: Option<u64>,

    /// How rows come (grow): a message each, or by scrapes
    #[arg(long, value_enum, default_value_t = Shape::Scrape)]
    shape: Shape,

    /// How often something is tried (start, recovery), or each part of the set is measured
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    times: u32,

    /// A small set within some minutes (all)
    #[arg(long)]
    quick: bool,

    /// Only these parts of the set are measured; the others stay as they were (all)
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,

    /// Nothing is measured: the document is rendered from what was kept (all)
    #[arg(long, conflicts_with = "only")]
    render: bool,

    /// Where the servers keep their data while it runs; without it the system's folder for temporary files
    #[arg(long)]
    dir: Option<PathBuf>,

    /// Where the plot goes, as SVG (soak, grow); where the document goes, with the folder `bench` beside it (all:
    /// docs/BENCHMARKS.md)
    #[arg(long)]
    report: Option<PathBuf>,

    /// Print figures as one JSON object
    #[arg(long)]
    json: bool,
}

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// From the CSV file to committed rows, a message each; then from publish to client while little flows
    Row,
    /// The same for scrapes: the ten metrics of a GPU are one message, a scrape as few batches as the live feed tells whole
    Scrape,
    /// From COMMIT to the clients of the live feed, one of which never reads
    Live,
    /// Answers of the API to many clients at once
    Api,
    /// How long everything takes to start
    Start,
    /// How long rows stand still when something dies
    Recovery,
    /// How figures change as something grows
    Grow,
    /// Whether anything grows while rows flow at one rate, for as long as one likes
    Soak,
    /// The pure parts of the hot path by themselves, as `make bench-parts` measured them last
    Parts,
    /// The set, each part several times, and the document
    All,
}

/// How rows come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Shape {
    /// One metric of all GPUs, then the next: a message each
    Row,
    /// All metrics of a GPU, then the next GPU: one message
    Scrape,
}

impl Options {
    fn load(&self, shape: Shape) -> Load {
        Load {
            shape,
            rows: self.rows.unwrap_or(1_000_000),
            gpus: self.gpus.unwrap_or(1_000),
            hosts: self.hosts,
            streamers: self.streamers,
            collectors: self.collectors,
            profile: self.profile,
        }
    }

    fn crowd(&self, clients: u32) -> Crowd {
        Crowd {
            clients: self.clients.unwrap_or(clients),
            seconds: self.seconds,
            pause: self.pause,
            opening: Duration::ZERO,
        }
    }
}

/// Measures, and prints the figures.
///
/// # Errors
/// Where a server or component does not start, or an answer is wrong: then no figure is printed.
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    // As `nexus up` does: etcd and PostgreSQL go without transparent huge pages, too.
    small_pages();
    let dir = options.dir.as_deref();
    match options.mode {
        Mode::Row => {
            print(options, &throughput::measure(dir, options.load(Shape::Row), Some(options.light_seconds)).await?)
        }
        Mode::Scrape => {
            print(options, &throughput::measure(dir, options.load(Shape::Scrape), Some(options.light_seconds)).await?)
        }
        Mode::Live => {
            let clients = options.clients.unwrap_or(1_000);
            print(options, &live::measure(dir, clients, options.rate, options.seconds, options.profile).await?)
        }
        Mode::Api => {
            let (gpus, values) = (options.gpus.unwrap_or(1_000), options.rows.unwrap_or(10_000_000));
            print(options, &api::measure(dir, options.crowd(200), gpus, values, options.rate, options.profile).await?)
        }
        Mode::Start => print(options, &start::measure(dir, options.times).await?),
        Mode::Recovery => print(options, &recovery::measure(dir, options.rate, options.times).await?),
        Mode::Grow => {
            let by = options.by.ok_or_else(|| Invalid("say what grows: --by rows".to_owned()))?;
            let curve = grow::measure(dir, by, options).await?;
            if let Some(report) = &options.report {
                curve.draw(report)?;
            }
            print(options, &curve)
        }
        Mode::Soak => print(options, &soak::measure(dir, options).await?),
        Mode::Parts => print(options, &pure::read()?),
        Mode::All => report::make(options).await,
    }
}

fn print(options: &Options, figures: &(impl Display + Serialize)) -> anyhow::Result<()> {
    let printed = if options.json { serde_json::to_string(figures)? } else { figures.to_string() };
    Ok(writeln!(std::io::stdout(), "{printed}")?)
}

/// What happens meanwhile, for people.
fn say(text: &str) {
    // Nobody reads it: nothing to fail for.
    let _ = writeln!(std::io::stderr(), "{text}");
}
