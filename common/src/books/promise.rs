//! The queue's side of the books: what was read, and what of it still waits.

use std::collections::{BTreeMap, HashSet};

use crate::etcd::{self, Client};
use crate::queue::{BatchId, Cursor, Keys, Manifest, Source};

/// How often a snapshot is begun again that was compacted away while it was read.
const ATTEMPTS: u32 = 5;

/// Everything as it stood at one revision.
#[derive(Debug, Default)]
pub(super) struct Promise {
    pub(super) revision: i64,
    /// The cursors, by lane.
    pub(super) lanes: BTreeMap<String, Cursor>,
    /// The batches that are not acknowledged.
    pub(super) waiting: Vec<Waiting>,
    /// Lanes and manifests nobody can read: the keys.
    pub(super) unreadable: Vec<String>,
}

/// A batch that is not acknowledged.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    pub(super) batch: BatchId,
    pub(super) rows_before: u64,
    pub(super) rows: u64,
    pub(super) source: Source,
    /// A collector holds it.
    pub(super) claimed: bool,
}

impl Promise {
    /// Reads cursors, manifests and claims at one revision.
    ///
    /// # Errors
    /// As etcd answers.
    pub(super) async fn read(client: &Client, keys: &Keys) -> etcd::Result<Promise> {
        let mut attempt = 1;
        loop {
            match Self::try_read(client, keys).await {
                Err(etcd::Error::Compacted) if attempt < ATTEMPTS => attempt += 1,
                promise => return promise,
            }
        }
    }

    /// The cursors as they stand now.
    ///
    /// # Errors
    /// As etcd answers.
    pub(super) async fn cursors(client: &Client, keys: &Keys) -> etcd::Result<BTreeMap<String, Cursor>> {
        let lanes = keys.lanes();
        let mut now = Promise::default();
        let take = |_, kv: &etcd::KeyValue| {
            let key = String::from_utf8_lossy(kv.key());
            let _ = now.take_lane(key.strip_prefix(&lanes).unwrap_or_default(), kv.value());
        };
        client.snapshot(&[&lanes], take).await?;
        Ok(now.lanes)
    }

    async fn try_read(client: &Client, keys: &Keys) -> etcd::Result<Promise> {
        let (lanes, manifests, claims) = (keys.lanes(), keys.manifests(), keys.claims());
        let mut promise = Promise::default();
        let mut claimed = HashSet::new();
        let families = [lanes.as_str(), manifests.as_str(), claims.as_str()];
        promise.revision = client
            .snapshot(&families, |family, kv| {
                let key = String::from_utf8_lossy(kv.key());
                let understood = match family {
                    0 => promise.take_lane(key.strip_prefix(&lanes).unwrap_or_default(), kv.value()),
                    1 => promise.take_manifest(&key, kv.value()),
                    _ => Keys::batch_of(&key).map(|batch| _ = claimed.insert(batch)),
                };
                if understood.is_none() {
                    promise.unreadable.push(key.into_owned());
                }
            })
            .await?;
        promise.waiting.iter_mut().for_each(|waiting| waiting.claimed = claimed.contains(&waiting.batch));
        Ok(promise)
    }

    fn take_lane(&mut self, name: &str, value: &[u8]) -> Option<()> {
        let cursor = serde_json::from_slice(value).ok()?;
        self.lanes.insert(name.to_owned(), cursor);
        Some(())
    }

    fn take_manifest(&mut self, key: &str, value: &[u8]) -> Option<()> {
        let (batch, manifest) = (Keys::batch_of(key)?, Manifest::decode(value)?);
        let Manifest { rows_before, rows, source, .. } = manifest;
        self.waiting.push(Waiting { batch, rows_before, rows, source, claimed: false });
        Some(())
    }
}

/// The file a cursor speaks of: producers keep its name in their position.
pub(super) fn file_of(cursor: &Cursor) -> Option<&str> {
    cursor.position.get("file")?.as_str()
}
