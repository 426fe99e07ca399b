//! The queue as an operator looks at it: reads only, so that nothing is disturbed.
//!
//! No claim is taken, no lease renewed, no attempt counted. What waits is told by the manifests, one percent of the
//! data. Messages are read batch by batch, between the keys a manifest names: etcd walks deleted keys too, so a range
//! over all messages costs what passed through the queue lately, not what is in it.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use super::attempt::Attempts;
use super::{BatchId, Cursor, Keys, Manifest, Member, MessageKey, Role};
use crate::etcd::{Client, Compare, CompareOp, Error, GetOptions, KeyValue, Result, Txn, TxnOp};

/// Keys a page of a list holds.
const PAGE: usize = 5_000;
/// Messages that a page of keys may hold, by what the manifests promise.
const WINDOW: usize = 5_000;

/// The queue of one telemetry cluster as it stood at one revision.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    /// The revision.
    pub revision: i64,
    /// Batches that are not acknowledged, in queue order.
    pub batches: Vec<Standee>,
    /// The lanes' cursors by name; `None` where this version cannot read one.
    pub lanes: BTreeMap<String, Option<Cursor>>,
}

/// A batch that is not acknowledged.
#[derive(Debug, Clone, PartialEq)]
pub struct Standee {
    /// Its name.
    pub batch: BatchId,
    /// What it promised; `None` where a newer version wrote it, or something else did.
    pub manifest: Option<Manifest>,
    /// Mod revision of the manifest.
    pub revision: i64,
    /// The collector that holds it.
    pub holder: Option<String>,
    /// How often it was claimed without being stored or given back.
    pub attempts: u32,
}

/// A member and what is known of its session.
#[derive(Debug, Clone)]
pub struct Alive {
    /// What it is.
    pub role: Role,
    /// Its id, random at each start.
    pub id: String,
    /// What it says of itself; `None` where this version cannot read it.
    pub member: Option<Member>,
    /// The session's lease.
    pub lease: i64,
}

/// The messages of one batch that are in etcd.
#[derive(Debug, Clone)]
pub enum Messages {
    /// Keys and values, in key order. Fewer than promised: the others have expired.
    There(Vec<(String, Vec<u8>)>),
    /// The batch was acknowledged meanwhile.
    Gone,
}

/// Reads the queue of one telemetry cluster.
#[derive(Debug, Clone)]
pub struct Inspector {
    client: Client,
    keys: Keys,
}

impl Inspector {
    /// Looks through this client.
    pub fn new(client: Client, keys: Keys) -> Self {
        Inspector { client, keys }
    }

    /// The client it looks through.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The keys it looks at.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Everything but the messages, at one revision.
    ///
    /// # Errors
    /// As etcd answers; [`Error::Compacted`] when the revision went away meanwhile: look again.
    pub async fn standing(&self) -> Result<Standing> {
        let (revision, lanes) = self.list(&self.keys.lanes(), 0).await?;
        let (_, claims) = self.list(&self.keys.claims(), revision).await?;
        let (_, attempts) = self.list(&self.keys.attempts(), revision).await?;
        let (_, manifests) = self.list(&self.keys.manifests(), revision).await?;
        let holders: HashMap<&[u8], &KeyValue> = claims.iter().map(|kv| (tail(kv), kv)).collect();
        let counts: HashMap<&[u8], u32> = attempts.iter().map(|kv| (tail(kv), Attempts::of(Some(kv)).count)).collect();
        let batches = manifests.iter().filter_map(|kv| {
            let holder = holders.get(tail(kv)).map(|claim| String::from_utf8_lossy(claim.value()).into_owned());
            Some(Standee {
                batch: Keys::batch_of(kv.key_str().ok()?)?,
                manifest: Manifest::decode(kv.value()),
                revision: kv.mod_revision(),
                holder,
                attempts: counts.get(tail(kv)).copied().unwrap_or(0),
            })
        });
        let prefix = self.keys.lanes();
        let lane = |kv: &KeyValue| {
            Some((kv.key_str().ok()?.strip_prefix(prefix.as_str())?.to_owned(), Cursor::decode(kv).ok()))
        };
        Ok(Standing { revision, batches: batches.collect(), lanes: lanes.iter().filter_map(lane).collect() })
    }

    /// One batch, if it is not acknowledged.
    ///
    /// # Errors
    /// As etcd answers.
    pub async fn standee(&self, batch: &BatchId) -> Result<Option<Standee>> {
        let names = [self.keys.manifest(batch), self.keys.claim(batch), self.keys.attempt(batch)];
        let txn = Txn::new().and_then(names.map(|name| TxnOp::get(name, None)));
        let answer = self.client.txn(txn).await?;
        let mut reads = answer.into_reads();
        let mut next = || reads.next()?.into_iter().next();
        let (manifest, claim, attempt) = (next(), next(), next());
        Ok(manifest.map(|kv| Standee {
            batch: batch.clone(),
            manifest: Manifest::decode(kv.value()),
            revision: kv.mod_revision(),
            holder: claim.map(|claim| String::from_utf8_lossy(claim.value()).into_owned()),
            attempts: Attempts::of(attempt.as_ref()).count,
        }))
    }

    /// The batches published in one millisecond that are not acknowledged: a message's is among them.
    ///
    /// # Errors
    /// As etcd answers.
    pub async fn published_at(&self, published_ms: i64) -> Result<Vec<Standee>> {
        let prefix = format!("{}{published_ms:013}_", self.keys.manifests());
        let found = self.client.get(&prefix, GetOptions::new().with_prefix().with_keys_only()).await?;
        let mut batches = Vec::new();
        for batch in found.kvs.iter().filter_map(|kv| Keys::batch_of(kv.key_str().ok()?)) {
            batches.extend(self.standee(&batch).await?);
        }
        Ok(batches)
    }

    /// How many messages there were at a revision. Counted by the server, which walks the keys of the queue, also those
    /// deleted since its last compaction: for a look now and then, not for a loop.
    ///
    /// # Errors
    /// As etcd answers.
    pub async fn count_messages(&self, revision: i64) -> Result<u64> {
        Ok(self.client.count_at(&self.keys.messages(), revision).await?.unsigned_abs())
    }

    /// The messages of a batch, without claiming it.
    ///
    /// # Errors
    /// As etcd answers.
    pub async fn messages(&self, standee: &Standee) -> Result<Messages> {
        let Some(manifest) = &standee.manifest else { return Ok(Messages::There(Vec::new())) };
        let name = self.keys.manifest(&standee.batch);
        let txn =
            Txn::new().when([Compare::mod_revision(name, CompareOp::Equal, standee.revision)]).and_then([TxnOp::get(
                manifest.first.as_str(),
                Some(GetOptions::new().with_range(behind(&manifest.last))),
            )]);
        let answer = self.client.txn(txn).await?;
        if !answer.succeeded {
            return Ok(Messages::Gone);
        }
        let kvs = answer.into_reads().next();
        // Other lanes' keys may lie between first and last.
        let own = kvs.unwrap_or_default().into_iter().filter(|kv| kv.mod_revision() == standee.revision);
        Ok(Messages::There(
            own.map(|kv| {
                let (key, value) = kv.into_key_value();
                (String::from_utf8_lossy(&key).into_owned(), value)
            })
            .collect(),
        ))
    }

    /// Which of these batches hold a message whose key is wanted: keys only are read, window by window, each as wide as
    /// some thousand messages. Their places in `batches`, in order.
    ///
    /// # Errors
    /// As etcd answers.
    pub async fn holding(&self, batches: &[Standee], wanted: impl Fn(&MessageKey) -> bool) -> Result<Vec<usize>> {
        let mut places = Vec::new();
        for window in windows(batches) {
            let batches = &batches[window.clone()];
            let manifests = || batches.iter().filter_map(|standee| standee.manifest.as_ref());
            let Some(first) = manifests().map(|manifest| manifest.first.as_str()).min() else { continue };
            let last = manifests().map(|manifest| manifest.last.as_str()).max().unwrap_or(first);
            let options = GetOptions::new().with_range(behind(last)).with_keys_only();
            let found = self.client.get(first, options).await?;
            let held = found.kvs.iter().filter(|kv| {
                kv.key_str().ok().and_then(|key| key.parse().ok()).is_some_and(|key: MessageKey| wanted(&key))
            });
            let revisions: std::collections::HashSet<i64> = held.map(KeyValue::mod_revision).collect();
            let holds = |(place, standee): (usize, &Standee)| {
                revisions.contains(&standee.revision).then_some(window.start + place)
            };
            places.extend(batches.iter().enumerate().filter_map(holds));
        }
        Ok(places)
    }

    /// Who is alive: streamers, collectors, gateways.
    ///
    /// # Errors
    /// As etcd answers.
    pub async fn members(&self) -> Result<Vec<Alive>> {
        let mut alive = Vec::new();
        for role in [Role::Streamer, Role::Collector, Role::Gateway] {
            let prefix = self.keys.members(role.as_str());
            let (_, kvs) = self.list(&prefix, 0).await?;
            alive.extend(kvs.iter().filter_map(|kv| {
                Some(Alive {
                    role,
                    id: kv.key_str().ok()?.strip_prefix(prefix.as_str())?.to_owned(),
                    member: serde_json::from_slice(kv.value()).ok(),
                    lease: kv.lease(),
                })
            }));
        }
        Ok(alive)
    }

    /// All keys below a prefix, page by page, as they stood at `revision`; 0 is now, and the answer says when that was.
    async fn list(&self, prefix: &str, revision: i64) -> Result<(i64, Vec<KeyValue>)> {
        let (mut revision, mut all) = (revision, Vec::new());
        let (mut from, end) = (prefix.to_owned(), format!("{prefix}\u{10ffff}"));
        loop {
            let page = GetOptions::new().with_range(end.as_str()).with_limit(i64::try_from(PAGE).unwrap_or(i64::MAX));
            let page = if revision > 0 { page.with_revision(revision) } else { page };
            let found = self.client.read(&from, page, PATIENCE).await?;
            revision = if revision > 0 { revision } else { found.revision };
            let full = found.kvs.len() == PAGE;
            if let Some(last) = found.kvs.last() {
                let last = last.key_str().map_err(|_| Error::Refused(format!("a key below {prefix} is no text")))?;
                from = format!("{last}\0");
            }
            all.extend(found.kvs);
            if !full {
                return Ok((revision, all));
            }
        }
    }
}

/// What an attempt key counts.
pub fn attempts_in(kv: &KeyValue) -> u32 {
    Attempts::of(Some(kv)).count
}

/// How long a read is tried before the operator hears of it.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(3);

/// The first key behind this one.
fn behind(key: &str) -> Vec<u8> {
    [key.as_bytes(), &[0]].concat()
}

/// The part of a key behind its family: a batch's name.
fn tail(kv: &KeyValue) -> &[u8] {
    let key = kv.key();
    &key[key.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1)..]
}

/// Neighbouring batches whose messages are read at once: some thousand, or one batch that has more.
fn windows(batches: &[Standee]) -> Vec<Range<usize>> {
    let (mut windows, mut start, mut messages) = (Vec::new(), 0, 0);
    for (place, standee) in batches.iter().enumerate() {
        let more = standee.manifest.as_ref().map_or(0, |manifest| manifest.messages);
        if place > start && messages + more > WINDOW {
            windows.push(start..place);
            (start, messages) = (place, 0);
        }
        messages += more;
    }
    if start < batches.len() {
        windows.push(start..batches.len());
    }
    windows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::{Source, VERSION};

    fn standee(n: u64, messages: usize) -> Standee {
        let batch = BatchId { published_ms: 5, lane: "l".into(), run: "r".into(), n };
        let source = Source { file: "f".into(), pass: 0, lines: [2, 3], bytes: [0, 9], shift_us: 0 };
        let (first, last) = ("a".into(), "b".into());
        let manifest = Manifest {
            v: VERSION,
            first,
            last,
            messages,
            rows: 1,
            rows_before: 0,
            lease: 1,
            source,
            traceparent: None,
        };
        Standee { batch, manifest: Some(manifest), revision: 1, holder: None, attempts: 0 }
    }

    #[test]
    fn windows_tile_the_batches_and_stay_small() {
        let batches: Vec<_> = [2_000, 2_000, 2_000, 9_000, 1].into_iter().map(|m| standee(1, m)).collect();
        assert_eq!(windows(&batches), [0..2, 2..3, 3..4, 4..5]);
        assert_eq!(windows(&[]), Vec::<Range<usize>>::new());
    }
}
