use nexus_common::observe::{Counter, Registry};

use crate::merge::Harvest;

/// What the rows of all flights came to.
#[derive(Debug, Default)]
pub(super) struct Merged {
    samples: Counter,
    conflicts: Counter,
}

impl Merged {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Samples written: what the rows of one GPU and time came to in one flight";
        registry.register("nexus_collector_samples", help, self.samples.clone());
        let help =
            "Values that met another one for the same GPU, time and metric in one flight; all are in samples.conflicts";
        registry.register("nexus_collector_conflicts", help, self.conflicts.clone());
    }

    /// A flight was committed.
    pub(super) fn note(&self, harvest: &Harvest) {
        self.samples.inc_by(harvest.samples.len() as u64);
        self.conflicts.inc_by(harvest.samples.values().map(|(_, conflicts)| u64::from(conflicts.unsigned_abs())).sum());
    }
}
