use std::time::Duration;

use clap::Parser;
use nexus_common::config::{Common, Logging, Traced, Watched, duration, switch};

use crate::source::{DEFAULT_MAX_ROW_BYTES, Stripe};

/// Reads GPU telemetry CSV and publishes its rows as TTL'd etcd queue keys, each once.
#[derive(Debug, Clone, Parser)]
#[command(name = "nexus-streamer", version, about)]
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

    /// How many of all batches are traced, from 0 to 1, where OTEL_EXPORTER_OTLP_ENDPOINT is set; collectors and gateways follow
    #[arg(long, env = "OTEL_TRACES_SAMPLER_ARG", value_name = "SHARE", default_value_t = 0.01, value_parser = share)]
    pub(crate) traced_share: f64,

    /// A file, a folder, a glob, or - for standard input; *.gz is decompressed
    #[arg(long, env = "CSV_FILE", default_value = "data/gpu_telemetry_sample.csv")]
    pub(crate) csv_file: String,

    /// Most rows of a batch; fewer where 1 MiB, a transaction or the live feed's 256 KiB is full before
    #[arg(long, env = "BATCH_SIZE", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) batch_size: u32,

    /// Pause between batches; 0s = as fast as the queue takes
    #[arg(long, env = "STREAM_INTERVAL", default_value = "3s", value_parser = duration)]
    pub(crate) stream_interval: Duration,

    /// Start again at the end, with the time stamps of now; never before the last pass's end, so a pass that is published
    /// faster than the time it covers runs ahead of the clock
    #[arg(long, env = "LOOP_MODE", default_value = "true", value_parser = switch, action = clap::ArgAction::Set)]
    pub(crate) loop_mode: bool,

    /// Read lines as they are appended and files as they appear; wins over LOOP_MODE
    #[arg(long, env = "FOLLOW", default_value = "false", value_parser = switch, action = clap::ArgAction::Set)]
    pub(crate) follow: bool,

    /// How long a message waits in the queue before it expires (which is recorded); at most a minute longer
    #[arg(long, env = "MESSAGE_TTL", default_value = "1h", value_parser = message_ttl)]
    pub(crate) message_ttl: Duration,

    /// This streamer's share of every file, i/k: 0/2 and 1/2 divide the work of two
    #[arg(long, env = "STRIPE", default_value = "0/1", value_parser = stripe)]
    pub(crate) stripe: Stripe,

    /// Host of rows whose form names none (nvidia-smi); without it this host's name
    #[arg(long, env = "SOURCE_HOST")]
    pub(crate) source_host: Option<String>,

    /// Offset from UTC of time stamps without one, such as +02:00
    #[arg(long, env = "SOURCE_UTC_OFFSET", default_value = "+00:00", value_parser = crate::source::utc_offset)]
    pub(crate) source_utc_offset: jiff::tz::Offset,

    /// The longest row in bytes; a longer one becomes a dead letter
    #[arg(long, env = "MAX_ROW_BYTES", default_value_t = DEFAULT_MAX_ROW_BYTES, value_parser = row_bytes)]
    pub(crate) max_row_bytes: usize,

    /// How far ahead of the clock a row's time may lie; a later one becomes a dead letter
    #[arg(long, env = "MAX_FUTURE", default_value = "1day", value_parser = duration)]
    pub(crate) max_future: Duration,

    /// Stop publishing while so many rows wait in the queue
    #[arg(long, env = "HIGH_WATER_ROWS", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) high_water_rows: u64,

    /// The server's --quota-backend-bytes; publishing stops when four fifths of it are in use
    #[arg(long, env = "ETCD_QUOTA_BYTES", default_value_t = 2 << 30, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) etcd_quota_bytes: u64,
}

/// etcd's leases last at least seconds, and at most some years.
fn message_ttl(text: &str) -> Result<Duration, String> {
    let ttl = duration(text)?;
    let (least, most) = (Duration::from_secs(1), Duration::from_secs(9_000_000));
    match (least..=most).contains(&ttl) {
        true => Ok(ttl),
        false => Err("must be between 1s and 104 days".to_owned()),
    }
}

/// A dead letter of the longest row has to fit a batch, and a row some bytes.
fn row_bytes(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(bytes) if (64..=64 << 20).contains(&bytes) => Ok(bytes),
        _ => Err("must be a number of bytes from 64 to 67108864".to_owned()),
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("must be a number from 0 to 1".to_owned()),
    }
}

fn stripe(text: &str) -> Result<Stripe, String> {
    let parts = text.split_once('/').and_then(|(index, count)| Some((index.parse().ok()?, count.parse().ok()?)));
    match parts {
        Some((index, count)) if index < count && count <= 1_000 => Ok(Stripe { index, count }),
        _ => Err("write it as i/k with i from 0 to k-1, such as 0/2".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Config::command().debug_assert();
    }
}
