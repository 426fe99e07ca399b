//! How a process is watched: what it counts, in Prometheus' text format, and whether it runs, can work, and reaches what it
//! depends on.
//!
//! - What changes with the work is a [`Counter`], [`Gauge`] or [`Histogram`] that its owner holds and registers: some atomics
//!   for each batch, nothing for each row. No figure is kept twice: whoever logs a count reads it from there.
//! - What is known anyway is looked at when somebody asks ([`looked_at`]).
//! - What another process has to be asked for is asked beforehand, within a bound, and left out where it does not answer.
//! - Never a series for each lane, batch or GPU.

mod buckets;
mod counted;
mod doors;
mod health;
mod metrics;
#[cfg(target_os = "linux")]
mod process;
mod scrape;
mod serve;
mod text;

pub use buckets::{AGES, CALLS, ROWS};
pub use counted::Counted;
pub use health::{Dependency, Health, Look, Probe, Report, State};
pub use metrics::{CONTENT_TYPE, Metrics};
pub use scrape::{Scrape, looked_at};
pub use serve::{Observed, listen, serve};

pub use prometheus_client::collector::Collector;
pub use prometheus_client::metrics::counter::Counter;
pub use prometheus_client::metrics::family::Family;
pub use prometheus_client::metrics::gauge::Gauge;
pub use prometheus_client::metrics::histogram::Histogram;
pub use prometheus_client::registry::Registry;

/// One label with its value.
pub type Label = [(&'static str, &'static str); 1];
