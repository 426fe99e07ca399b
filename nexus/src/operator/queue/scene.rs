//! What happens in the queue, made out of changes of manifests, claims and attempts (pure).
//!
//! They come on watches of their own, so a claim is seen before or after its manifest, and so are their ends. An
//! acknowledgement deletes both, a release and a lost session the claim alone: what a claim's end was is settled a moment
//! later, by whether the manifest is still there and whether the attempt was taken back.

use std::collections::{HashMap, HashSet};

use nexus_common::etcd::{Change, KeyValue};
use nexus_common::queue::{BatchId, Keys, Manifest, attempts_in};
use serde::Serialize;

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum What {
    /// A streamer put it there.
    Published,
    /// A collector took it.
    Claimed,
    /// It is stored and gone.
    Acknowledged,
    /// Its collector gave it back; no attempt is counted.
    Released,
    /// Its collector's session ended: it crashed, or was cut off.
    Lost,
    /// Its messages outlived their TTL unread.
    Expired,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) what: What,
    pub(super) batch: BatchId,
    pub(super) manifest: Option<Manifest>,
    /// The collector that holds it, or held it.
    pub(super) collector: Option<String>,
    /// How often it was claimed, as far as is known.
    pub(super) attempts: u32,
}

#[derive(Debug, Default)]
struct Known {
    manifest: Option<Manifest>,
    /// The manifest stands. A claim may be seen before, and for a moment after.
    is_there: bool,
    holder: Option<String>,
    attempts: u32,
    expired: bool,
}

/// What is known of the queue.
#[derive(Debug, Default)]
pub(super) struct Scene {
    batches: HashMap<BatchId, Known>,
    /// Claims that ended while the manifest stood, and whether each has had its moment.
    ended: Vec<(Ended, bool)>,
    listed: bool,
    claims_listed: bool,
}

/// A claim that ended, for a reason that is not known yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) batch: BatchId,
    collector: Option<String>,
    attempts: u32,
}

impl Scene {
    /// Batches and rows, and how many of the batches are held.
    pub(super) fn depth(&self) -> (u64, u64, u64) {
        let there = || self.batches.values().filter(|known| known.is_there);
        let rows = there().filter_map(|known| known.manifest.as_ref()).map(|manifest| manifest.rows).sum();
        (there().count() as u64, rows, there().filter(|known| known.holder.is_some()).count() as u64)
    }

    /// Manifests and claims were both listed: from here on what comes is news.
    pub(super) fn is_complete(&self) -> bool {
        self.listed && self.claims_listed
    }

    /// A change of a manifest.
    pub(super) fn manifest(&mut self, change: Change) -> Vec<Event> {
        match change {
            Change::Snapshot(kvs, _) => {
                let now: HashMap<BatchId, Option<Manifest>> =
                    kvs.iter().filter_map(|kv| Some((batch(kv)?, Manifest::decode(kv.value())))).collect();
                let gone = |(batch, known): (&BatchId, &Known)| {
                    (known.is_there && !now.contains_key(batch)).then(|| batch.clone())
                };
                let gone: Vec<BatchId> = self.batches.iter().filter_map(gone).collect();
                let mut events: Vec<Event> = gone.into_iter().filter_map(|batch| self.gone(&batch)).collect();
                let told: Vec<Event> =
                    now.into_iter().flat_map(|(batch, manifest)| self.there(&batch, manifest)).collect();
                if std::mem::replace(&mut self.listed, true) {
                    events.extend(told);
                }
                in_order(events)
            }
            Change::Put(kv) => {
                let manifest = Manifest::decode(kv.value());
                batch(&kv).map_or_else(Vec::new, |batch| self.there(&batch, manifest))
            }
            Change::Delete(key) => Keys::batch_of(&key).and_then(|batch| self.gone(&batch)).into_iter().collect(),
            Change::Interrupted | Change::Resumed => Vec::new(),
        }
    }

    /// A change of a claim.
    pub(super) fn claim(&mut self, change: Change) -> Vec<Event> {
        let holder = |kv: &KeyValue| String::from_utf8_lossy(kv.value()).into_owned();
        match change {
            Change::Snapshot(kvs, _) => {
                let now: Vec<_> = kvs.iter().filter_map(|kv| Some((batch(kv)?, holder(kv)))).collect();
                let held: HashSet<&BatchId> = now.iter().map(|(batch, _)| batch).collect();
                let ended = |(batch, known): (&BatchId, &Known)| {
                    (known.holder.is_some() && !held.contains(batch)).then(|| batch.clone())
                };
                let ended: Vec<BatchId> = self.batches.iter().filter_map(ended).collect();
                ended.into_iter().for_each(|batch| self.claim_ended(batch));
                let told: Vec<Event> =
                    now.into_iter().filter_map(|(batch, holder)| self.claimed(&batch, holder)).collect();
                if std::mem::replace(&mut self.claims_listed, true) { in_order(told) } else { Vec::new() }
            }
            Change::Put(kv) => batch(&kv).and_then(|batch| self.claimed(&batch, holder(&kv))).into_iter().collect(),
            Change::Delete(key) => {
                Keys::batch_of(&key).into_iter().for_each(|batch| self.claim_ended(batch));
                Vec::new()
            }
            Change::Interrupted | Change::Resumed => Vec::new(),
        }
    }

    /// A change of an attempt count. What lies below the count of a claim that has just ended is heard at its settling.
    pub(super) fn attempt(&mut self, change: Change) {
        let kvs = match change {
            Change::Snapshot(kvs, _) => kvs,
            Change::Put(kv) => vec![kv],
            Change::Delete(_) | Change::Interrupted | Change::Resumed => return,
        };
        for kv in &kvs {
            if let Some(known) = batch(kv).and_then(|batch| self.batches.get_mut(&batch)) {
                known.attempts = known.attempts.max(attempts_in(kv));
            }
        }
    }

    /// Claims whose end is to be asked for, and told to [`Scene::settle`]: those that had ended when this was asked last,
    /// so that the other end of an acknowledgement has had its time.
    pub(super) fn unsettled(&mut self) -> Vec<Ended> {
        let (due, fresh): (Vec<_>, Vec<_>) = std::mem::take(&mut self.ended).into_iter().partition(|(_, due)| *due);
        self.ended = fresh.into_iter().map(|(ended, _)| (ended, true)).collect();
        due.into_iter().map(|(ended, _)| ended).collect()
    }

    /// What a claim's end was: `attempts` is what etcd counts now, `None` where the batch is gone. A release takes its
    /// attempt back, a crash cannot.
    pub(super) fn settle(&mut self, ended: Ended, attempts: Option<u32>) -> Option<Event> {
        // Gone: the manifests' watch tells that.
        let now = attempts?;
        let Ended { batch, collector, attempts } = ended;
        let known = self.batches.get_mut(&batch)?;
        let before = attempts.max(known.attempts).max(1);
        let what = if now < before { What::Released } else { What::Lost };
        known.attempts = now;
        Some(Event { what, manifest: known.manifest.clone(), batch, collector, attempts: now })
    }

    /// The leases that batches wait under, each once.
    pub(super) fn leases(&self) -> Vec<i64> {
        let open = self.batches.values().filter(|known| known.is_there && !known.expired);
        let mut leases: Vec<_> = open.filter_map(|known| Some(known.manifest.as_ref()?.lease)).collect();
        leases.sort_unstable();
        leases.dedup();
        leases
    }

    /// A lease is gone, and with it what is left of its batches' messages.
    pub(super) fn lease_gone(&mut self, lease: i64) -> Vec<Event> {
        let mut events = Vec::new();
        for (batch, known) in &mut self.batches {
            let of_lease = known.manifest.as_ref().is_some_and(|manifest| manifest.lease == lease);
            if of_lease && known.is_there && !std::mem::replace(&mut known.expired, true) {
                events.push(known.event(What::Expired, batch));
            }
        }
        in_order(events)
    }

    fn there(&mut self, batch: &BatchId, manifest: Option<Manifest>) -> Vec<Event> {
        let known = self.batches.entry(batch.clone()).or_default();
        known.manifest = manifest;
        if std::mem::replace(&mut known.is_there, true) {
            return Vec::new();
        }
        let mut events = vec![Event { collector: None, attempts: 0, ..known.event(What::Published, batch) }];
        // Its claim was seen first.
        if known.holder.is_some() {
            events.push(known.event(What::Claimed, batch));
        }
        events
    }

    fn gone(&mut self, batch: &BatchId) -> Option<Event> {
        let known = self.batches.get_mut(batch).filter(|known| known.is_there)?;
        known.is_there = false;
        let mut event = known.event(What::Acknowledged, batch);
        if let Some(place) = self.ended.iter().position(|(ended, _)| ended.batch == *batch) {
            event.collector = self.ended.swap_remove(place).0.collector;
        }
        // The end of its claim, where that is still to come, clears the rest.
        if known.holder.is_none() {
            self.batches.remove(batch);
        }
        Some(event)
    }

    fn claimed(&mut self, batch: &BatchId, holder: String) -> Option<Event> {
        let known = self.batches.entry(batch.clone()).or_default();
        if known.holder.as_ref() == Some(&holder) {
            return None;
        }
        known.holder = Some(holder);
        known.is_there.then(|| known.event(What::Claimed, batch))
    }

    fn claim_ended(&mut self, batch: BatchId) {
        let Some(known) = self.batches.get_mut(&batch) else { return };
        let (collector, attempts) = (known.holder.take(), known.attempts);
        match known.is_there {
            true => self.ended.push((Ended { batch, collector, attempts }, false)),
            // Its manifest went before: acknowledged, and told.
            false => drop(self.batches.remove(&batch)),
        }
    }
}

impl Known {
    fn event(&self, what: What, batch: &BatchId) -> Event {
        let (manifest, collector) = (self.manifest.clone(), self.holder.clone());
        Event { what, batch: batch.clone(), manifest, collector, attempts: self.attempts }
    }
}

fn batch(kv: &KeyValue) -> Option<BatchId> {
    Keys::batch_of(kv.key_str().ok()?)
}

fn in_order(mut events: Vec<Event>) -> Vec<Event> {
    events.sort_by(|a, b| a.batch.cmp(&b.batch));
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch() -> BatchId {
        BatchId { published_ms: 5, lane: "l".into(), run: "r".into(), n: 1 }
    }

    /// p: its manifest comes, c: it is claimed, a: its claim goes, m: its manifest goes.
    fn play(steps: &str) -> (Scene, Vec<What>) {
        let (mut scene, mut seen) = (Scene::default(), Vec::new());
        for step in steps.chars() {
            match step {
                'p' => seen.extend(scene.there(&batch(), None)),
                'c' => seen.extend(scene.claimed(&batch(), "c1".into())),
                'a' => scene.claim_ended(batch()),
                _ => seen.extend(scene.gone(&batch())),
            }
        }
        (scene, seen.into_iter().map(|event| event.what).collect())
    }

    #[test]
    fn whatever_is_seen_first_the_story_is_one() {
        for steps in ["pcam", "pcma", "cpam", "cpma"] {
            let (mut scene, seen) = play(steps);
            assert_eq!(seen, [What::Published, What::Claimed, What::Acknowledged], "{steps}");
            assert!(
                scene.unsettled().is_empty() && scene.unsettled().is_empty() && scene.batches.is_empty(),
                "{steps}"
            );
        }
        // The claim came after everything was over.
        let (scene, seen) = play("pmca");
        assert_eq!((seen, scene.batches.len()), (vec![What::Published, What::Acknowledged], 0));
    }

    #[test]
    fn a_claim_that_ends_alone_was_given_back_or_lost() {
        for (attempts, what) in [(0, What::Released), (1, What::Lost)] {
            let (mut scene, _) = play("pca");
            assert!(scene.unsettled().is_empty(), "it has its moment");
            let ended = scene.unsettled().pop().unwrap();
            let event = scene.settle(ended.clone(), Some(attempts)).unwrap();
            assert_eq!((event.what, event.collector.as_deref()), (what, Some("c1")));
            assert_eq!(scene.settle(ended, None), None, "acknowledged after all");
        }
    }

    #[test]
    fn a_release_after_crashes_leaves_their_count() {
        let (mut scene, _) = play("pc");
        scene.batches.get_mut(&batch()).unwrap().attempts = 3;
        scene.claim_ended(batch());
        scene.unsettled();
        let ended = scene.unsettled().pop().unwrap();
        assert_eq!(scene.settle(ended, Some(2)).unwrap().what, What::Released);
    }
}
