//! What this collector has done: for Prometheus, and in a log line now and then.

use std::time::Duration;

use nexus_common::domain::Timestamp;
use nexus_common::observe::{AGES, CALLS, Counter, Histogram, ROWS, Registry};
use tokio::time::{Instant, interval};

use crate::work::Work;
use crate::write::Stored;

/// Counts since the start.
#[derive(Debug)]
pub(crate) struct Tally {
    batches: Counter,
    redelivered: Counter,
    rows: Counter,
    dead: Counter,
    expired: Counter,
    pub(crate) claims: Counter,
    pub(crate) claims_lost: Counter,
    pub(crate) store_failures: Counter,
    claim_seconds: Histogram,
    store_seconds: Histogram,
    ack_seconds: Histogram,
    batch_rows: Histogram,
    flight_rows: Histogram,
    row_age_seconds: Histogram,
}

/// How often there is a line, where there is something to say.
const EVERY: Duration = Duration::from_secs(10);

impl Default for Tally {
    fn default() -> Self {
        let seconds = || Histogram::new(CALLS);
        Tally {
            batches: Counter::default(),
            redelivered: Counter::default(),
            rows: Counter::default(),
            dead: Counter::default(),
            expired: Counter::default(),
            claims: Counter::default(),
            claims_lost: Counter::default(),
            store_failures: Counter::default(),
            claim_seconds: seconds(),
            store_seconds: seconds(),
            ack_seconds: seconds(),
            batch_rows: Histogram::new(ROWS),
            flight_rows: Histogram::new(ROWS),
            row_age_seconds: Histogram::new(AGES),
        }
    }
}

impl Tally {
    /// Has Prometheus told what is counted.
    pub(crate) fn register(&self, registry: &mut Registry) {
        for (name, help, counter) in [
            ("rows", "Rows stored", &self.rows),
            ("batches", "Batches stored or found stored already", &self.batches),
            ("redelivered_batches", "Batches that the ledger knew already: nothing changed", &self.redelivered),
            ("dead_rows", "Rows that became dead letters", &self.dead),
            ("expired_rows", "Rows recorded as expired: nobody had read them in time", &self.expired),
            ("claims", "Batches claimed", &self.claims),
            ("claims_lost", "Batches that another collector was quicker to claim or to store", &self.claims_lost),
            ("store_failures", "Flights that PostgreSQL did not take: they were tried again", &self.store_failures),
        ] {
            registry.register(format!("nexus_collector_{name}"), help, counter.clone());
        }
        for (name, help, histogram) in [
            (
                "claim_duration_seconds",
                "From asking for a batch until it is ours, with its messages",
                &self.claim_seconds,
            ),
            ("store_duration_seconds", "A flight's transaction, from its beginning to COMMIT", &self.store_seconds),
            (
                "ack_duration_seconds",
                "From COMMIT's answer on: deleting a batch from etcd, tries included",
                &self.ack_seconds,
            ),
            ("batch_rows", "Rows of a batch", &self.batch_rows),
            ("flight_rows", "Rows of a flight: what one transaction takes", &self.flight_rows),
            ("row_age_seconds", "From publishing a batch to COMMIT", &self.row_age_seconds),
        ] {
            registry.register(format!("nexus_collector_{name}"), help, histogram.clone());
        }
    }

    /// A batch was claimed.
    pub(crate) fn claimed(&self, took: Duration) {
        self.claims.inc();
        self.claim_seconds.observe(took.as_secs_f64());
    }

    /// A flight has arrived.
    pub(crate) fn stored(&self, stored: Stored, works: &[Work], took: Duration) {
        self.batches.inc_by(stored.batches);
        self.redelivered.inc_by(stored.replays);
        self.rows.inc_by(stored.rows);
        self.dead.inc_by(stored.dead);
        self.expired.inc_by(stored.expired);
        self.store_seconds.observe(took.as_secs_f64());
        let (now_ms, mut rows) = (Timestamp::now().as_millis(), 0);
        for work in works {
            let claimed = &work.claimed;
            rows += claimed.manifest.rows;
            self.batch_rows.observe(claimed.manifest.rows as f64);
            // Below zero only where two machines' clocks differ.
            self.row_age_seconds.observe((now_ms - claimed.batch.published_ms).max(0) as f64 / 1e3);
        }
        self.flight_rows.observe(rows as f64);
    }

    /// A batch was acknowledged.
    pub(crate) fn acknowledged(&self, took: Duration) {
        self.ack_seconds.observe(took.as_secs_f64());
    }

    /// Logs for ever.
    pub(crate) async fn report(&self) {
        let mut every = interval(EVERY);
        let (mut before, mut since) = (0, Instant::now());
        loop {
            every.tick().await;
            let rows = self.rows.get();
            if rows > before {
                let rate = (rows - before) as f64 / since.elapsed().as_secs_f64();
                self.line(rows, rate);
            }
            (before, since) = (rows, Instant::now());
        }
    }

    /// One line for the end.
    pub(crate) fn last_word(&self) {
        self.line(self.rows.get(), 0.0);
    }

    fn line(&self, rows: u64, rate: f64) {
        tracing::info!(
            rows,
            rows_per_second = rate.round(),
            batches = self.batches.get(),
            redelivered = self.redelivered.get(),
            dead = self.dead.get(),
            expired = self.expired.get(),
            "stored"
        );
    }
}
