//! Queue depth, by watching manifests: one percent of the data, and no polling.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use tokio::sync::watch;

use super::{Keys, Manifest};
use crate::domain::Timestamp;
use crate::etcd::{Change, Client, Scope, follow};
use crate::observe::Scrape;

/// What waits in the queue of one telemetry cluster.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Depth {
    /// Batches not yet acknowledged.
    pub batches: u64,
    /// Rows in them.
    pub rows: u64,
    /// When the oldest of them was published, in milliseconds since 1970; a tenth of a second too early at most.
    pub oldest_ms: Option<i64>,
}

impl Depth {
    /// A value that follows the queue, and the work that keeps it: run it on the component's task tracker. It ends when
    /// nobody looks any more. `None` until the queue was listed once.
    pub fn follow(client: Client, keys: &Keys) -> (watch::Receiver<Option<Depth>>, impl Future<Output = ()> + use<>) {
        let (tell, depth) = watch::channel(None);
        let scope = Scope::all("batch", keys.manifests());
        let work = async move {
            let mut seen = Seen::default();
            let changes = follow(&client, &scope, |change| {
                seen.take(change);
                tell.send_replace(Some(seen.depth()));
                !tell.is_closed()
            });
            tokio::select! { () = changes => (), () = tell.closed() => () }
        };
        (depth, work)
    }

    /// For Prometheus: the same figures whoever tells them, so that some of a cluster are seen while only one looks.
    ///
    /// # Errors
    /// Where they cannot be written down: a fault of ours.
    pub fn tell(&self, now: Timestamp, scrape: &mut Scrape<'_, '_>) -> fmt::Result {
        let age = self.oldest_ms.map_or(0.0, |oldest| (now.as_millis() - oldest).max(0) as f64 / 1e3);
        let help = "Batches in the queue, not acknowledged yet, as this process sees it.";
        scrape.gauge("nexus_queue_batches", help, self.batches)?;
        let help = "Rows in the queue, as this process sees it; of a collector beyond 20,000 batches an estimate.";
        scrape.gauge("nexus_queue_rows", help, self.rows)?;
        let help = "For how long the oldest batch in the queue has waited; 0 where there is none.";
        scrape.gauge("nexus_queue_oldest_age_seconds", help, age)
    }
}

/// Batches are told apart by age no closer than this, in milliseconds: an hour's queue has 36,000 ages at most.
const AGES_MS: i64 = 100;

/// Rows by batch: a hash of the key and a count, 16 bytes a batch however long the queue is.
#[derive(Default)]
struct Seen {
    rows: HashMap<u64, u32>,
    total: u64,
    /// How many batches are of the same tenth of a second.
    ages: BTreeMap<i64, u32>,
}

impl Seen {
    fn depth(&self) -> Depth {
        let oldest_ms = self.ages.keys().next().map(|age| age * AGES_MS);
        Depth { batches: self.rows.len() as u64, rows: self.total, oldest_ms }
    }

    fn take(&mut self, change: Change) {
        match change {
            Change::Snapshot(kvs, _) => {
                *self = Seen::default();
                kvs.iter().for_each(|kv| self.put(kv.key(), kv.value()));
            }
            Change::Put(kv) => self.put(kv.key(), kv.value()),
            Change::Interrupted | Change::Resumed => {}
            Change::Delete(key) => {
                let Some(rows) = self.rows.remove(&hash(key.as_bytes())) else { return };
                self.total -= u64::from(rows);
                let Some(age) = age(key.as_bytes()) else { return };
                if let Some(alike) = self.ages.get_mut(&age) {
                    *alike -= 1;
                    if *alike == 0 {
                        self.ages.remove(&age);
                    }
                }
            }
        }
    }

    fn put(&mut self, key: &[u8], value: &[u8]) {
        let rows = Manifest::decode(value).map_or(0, |manifest| u32::try_from(manifest.rows).unwrap_or(u32::MAX));
        let before = self.rows.insert(hash(key), rows);
        self.total += u64::from(rows);
        self.total -= u64::from(before.unwrap_or(0));
        if let (None, Some(age)) = (before, age(key)) {
            *self.ages.entry(age).or_default() += 1;
        }
    }
}

/// The tenth of a second a batch was published in; `None` where its key does not tell.
fn age(key: &[u8]) -> Option<i64> {
    let batch = Keys::batch_of(std::str::from_utf8(key).ok()?)?;
    Some(batch.published_ms.div_euclid(AGES_MS))
}

fn hash(key: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::{Metrics, looked_at};

    #[test]
    fn the_oldest_is_the_oldest_of_those_that_wait() {
        let key = |ms: i64, n: u64| format!("/telemetry/batch/c/{ms:013}_l.r.{n}").into_bytes();
        let gone = |ms, n| Change::Delete(String::from_utf8(key(ms, n)).unwrap());
        let mut seen = Seen::default();
        let oldest = |seen: &Seen| (seen.depth().batches, seen.depth().oldest_ms);
        assert_eq!(oldest(&seen), (0, None));
        for (ms, n) in [(5_000, 1), (5_099, 2), (7_000, 3), (7_000, 3)] {
            seen.put(&key(ms, n), b"");
        }
        assert_eq!(oldest(&seen), (3, Some(5_000)), "put twice is there once");
        seen.take(gone(5_000, 1));
        assert_eq!(oldest(&seen), (2, Some(5_000)), "another one of the same tenth of a second waits");
        seen.take(gone(5_000, 1));
        seen.take(gone(5_099, 2));
        assert_eq!(oldest(&seen), (1, Some(7_000)));
        seen.take(Change::Snapshot(Vec::new(), 1));
        assert_eq!(oldest(&seen), (0, None));
    }

    #[test]
    fn its_age_is_told_in_seconds() {
        let told = |oldest_ms| {
            let depth = Depth { batches: 2, rows: 7, oldest_ms };
            let now = Timestamp::from_millis(10_500);
            Metrics::new("gateway", "c").text([looked_at(move |scrape| depth.tell(now, scrape))]).unwrap()
        };
        let line = |value: &str| format!("\nnexus_queue_oldest_age_seconds{{cluster=\"c\"}} {value}\n");
        assert!(told(Some(9_000)).contains(&line("1.5")), "{}", told(Some(9_000)));
        assert!(told(None).contains(&line("0.0")));
        // Published by a clock that is ahead of ours.
        assert!(told(Some(11_000)).contains(&line("0.0")));
        assert!(told(None).contains("\nnexus_queue_rows{cluster=\"c\"} 7\n"));
    }
}
