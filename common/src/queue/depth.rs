//! Queue depth, by watching manifests: one percent of the data, and no polling.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use tokio::sync::watch;

use super::{Keys, Manifest};
use crate::etcd::{Change, Client, Scope, follow};

/// What waits in the queue of one telemetry cluster.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Depth {
    /// Batches not yet acknowledged.
    pub batches: u64,
    /// Rows in them.
    pub rows: u64,
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
                tell.send_replace(Some(Depth { batches: seen.rows.len() as u64, rows: seen.total }));
                !tell.is_closed()
            });
            tokio::select! { () = changes => (), () = tell.closed() => () }
        };
        (depth, work)
    }
}

/// Rows by batch: a hash of the key and a count, 16 bytes a batch however long the queue is.
#[derive(Default)]
struct Seen {
    rows: HashMap<u64, u32>,
    total: u64,
}

impl Seen {
    fn take(&mut self, change: Change) {
        match change {
            Change::Snapshot(kvs, _) => {
                *self = Seen::default();
                kvs.iter().for_each(|kv| self.put(kv.key(), kv.value()));
            }
            Change::Put(kv) => self.put(kv.key(), kv.value()),
            Change::Interrupted | Change::Resumed => {}
            Change::Delete(key) => {
                let rows = self.rows.remove(&hash(key.as_bytes()));
                self.total -= u64::from(rows.unwrap_or(0));
            }
        }
    }

    fn put(&mut self, key: &[u8], value: &[u8]) {
        let rows = Manifest::decode(value).map_or(0, |manifest| u32::try_from(manifest.rows).unwrap_or(u32::MAX));
        let before = self.rows.insert(hash(key), rows);
        self.total += u64::from(rows);
        self.total -= u64::from(before.unwrap_or(0));
    }
}

fn hash(key: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}
