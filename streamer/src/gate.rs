//! Back-pressure: publishing slows down near the high-water mark and stops at it, before etcd has to refuse.

use std::sync::Arc;
use std::time::Duration;

use nexus_common::etcd::Client;
use nexus_common::queue::Depth;
use tokio::sync::watch;

use crate::held::Reason;
use crate::progress::Progress;

/// How often etcd is asked how much of its quota is in use.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// The pause between batches from nine tenths of a limit on.
const SLOWLY: Duration = Duration::from_millis(20);

/// What publishing waits for.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    depth: watch::Receiver<Option<Depth>>,
    used_bytes: watch::Receiver<u64>,
    limits: Limits,
    progress: Arc<Progress>,
}

/// Where to stop.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
}

/// What the figures say (pure).
#[derive(Debug, PartialEq, Eq)]
enum Signal {
    Go,
    Slow,
    Stop(Reason, String),
}

impl Gate {
    pub(crate) fn new(
        depth: watch::Receiver<Option<Depth>>,
        used_bytes: watch::Receiver<u64>,
        limits: Limits,
        progress: Arc<Progress>,
    ) -> Self {
        Gate { depth, used_bytes, limits, progress }
    }

    /// Whether there is room for another batch, and for more behind it.
    pub(crate) fn is_open(&self) -> bool {
        let rows = self.depth.borrow().map_or(0, |depth| depth.rows);
        self.limits.judge(rows, *self.used_bytes.borrow(), false) == Signal::Go
    }

    /// Waits until there is room for another batch.
    pub(crate) async fn pass(&mut self) {
        let mut wait = None;
        loop {
            let rows = self.depth.borrow_and_update().map_or(0, |depth| depth.rows);
            let bytes = *self.used_bytes.borrow_and_update();
            match self.limits.judge(rows, bytes, wait.is_some()) {
                Signal::Go => break,
                Signal::Slow if wait.is_none() => {
                    tokio::time::sleep(SLOWLY).await;
                    break;
                }
                Signal::Slow => break,
                Signal::Stop(reason, words) => {
                    if wait.is_none() {
                        tracing::warn!(reason = words, "back-pressure: publishing stops until collectors catch up");
                    }
                    wait.get_or_insert_with(|| self.progress.held.begin()).because(reason, words);
                }
            }
            tokio::select! {
                changed = self.depth.changed() => if changed.is_err() { break },
                changed = self.used_bytes.changed() => if changed.is_err() { break },
            }
        }
        if wait.is_some() {
            tracing::info!("publishing goes on");
        }
    }
}

impl Limits {
    /// Once stopped, publishing goes on below nine tenths: not one batch at a time.
    fn judge(&self, rows: u64, bytes: u64, stopped: bool) -> Signal {
        let near = |value: u64, limit: u64| value >= limit - limit / 10;
        let at = |value: u64, limit: u64| value >= limit || (stopped && near(value, limit));
        if at(rows, self.rows) {
            Signal::Stop(Reason::Queue, format!("{rows} rows are queued, HIGH_WATER_ROWS is {}", self.rows))
        } else if at(bytes, self.bytes) {
            let words = format!(
                "etcd uses {bytes} bytes, four fifths of ETCD_QUOTA_BYTES are {}, with {rows} rows queued \
                 (few rows: it keeps history; turn on its auto-compaction, or ETCD_UPKEEP for a collector)",
                self.bytes
            );
            Signal::Stop(Reason::EtcdSpace, words)
        } else if near(rows, self.rows) || near(bytes, self.bytes) {
            Signal::Slow
        } else {
            Signal::Go
        }
    }
}

/// Asks etcd how much is in use, for ever.
pub(crate) async fn watch_space(client: &Client, tell: &watch::Sender<u64>) {
    loop {
        if let Ok(health) = client.health().await {
            tell.send_replace(health.used_bytes);
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopped_streamer_waits_for_a_tenth_of_room() {
        let limits = Limits { rows: 100, bytes: 1_000 };
        assert_eq!(limits.judge(89, 0, false), Signal::Go);
        assert_eq!(limits.judge(90, 0, false), Signal::Slow);
        assert!(matches!(limits.judge(100, 0, false), Signal::Stop(Reason::Queue, _)));
        assert!(matches!(limits.judge(95, 0, true), Signal::Stop(Reason::Queue, _)));
        assert_eq!(limits.judge(89, 0, true), Signal::Go);
        assert!(matches!(limits.judge(0, 1_000, false), Signal::Stop(Reason::EtcdSpace, _)));
    }
}
