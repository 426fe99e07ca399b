//! What the calls and watches of one client come to, for Prometheus.

use std::time::Duration;

use super::{Change, Error};
use crate::observe::{CALLS, Counter, Family, Gauge, Histogram, Label, Registry};

/// Kept by the client; clones are the same figures.
#[derive(Debug, Clone)]
pub(super) struct Meter {
    requests: Family<Label, Histogram>,
    failures: Family<Label, Counter>,
    up: Family<Label, Gauge>,
    restarts: Family<Label, Counter>,
}

/// One watch's part of it.
#[derive(Debug)]
pub(super) struct WatchMeter {
    up: Gauge,
    restarts: Counter,
}

impl Default for Meter {
    fn default() -> Self {
        let failures = Family::<Label, Counter>::default();
        for kind in Error::KINDS {
            drop(failures.get_or_create(&[("kind", kind)]));
        }
        Meter {
            requests: Family::new_with_constructor(|| Histogram::new(CALLS)),
            failures,
            up: Family::default(),
            restarts: Family::default(),
        }
    }
}

impl Meter {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "nexus_etcd_request_duration_seconds",
            "From a call to etcd until its answer, or until it was given up",
            self.requests.clone(),
        );
        registry.register(
            "nexus_etcd_request_failures",
            "Calls that etcd did not answer, or refused, by what the caller may do about it",
            self.failures.clone(),
        );
        registry.register(
            "nexus_etcd_watch_up",
            "1 while the watch on this family of keys stands: what changes is seen as it changes",
            self.up.clone(),
        );
        registry.register(
            "nexus_etcd_watch_restarts",
            "How often the watch on this family of keys broke and was taken up again",
            self.restarts.clone(),
        );
    }

    /// A call has ended.
    pub(super) fn called(&self, call: &'static str, took: Duration, error: Option<&Error>) {
        self.requests.get_or_create(&[("call", call)]).observe(took.as_secs_f64());
        if let Some(error) = error {
            self.failures.get_or_create(&[("kind", error.kind())]).inc();
        }
    }

    /// A watch begins; it does not stand yet.
    pub(super) fn watch(&self, name: &'static str) -> WatchMeter {
        let label = [("watch", name)];
        let meter =
            WatchMeter { up: self.up.get_or_create_owned(&label), restarts: self.restarts.get_or_create_owned(&label) };
        meter.up.set(0);
        meter
    }
}

impl WatchMeter {
    /// Something is told to who listens.
    pub(super) fn note(&self, change: &Change) {
        match change {
            Change::Resumed => _ = self.up.set(1),
            Change::Interrupted => {
                self.up.set(0);
                self.restarts.inc();
            }
            Change::Snapshot(..) | Change::Put(_) | Change::Delete(_) => {}
        }
    }
}
