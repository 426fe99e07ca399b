//! What is looked at to tell how a GPU is: a few of its metrics, and when it and its host were last heard of.

use std::sync::LazyLock;
use std::time::Duration;

use crate::domain::{Metric, Timestamp, is_silent};

/// A metric that tells how a GPU is: [`examine`](super::examine) asks for these and no others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Vital {
    /// The code of the last XID error.
    Xid,
    /// Double-bit ECC errors since the driver was loaded.
    DoubleBitEcc,
    /// Whether a row could not be remapped.
    RowRemapFailure,
    /// Whether a row waits for a reset to be remapped.
    RowRemapPending,
    /// °C.
    Temperature,
    /// The bits of why clocks are held back.
    ClockEventReasons,
    /// Percent of the time.
    Utilization,
    /// MiB.
    MemoryUsed,
}

/// The catalogue's entry of each, in the order of [`Vital::ALL`]: looked up by name once, because a gateway asks for those of
/// every GPU whose host reports.
static METRICS: LazyLock<[Metric; Vital::ALL.len()]> =
    LazyLock::new(|| Vital::ALL.map(|vital| Metric::named(vital.name())));

impl Vital {
    /// All, each at the place of its number.
    pub const ALL: [Vital; 8] = [
        Vital::Xid,
        Vital::DoubleBitEcc,
        Vital::RowRemapFailure,
        Vital::RowRemapPending,
        Vital::Temperature,
        Vital::ClockEventReasons,
        Vital::Utilization,
        Vital::MemoryUsed,
    ];

    /// The name in the catalogue.
    pub fn name(self) -> &'static str {
        match self {
            Vital::Xid => "xid",
            Vital::DoubleBitEcc => "ecc_dbe_volatile",
            Vital::RowRemapFailure => "row_remap_failure",
            Vital::RowRemapPending => "row_remap_pending",
            Vital::Temperature => "temperature_celsius",
            Vital::ClockEventReasons => "clock_event_reasons",
            Vital::Utilization => "gpu_utilization",
            Vital::MemoryUsed => "memory_used_mib",
        }
    }

    /// The same as a metric.
    pub fn metric(self) -> &'static Metric {
        &METRICS[self as usize]
    }
}

/// What [`examine`](super::examine) looks at: one GPU's newest values, or a place that should have a GPU.
#[derive(Clone, Copy)]
pub struct Vitals<'a> {
    /// The newest time of all its values; none for a GPU that never reported.
    pub last_seen: Option<Timestamp>,
    /// The newest time of all values of its host.
    pub host_last_seen: Option<Timestamp>,
    /// A metric's newest value and its time.
    pub reading: &'a dyn Fn(Vital) -> Option<(f64, Timestamp)>,
}

impl std::fmt::Debug for Vitals<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Vitals { last_seen, host_last_seen, reading: _ } = self;
        f.debug_struct("Vitals").field("last_seen", last_seen).field("host_last_seen", host_last_seen).finish()
    }
}

impl Vitals<'_> {
    /// A metric's reading while it is current: no older than the GPU's own newest value by more than this. An older one
    /// tells what was so before the metric fell silent.
    pub(super) fn current(&self, vital: Vital, within: Duration) -> Option<(f64, Timestamp)> {
        let last_seen = self.last_seen?;
        (self.reading)(vital).filter(|(_, at)| !is_silent(*at, last_seen, within))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_vital_is_of_the_catalogue_and_at_its_place() {
        for (place, vital) in Vital::ALL.into_iter().enumerate() {
            assert_eq!(vital as usize, place);
            assert!(matches!(vital.metric(), Metric::Known(_)), "{vital:?}");
            assert_eq!(vital.metric().name(), vital.name());
        }
    }
}
