//! Pieces of configuration that several binaries share, and the parsers of their values.
//!
//! Each binary has one typed struct (clap, each field a flag and an environment variable) built of these. A value that
//! cannot be read is one line on standard error and exit status 2.

mod etcd_access;
mod password;

pub use self::etcd_access::EtcdAccess;
pub use self::password::Password;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;

use crate::domain::{Thresholds, escape};
use crate::traces::Receiver;

/// What every component needs to know.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct Common {
    /// Telemetry cluster this process works for
    #[arg(long, env = "CLUSTER_ID", default_value = "local-cluster", value_parser = name)]
    pub cluster_id: String,

    /// etcd endpoints, comma separated: host:port, or https://host:port
    #[arg(long, env = "ETCD_ENDPOINTS", default_value = "localhost:2379", value_delimiter = ',', value_parser = endpoint)]
    pub etcd_endpoints: Vec<String>,

    #[allow(missing_docs)]
    #[command(flatten)]
    pub etcd: EtcdAccess,

    /// Where queue keys live; the other families are its siblings
    #[arg(long, env = "MESSAGE_QUEUE_PREFIX", default_value = "/telemetry/queue", value_parser = queue_prefix)]
    pub message_queue_prefix: String,

    /// The server's --max-txn-ops: batches are cut to fit it
    #[arg(long, env = "MAX_TXN_OPS", default_value_t = 128, value_parser = clap::value_parser!(u32).range(16..=100_000))]
    pub max_txn_ops: u32,
}

/// How to log.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct Logging {
    /// debug, info, warn or error; or a filter such as info,nexus_collector=debug
    #[arg(long, env = "LOG_LEVEL", default_value = "info")]
    pub log_level: String,

    /// text or json; without it text on a terminal and JSON elsewhere
    #[arg(long, env = "LOG_FORMAT", value_enum)]
    pub log_format: Option<LogFormat>,
}

/// Where a component that serves nothing else tells how it is.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct Watched {
    /// Address of /metrics, /health, /live and /ready, such as 0.0.0.0:9102; empty = none. Not given: 127.0.0.1:9101 of the
    /// streamer, 127.0.0.1:9102 of the collector, and none where that is taken
    #[arg(long, env = "METRICS_ADDR")]
    pub metrics_addr: Option<MetricsAddr>,
}

/// Where traces go.
#[derive(Debug, Clone, Default, Args)]
#[group(skip)]
pub struct Traced {
    /// Address of an OpenTelemetry receiver (OTLP over HTTP), such as http://localhost:4318 or https://…; without it nothing is traced
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "ADDRESS")]
    pub otlp_endpoint: Option<Receiver>,

    /// Authorities (PEM) one of which the certificate of a receiver at https:// must be of; without it those this system trusts
    #[arg(long, env = "OTEL_EXPORTER_OTLP_CERTIFICATE", value_name = "FILE")]
    pub otlp_certificate: Option<PathBuf>,

    /// What the receiver is shown, such as its key: name=value, with commas between, values percent-encoded. Nothing of it is logged
    #[arg(long, env = "OTEL_EXPORTER_OTLP_HEADERS", value_name = "HEADERS", hide_env_values = true)]
    pub otlp_headers: Option<Password>,
}

/// Where metrics are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricsAddr {
    /// Nowhere.
    Off,
    /// There; port 0 is any that is free, and a log line tells which.
    At(SocketAddr),
}

impl FromStr for MetricsAddr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim() {
            "" => Ok(MetricsAddr::Off),
            text => text
                .parse()
                .map(MetricsAddr::At)
                .map_err(|_| "write it as 127.0.0.1:9102, or nothing for none".to_owned()),
        }
    }
}

/// The shape of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// From where on something is the matter with a GPU: the same for whoever evaluates and whoever answers.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct Conditions {
    /// No new value of a GPU for longer than this: stale; and longer than this behind its host: missing
    #[arg(long, env = "STALE_AFTER", default_value = "300s", value_parser = some_time)]
    pub stale_after: Duration,

    /// Hot above this, in °C
    #[arg(long, env = "HOT_CELSIUS", default_value_t = 80.0, value_parser = finite)]
    pub hot_celsius: f64,

    /// Hot for so long is a warning
    #[arg(long, env = "HOT_FOR", default_value = "5m", value_parser = duration)]
    pub hot_for: Duration,

    /// Very hot above this, in °C
    #[arg(long, env = "CRITICAL_CELSIUS", default_value_t = 85.0, value_parser = finite)]
    pub critical_celsius: f64,

    /// Very hot for so long is critical
    #[arg(long, env = "CRITICAL_FOR", default_value = "1m", value_parser = duration)]
    pub critical_for: Duration,

    /// A GPU at 0 % that holds more memory than this is idle_allocated, in MiB
    #[arg(long, env = "IDLE_MEMORY_MIB", default_value_t = 1024.0, value_parser = finite)]
    pub idle_memory_mib: f64,

    /// Idle and allocated for so long is a warning
    #[arg(long, env = "IDLE_FOR", default_value = "30m", value_parser = duration)]
    pub idle_for: Duration,

    /// An XID code that is not reported for so long is over; the same code after that is a new error
    #[arg(long, env = "XID_GAP", default_value = "180s", value_parser = some_time)]
    pub xid_gap: Duration,
}

impl Conditions {
    /// As the evaluator wants them.
    pub fn thresholds(&self) -> Thresholds {
        Thresholds {
            stale_after: self.stale_after,
            hot_celsius: self.hot_celsius,
            hot_for: self.hot_for,
            critical_celsius: self.critical_celsius,
            critical_for: self.critical_for,
            idle_memory_mib: self.idle_memory_mib,
            idle_for: self.idle_for,
            xid_gap: self.xid_gap,
        }
    }
}

impl Default for Conditions {
    fn default() -> Self {
        let usual = Thresholds::default();
        Conditions {
            stale_after: usual.stale_after,
            hot_celsius: usual.hot_celsius,
            hot_for: usual.hot_for,
            critical_celsius: usual.critical_celsius,
            critical_for: usual.critical_for,
            idle_memory_mib: usual.idle_memory_mib,
            idle_for: usual.idle_for,
            xid_gap: usual.xid_gap,
        }
    }
}

/// A duration that is more than nothing.
pub fn some_time(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    if time.is_zero() { Err("must be more than zero".to_owned()) } else { Ok(time) }
}

fn finite(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|number: &f64| number.is_finite()).ok_or_else(|| "write a number such as 80".to_owned())
}

/// A duration such as `3s`, `250ms`, `1h` or `0s`.
pub fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; write it as 250ms, 3s, 5m or 1h"))
}

/// `true` or `false`, also as `1`, `0`, `yes`, `no`, `on`, `off`.
pub fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err("write true or false".to_owned()),
    }
}

/// A name that can be a part of an etcd key: anything but empty, at most 200 bytes once escaped.
pub fn name(text: &str) -> Result<String, String> {
    match escape(text).len() {
        _ if text.is_empty() => Err("must not be empty".to_owned()),
        length if length > 200 => Err(format!("{length} bytes once escaped; at most 200")),
        _ => Ok(text.to_owned()),
    }
}

/// This host's name; `localhost` where the system does not tell it.
pub fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "localhost".to_owned(),
        name => name.to_owned(),
    }
}

/// A configuration that cannot work, found out after the command line was read: one line, and exit status 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

/// The exit status of a component that ended with this error: 2 for what the caller has to change, 1 for the rest.
pub fn exit_status(error: &anyhow::Error) -> u8 {
    if error.chain().any(|cause| cause.is::<Invalid>()) { 2 } else { 1 }
}

/// `host:port`, or a URL with both.
fn endpoint(text: &str) -> Result<String, String> {
    let wrong = || format!("{text:?} is no endpoint; write it as host:port, such as localhost:2379");
    let text = text.trim();
    let bare = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
    let authority = bare.trim_end_matches('/');
    let (host, port) = authority.rsplit_once(':').ok_or_else(wrong)?;
    let host_is_plain = !host.contains(':') || (host.starts_with('[') && host.ends_with(']'));
    let sound = !host.is_empty()
        && host_is_plain
        && !host.contains(['/', ' '])
        && port.parse::<u16>().is_ok_and(|port| port > 0);
    if sound { Ok(text.to_owned()) } else { Err(wrong()) }
}

fn queue_prefix(text: &str) -> Result<String, String> {
    let trimmed = text.trim_end_matches('/');
    match trimmed.rfind('/') {
        Some(at) if trimmed.starts_with('/') && at + 1 < trimmed.len() => Ok(trimmed.to_owned()),
        _ => Err("must be a path such as /telemetry/queue".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_with_a_unit() {
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert!(duration("3").is_err());
    }

    #[test]
    fn an_endpoint_is_a_host_and_a_port() {
        for good in ["localhost:2379", "http://127.0.0.1:2379", "https://etcd:2379", "[::1]:2379", "etcd-0.etcd:2379/"]
        {
            assert_eq!(endpoint(good).as_deref(), Ok(good));
        }
        for bad in
            ["", "localhost", "::::", ":2379", "host:0", "host:99999", "a b:1", "https://etcd", "unix://etcd:2379"]
        {
            assert!(endpoint(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_queue_prefix_is_a_path() {
        assert_eq!(queue_prefix("/telemetry/queue/").as_deref(), Ok("/telemetry/queue"));
        assert!(queue_prefix("telemetry").is_err());
        assert!(queue_prefix("/").is_err());
    }
}
