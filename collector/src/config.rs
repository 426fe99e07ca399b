use std::time::Duration;

use clap::Parser;
use nexus_common::config::{Common, Conditions, Logging, Traced, Watched, duration, some_time, switch};
use nexus_common::db;

/// Claims batches from the etcd queue and stores them in PostgreSQL, each row once.
#[derive(Debug, Clone, Parser)]
#[command(name = "nexus-collector", version, about)]
pub struct Config {
    #[command(flatten)]
    pub(crate) common: Common,

    #[command(flatten)]
    /// How to log.
    pub logging: Logging,

    #[command(flatten)]
    pub(crate) watched: Watched,

    #[command(flatten)]
    pub(crate) traced: Traced,

    #[command(flatten)]
    pub(crate) db: db::Config,

    /// Batches are claimed and acknowledged by so many pipelines at once; one of them at a time stores
    #[arg(long, env = "WORKERS", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) workers: u16,

    /// How often manifests are listed when ENABLE_WATCH_API is off
    #[arg(long, env = "POLL_TIMEOUT", default_value = "5s", value_parser = duration)]
    pub(crate) poll_timeout: Duration,

    /// Learn of new batches by etcd watch; off = list manifests every POLL_TIMEOUT
    #[arg(long, env = "ENABLE_WATCH_API", default_value = "true", value_parser = switch, action = clap::ArgAction::Set)]
    pub(crate) enable_watch_api: bool,

    /// Keep model, device, labels and place of each GPU up to date in the registry
    #[arg(long, env = "ENABLE_NEXUS", default_value = "true", value_parser = switch, action = clap::ArgAction::Set)]
    pub(crate) enable_nexus: bool,

    /// A batch that was claimed this often without being stored goes to the dead letters
    #[arg(long, env = "MAX_ATTEMPTS", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) max_attempts: u32,

    /// The most rows one PostgreSQL transaction takes, a larger batch excepted
    #[arg(long, env = "FLIGHT_ROWS", default_value_t = 40_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) flight_rows: u32,

    /// Compact etcd and bring it out of NOSPACE: for an etcd that is ours alone
    #[arg(long, env = "ETCD_UPKEEP", default_value = "false", value_parser = switch, action = clap::ArgAction::Set)]
    pub(crate) etcd_upkeep: bool,

    /// The server's --quota-backend-bytes; publishing stops when four fifths of it are in use
    #[arg(long, env = "ETCD_QUOTA_BYTES", default_value_t = 2 << 30, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) etcd_quota_bytes: u64,

    /// How often the oldest collector looks for what is the matter with GPUs; more rarely where a look takes long
    #[arg(long, env = "CONDITIONS_INTERVAL", default_value = "5s", value_parser = some_time)]
    pub(crate) conditions_interval: Duration,

    #[command(flatten)]
    pub(crate) conditions: Conditions,

    /// How often the oldest collector looks for hours to roll up; one after the other while there are some
    #[arg(long, env = "ROLLUP_INTERVAL", default_value = "10s", value_parser = some_time)]
    pub(crate) rollup_interval: Duration,

    /// An hour of a GPU is rolled up when nothing was stored of it for so long; it waits an hour at most
    #[arg(long, env = "ROLLUP_SETTLE", default_value = "2m", value_parser = duration)]
    pub(crate) rollup_settle: Duration,

    /// Drop samples, their rollups and ledger days older than this, such as 90d (at least 2d); without it all is kept. What
    /// was dropped stays counted
    #[arg(long, env = "RETENTION", value_parser = retention)]
    pub(crate) retention: Option<Duration>,

    /// How long a stop may wait for work in hand before it is given back
    #[arg(long, env = "DRAIN_TIMEOUT", default_value = "20s", value_parser = duration)]
    pub(crate) drain_timeout: Duration,
}

/// What is dropped does not come back: a unit that was mistaken (`90m`) must not empty the database.
fn retention(text: &str) -> Result<Duration, String> {
    const LEAST: Duration = Duration::from_secs(2 * 24 * 60 * 60);
    let keep = duration(text)?;
    if keep < LEAST { Err("is less than 2d; to keep everything leave it out".to_owned()) } else { Ok(keep) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn a_retention_that_looks_like_a_typing_error_is_refused() {
        assert_eq!(retention("90d"), Ok(Duration::from_secs(90 * 86_400)));
        assert_eq!(retention("48h"), Ok(Duration::from_secs(2 * 86_400)));
        for wrong in ["90m", "47h", "0s", "90", "-3d", ""] {
            assert!(retention(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        Config::command().debug_assert();
    }
}
