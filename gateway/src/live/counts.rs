//! What the feed's clients were sent, and how old it is when it comes.

use nexus_common::domain::Timestamp;
use nexus_common::observe::{AGES, Counted, Counter, Family, Gauge, Histogram, Label, Registry};
use nexus_common::queue::BatchId;

use super::Delivery;

/// Counted where frames come and go; clones are the same figures.
#[derive(Debug, Clone)]
pub(super) struct Counts {
    clients: Family<Label, Gauge>,
    sent: Counter,
    skipped: Counter,
    gaps: Counter,
    age_seconds: Histogram,
}

impl Default for Counts {
    fn default() -> Self {
        let clients = Family::<Label, Gauge>::default();
        for protocol in ["websocket", "graphql", "events"] {
            drop(clients.get_or_create(&[("protocol", protocol)]));
        }
        Counts {
            clients,
            sent: Counter::default(),
            skipped: Counter::default(),
            gaps: Counter::default(),
            age_seconds: Histogram::new(AGES),
        }
    }
}

impl Counts {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("nexus_gateway_live_clients", "Clients of the live feed", self.clients.clone());
        registry.register("nexus_gateway_live_frames_sent", "Frames that live clients were given", self.sent.clone());
        registry.register(
            "nexus_gateway_live_skipped_frames",
            "Frames that live clients got as part of a later one, because they were slower than the feed",
            self.skipped.clone(),
        );
        registry.register(
            "nexus_gateway_live_gaps",
            "Gaps that live clients were told: what was in them they have to ask for",
            self.gaps.clone(),
        );
        registry.register(
            "nexus_gateway_feed_age_seconds",
            "From publishing a batch until its values are here: queue, store, acknowledgement and feed together",
            self.age_seconds.clone(),
        );
    }

    /// A client that is served over this protocol.
    pub(super) fn client(&self, protocol: &'static str) -> Counted {
        Counted::new(&self.clients.get_or_create(&[("protocol", protocol)]))
    }

    /// A client gets something.
    pub(super) fn delivered(&self, delivery: &Delivery) {
        match delivery {
            Delivery::Frame(frame) => {
                self.sent.inc();
                self.skipped.inc_by(frame.skipped);
            }
            Delivery::Gap(_) => _ = self.gaps.inc(),
            Delivery::Position(_) => {}
        }
    }

    /// What this batch stored has come. Events are of no batch.
    pub(super) fn arrived(&self, batch: &str) {
        if let Ok(BatchId { published_ms, .. }) = batch.parse() {
            let age_ms = Timestamp::now().as_millis() - published_ms;
            self.age_seconds.observe(age_ms.max(0) as f64 / 1e3);
        }
    }
}
