//! The command line: which commands there are, and how a wrong value is said.

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use nexus_common::component;

use crate::operator::{actions, audit, dlq, doctor, expired, members, queue, rewind, trace};
use crate::{bench, generate, gpus, keys, migrate, setup, tail, up};

/// GPU telemetry from CSV through etcd into PostgreSQL and out over HTTP.
#[derive(Debug, Parser)]
#[command(name = "nexus", about, subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// The gateway's configuration by itself.
#[derive(Debug, Parser)]
struct Gateway {
    #[command(flatten)]
    _config: nexus_gateway::Config,
}

/// What `nexus` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run everything on this machine: etcd, PostgreSQL, gateway, collectors and streamers; Ctrl-C stops it all
    Up(Box<up::Options>),
    /// Make sample telemetry
    Generate(Box<generate::Options>),
    /// List GPUs and what is the matter with them
    Gpus(Box<gpus::Options>),
    /// Account for every row that was read; exit status 1 where one is missing
    Audit(Box<audit::Options>),
    /// Look into the queue without disturbing it
    Queue(Box<queue::Options>),
    /// List, redrive and purge dead letters
    Dlq(Box<dlq::Options>),
    /// List rows that expired unread, and publish them again
    Expired(Box<expired::Options>),
    /// Read rows once more that were lost with a PostgreSQL that was restored
    Rewind(Box<rewind::Options>),
    /// List what operators did: redrives, republishes, purges and rewinds
    Actions(Box<actions::Options>),
    /// Make, list and revoke the gateway's API keys
    Keys(Box<keys::Options>),
    Migrate(Box<migrate::Options>),
    Members(Box<members::Options>),
    Trace(Box<trace::Options>),
    Doctor(Box<doctor::Options>),
    /// Measure the pipeline on servers of its own
    Bench(Box<bench::Options>),
    /// Show what GPUs report, live
    Tail(Box<tail::Options>),
    /// Start or stop the local etcd by itself
    Etcd(setup::Etcd),
    /// Start or stop the local PostgreSQL by itself
    Postgres(Box<setup::Postgres>),
    /// Run a streamer
    Streamer(Box<nexus_streamer::Config>),
    /// Run a collector
    Collector(Box<nexus_collector::Config>),
    /// Run the gateway
    Gateway(Box<nexus_gateway::Config>),
}

/// Reads arguments and environment. A value that cannot be read is one line and status 2.
pub(crate) fn parse() -> Command {
    let command = Cli::command().version(component::version(option_env!("NEXUS_COMMIT")));
    let parsed = command.try_get_matches().and_then(|matches| {
        let mut command = Cli::from_arg_matches(&matches)?.command;
        if let (Command::Up(options), Some(("up", given))) = (&mut command, matches.subcommand()) {
            options.own_etcd = !is_given(given, "etcd_endpoints");
            options.own_postgres = !is_given(given, "db_host");
            options.quiet = !is_given(given, "log_level");
            // The components read the same environment later: what they would refuse is refused before anything starts.
            nexus_streamer::Config::try_parse_from(["nexus"])?;
            nexus_collector::Config::try_parse_from(["nexus"])?;
            Gateway::try_parse_from(["nexus"])?;
        }
        Ok(command)
    });
    parsed.unwrap_or_else(|error| component::refuse("nexus", &error))
}

/// Whether the user named it, as a flag or in the environment.
fn is_given(matches: &ArgMatches, id: &str) -> bool {
    matches!(matches.value_source(id), Some(ValueSource::CommandLine | ValueSource::EnvVariable))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_are_consistent() {
        Cli::command().debug_assert();
    }
}
