//! What this collector has done, and the log line that says so now and then.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::{Instant, interval};

use crate::write::Stored;

/// Counts since the start.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    batches: AtomicU64,
    replays: AtomicU64,
    rows: AtomicU64,
    dead: AtomicU64,
    expired: AtomicU64,
    store_micros: AtomicU64,
}

/// How often there is a line, where there is something to say.
const EVERY: Duration = Duration::from_secs(10);

impl Tally {
    pub(crate) fn stored(&self, stored: Stored, took: Duration) {
        self.batches.fetch_add(stored.batches, Relaxed);
        self.replays.fetch_add(stored.replays, Relaxed);
        self.rows.fetch_add(stored.rows, Relaxed);
        self.dead.fetch_add(stored.dead, Relaxed);
        self.expired.fetch_add(stored.expired, Relaxed);
        self.store_micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
        if stored.dead > 0 {
            tracing::warn!(rows = stored.dead, "dead letters");
        }
        if stored.expired > 0 {
            tracing::error!(rows = stored.expired, "expired before anybody read them");
        }
    }

    /// Logs for ever.
    pub(crate) async fn report(&self) {
        let mut every = interval(EVERY);
        let (mut before, mut since) = (0, Instant::now());
        loop {
            every.tick().await;
            let rows = self.rows.load(Relaxed);
            if rows > before {
                let rate = (rows - before) as f64 / since.elapsed().as_secs_f64();
                self.line(rows, rate);
            }
            (before, since) = (rows, Instant::now());
        }
    }

    /// One line for the end.
    pub(crate) fn last_word(&self) {
        self.line(self.rows.load(Relaxed), 0.0);
    }

    fn line(&self, rows: u64, rate: f64) {
        tracing::info!(
            rows,
            rows_per_second = rate.round(),
            batches = self.batches.load(Relaxed),
            redelivered = self.replays.load(Relaxed),
            dead = self.dead.load(Relaxed),
            expired = self.expired.load(Relaxed),
            store_ms = self.store_micros.load(Relaxed) / 1000,
            "stored"
        );
    }
}
