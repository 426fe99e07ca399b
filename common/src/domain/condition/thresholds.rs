//! From where on something is the matter.

use std::time::Duration;

/// The bounds that [`examine`](super::examine) and [`diagnose`](super::diagnose) go by. The defaults are those in common
/// use for data-centre GPUs; each can be overridden.
#[derive(Debug, Clone, PartialEq)]
pub struct Thresholds {
    /// No new value for longer than this: stale. And longer behind its host's newest value: missing.
    pub stale_after: Duration,
    /// Above this it is hot, in °C.
    pub hot_celsius: f64,
    /// For this long it warns.
    pub hot_for: Duration,
    /// Above this it is very hot, in °C.
    pub critical_celsius: f64,
    /// For this long it is critical.
    pub critical_for: Duration,
    /// Idle with more than this held is idle_allocated, in MiB.
    pub idle_memory_mib: f64,
    /// For this long it warns.
    pub idle_for: Duration,
    /// An XID code that is not among the values of the last this-long is no longer reported: newer exporters leave the
    /// series out while nothing is wrong, and the same code after such a gap is a new error. Three scrapes of a minute by
    /// default: less, and a slow scrape would make a code that stays look like one that comes back.
    pub xid_gap: Duration,
}

impl Default for Thresholds {
    fn default() -> Self {
        Thresholds {
            stale_after: Duration::from_secs(300),
            hot_celsius: 80.0,
            hot_for: Duration::from_secs(300),
            critical_celsius: 85.0,
            critical_for: Duration::from_secs(60),
            idle_memory_mib: 1024.0,
            idle_for: Duration::from_secs(1800),
            xid_gap: Duration::from_secs(180),
        }
    }
}
