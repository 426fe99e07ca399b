//! What this collector sees of the queue, and what it takes next (pure over a clock).
//!
//! A batch is free when it has a manifest and no claim. Free batches that rendezvous hashing gives to this member are
//! taken at once, oldest first; what others left lying for a moment may be taken too, newest first, because its owner
//! works from the other end.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use nexus_common::queue::{BatchId, Manifest};
use tokio::time::Instant;

use crate::preference::{preferred, weight};

/// The most manifests kept in mind. Beyond it the queue is listed again when these are nearly done.
pub(crate) const WINDOW: usize = 20_000;
/// How long a batch is left to the member it prefers.
const MOMENT: Duration = Duration::from_secs(1);
/// After a claim went away its batch is most often gone too, and that news is on its way.
const AFTERTHOUGHT: Duration = Duration::from_millis(300);

/// A batch to work on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pick {
    pub(crate) batch: BatchId,
    pub(crate) manifest: Manifest,
    pub(crate) revision: i64,
}

/// How the queue stands, as far as it is in mind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Batches not acknowledged, and rows in them.
    pub(crate) batches: u64,
    pub(crate) rows: u64,
    /// When the oldest of them was published.
    pub(crate) oldest_ms: Option<i64>,
    /// Those nobody works on.
    pub(crate) unclaimed: u64,
    /// Those this member works on.
    pub(crate) held: u64,
    /// All there are.
    pub(crate) complete: bool,
    /// Live members.
    pub(crate) members: u64,
    /// This is the longest-serving one.
    pub(crate) leads: bool,
}

#[derive(Debug)]
pub(crate) struct View {
    me: String,
    members: BTreeMap<String, i64>,
    pending: HashMap<BatchId, (Manifest, i64)>,
    /// Held by others.
    claimed: HashSet<BatchId>,
    working: HashSet<BatchId>,
    /// Free batches by preference, with the time from which they may be taken.
    mine: BTreeMap<BatchId, Instant>,
    others: BTreeMap<BatchId, Instant>,
    /// Given back until later: also where a claim stands in the way, and for those who take without claims.
    later: HashMap<BatchId, Instant>,
    overflowed: bool,
}

impl View {
    pub(crate) fn new(me: &str) -> Self {
        View {
            me: me.to_owned(),
            members: BTreeMap::new(),
            pending: HashMap::new(),
            claimed: HashSet::new(),
            working: HashSet::new(),
            mine: BTreeMap::new(),
            others: BTreeMap::new(),
            later: HashMap::new(),
            overflowed: false,
        }
    }

    /// All manifests there are, or the oldest [`WINDOW`] of them.
    pub(crate) fn reset_manifests(&mut self, all: Vec<(BatchId, Manifest, i64)>, now: Instant) {
        self.overflowed = all.len() >= WINDOW;
        self.pending = all.into_iter().map(|(batch, manifest, revision)| (batch, (manifest, revision))).collect();
        self.later.retain(|batch, _| self.pending.contains_key(batch));
        self.sort_out(now);
    }

    pub(crate) fn put_manifest(&mut self, batch: BatchId, manifest: Manifest, revision: i64, now: Instant) {
        if self.pending.len() >= WINDOW {
            self.overflowed = true;
            return;
        }
        self.pending.insert(batch.clone(), (manifest, revision));
        self.offer(batch, now);
    }

    pub(crate) fn drop_manifest(&mut self, batch: &BatchId) {
        self.pending.remove(batch);
        self.later.remove(batch);
        self.withdraw(batch);
    }

    /// There is more in the queue than is in mind, and what is in mind is nearly done.
    pub(crate) fn wants_relist(&self) -> bool {
        self.overflowed && self.pending.len() < WINDOW / 4
    }

    /// All claims there are, with their holders.
    pub(crate) fn reset_claims(&mut self, all: Vec<(BatchId, &str)>, now: Instant) {
        self.claimed = all.into_iter().filter(|(_, holder)| *holder != self.me).map(|(batch, _)| batch).collect();
        self.sort_out(now);
    }

    /// A claim of our own does not stand in our way: what we work on we know better, and a claim whose answer was lost
    /// has to be found by claiming again.
    pub(crate) fn put_claim(&mut self, batch: BatchId, holder: &str) {
        if holder != self.me {
            self.withdraw(&batch);
            self.claimed.insert(batch);
        }
    }

    pub(crate) fn drop_claim(&mut self, batch: &BatchId, now: Instant) {
        self.claimed.remove(batch);
        self.offer(batch.clone(), now + AFTERTHOUGHT);
    }

    /// The live collectors, with the revision each came at.
    pub(crate) fn reset_members(&mut self, all: BTreeMap<String, i64>, now: Instant) {
        self.members = all;
        self.sort_out(now);
    }

    pub(crate) fn put_member(&mut self, id: String, revision: i64, now: Instant) {
        if self.members.insert(id, revision).is_none() {
            self.sort_out(now);
        }
    }

    pub(crate) fn drop_member(&mut self, id: &str, now: Instant) {
        self.members.remove(id);
        self.sort_out(now);
    }

    /// The longest-serving member does the upkeep: every member sees the same one.
    pub(crate) fn is_elder(&self) -> bool {
        self.members.iter().min_by_key(|(_, revision)| **revision).is_some_and(|(id, _)| *id == self.me)
    }

    /// How the queue stands: a walk over what is in mind.
    pub(crate) fn standing(&self) -> Standing {
        let count = |count: usize| count as u64;
        Standing {
            batches: count(self.pending.len()),
            rows: self.pending.values().map(|(manifest, _)| manifest.rows).sum(),
            oldest_ms: self.pending.keys().map(|batch| batch.published_ms).min(),
            unclaimed: count(self.mine.len() + self.others.len()),
            held: count(self.working.len()),
            complete: !self.overflowed,
            members: count(self.members.len()),
            leads: self.is_elder(),
        }
    }

    /// The leases of everything in mind, and whether that is everything.
    pub(crate) fn leases(&self) -> (HashSet<i64>, bool) {
        (self.pending.values().map(|(manifest, _)| manifest.lease).collect(), !self.overflowed)
    }

    /// Takes free batches of up to `rows` rows in all (one may be larger), at most `batches`.
    pub(crate) fn take(&mut self, rows: u64, batches: usize, now: Instant) -> Vec<Pick> {
        let ready = |(batch, from): (&BatchId, &Instant)| (*from <= now).then(|| batch.clone());
        let mut candidates: Vec<_> = self.mine.iter().filter_map(ready).take(batches).collect();
        if candidates.is_empty() {
            candidates = self.others.iter().rev().filter_map(ready).take(batches).collect();
        }
        let mut picks = Vec::new();
        let mut total = 0;
        for batch in candidates {
            let Some((manifest, revision)) = self.pending.get(&batch).cloned() else { continue };
            if !picks.is_empty() && total + manifest.rows > rows {
                break;
            }
            total += manifest.rows;
            self.withdraw(&batch);
            self.working.insert(batch.clone());
            picks.push(Pick { batch, manifest, revision });
        }
        picks
    }

    /// Takes one batch whatever claims there are, in an order of this member's own: while etcd is full nobody claims,
    /// and members that take the same order would do everything twice.
    pub(crate) fn take_unclaimed(&mut self, now: Instant) -> Option<Pick> {
        let is_free =
            |batch: &&BatchId| !self.working.contains(*batch) && self.later.get(*batch).is_none_or(|from| *from <= now);
        let free = self.pending.keys().filter(is_free);
        let batch = free.min_by_key(|batch| weight(batch, &self.me))?.clone();
        let (manifest, revision) = self.pending.get(&batch).cloned()?;
        self.withdraw(&batch);
        self.working.insert(batch.clone());
        Some(Pick { batch, manifest, revision })
    }

    /// The batch was acknowledged, by us or by another.
    pub(crate) fn finish(&mut self, batch: &BatchId) {
        self.working.remove(batch);
        self.drop_manifest(batch);
    }

    /// The batch stays in the queue: it may be tried again from `from` on.
    pub(crate) fn give_back(&mut self, batch: &BatchId, from: Instant) {
        self.working.remove(batch);
        if self.pending.contains_key(batch) {
            self.later.insert(batch.clone(), from);
        }
        self.offer(batch.clone(), from);
    }

    /// When the next batch becomes free, if nothing else happens.
    pub(crate) fn next_free(&self) -> Option<Instant> {
        self.mine.values().chain(self.others.values()).min().copied()
    }

    fn offer(&mut self, batch: BatchId, from: Instant) {
        if !self.pending.contains_key(&batch) || self.claimed.contains(&batch) || self.working.contains(&batch) {
            return;
        }
        // What was given back until later stays until later, though its claim goes meanwhile.
        let from = self.later.get(&batch).map_or(from, |later| from.max(*later));
        match preferred(&batch, self.members.keys()) {
            Some(owner) if *owner != self.me => self.others.insert(batch, from + MOMENT),
            _ => self.mine.insert(batch, from),
        };
    }

    fn withdraw(&mut self, batch: &BatchId) {
        self.mine.remove(batch);
        self.others.remove(batch);
    }

    /// Everything anew, after a change that touches many; what was held back stays held back.
    fn sort_out(&mut self, now: Instant) {
        let mut known = std::mem::take(&mut self.mine);
        known.extend(std::mem::take(&mut self.others).into_iter().map(|(batch, from)| (batch, from - MOMENT)));
        let batches: Vec<_> = self.pending.keys().cloned().collect();
        for batch in batches {
            let from = known.remove(&batch).unwrap_or(now);
            self.offer(batch, from);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nexus_common::queue::Source;

    fn batch(n: u64) -> BatchId {
        BatchId { published_ms: n as i64, lane: "l".into(), run: "r".into(), n }
    }

    fn manifest() -> Manifest {
        let source = Source { file: "f".into(), pass: 0, lines: [1, 1], bytes: [0, 1], shift_us: 0 };
        Manifest {
            v: 1,
            first: "a".into(),
            last: "b".into(),
            messages: 1,
            rows: 10,
            rows_before: 0,
            lease: 5,
            source,
            traceparent: None,
        }
    }

    fn view(me: &str, members: &[&str], batches: u64, now: Instant) -> View {
        let mut view = View::new(me);
        view.reset_members(members.iter().zip(1..).map(|(id, revision)| ((*id).to_owned(), revision)).collect(), now);
        view.reset_manifests((0..batches).map(|n| (batch(n), manifest(), 1)).collect(), now);
        view
    }

    #[test]
    fn its_standing_is_what_waits_and_who_works() {
        let now = Instant::now();
        let mut view = view("a", &["a", "b"], 5, now);
        let all = Standing {
            batches: 5,
            rows: 50,
            oldest_ms: Some(0),
            unclaimed: 5,
            held: 0,
            complete: true,
            members: 2,
            leads: true,
        };
        assert_eq!(view.standing(), all);
        view.put_claim(batch(0), "b");
        view.drop_manifest(&batch(0));
        view.put_claim(batch(1), "b");
        let taken = view.take(10, 1, now + MOMENT).len() as u64;
        let fewer = Standing { batches: 4, rows: 40, oldest_ms: Some(1), unclaimed: 3 - taken, held: taken, ..all };
        assert_eq!((taken, view.standing()), (1, fewer));
    }

    #[test]
    fn two_members_share_without_overlap_and_help_after_a_moment() {
        let now = Instant::now();
        let (mut a, mut b) = (view("a", &["a", "b"], 100, now), view("b", &["a", "b"], 100, now));
        let (of_a, of_b) = (a.take(10_000, 100, now), b.take(10_000, 100, now));
        assert_eq!(of_a.len() + of_b.len(), 100);
        assert!(of_a.iter().all(|pick| !of_b.contains(pick)));
        assert!(a.take(10_000, 100, now).is_empty());
        let helped = a.take(10_000, 100, now + MOMENT);
        assert_eq!(helped.len(), of_b.len());
    }

    #[test]
    fn a_claimed_batch_is_free_again_when_the_claim_goes() {
        let now = Instant::now();
        let mut view = view("a", &["a"], 1, now);
        view.put_claim(batch(0), "b");
        assert!(view.take(100, 10, now).is_empty());
        view.drop_claim(&batch(0), now);
        assert!(view.take(100, 10, now).is_empty(), "the manifest's deletion may be on its way");
        assert_eq!(view.take(100, 10, now + AFTERTHOUGHT).len(), 1);
    }

    #[test]
    fn a_claim_of_our_own_whose_answer_was_lost_is_tried_again() {
        let now = Instant::now();
        let mut view = view("a", &["a"], 1, now);
        assert_eq!(view.take(100, 10, now).len(), 1);
        view.put_claim(batch(0), "a");
        view.give_back(&batch(0), now);
        assert_eq!(view.take(100, 10, now).len(), 1);
    }

    #[test]
    fn what_is_given_back_until_later_waits_until_then() {
        let now = Instant::now();
        let later = now + Duration::from_secs(30);
        for me in ["a", "z"] {
            let mut view = view(me, &["a"], 1, now);
            assert_eq!(view.take(100, 10, now + MOMENT).len(), 1);
            view.put_claim(batch(0), me);
            view.give_back(&batch(0), later);
            view.drop_claim(&batch(0), now);
            assert!(view.take(100, 10, now + Duration::from_secs(29)).is_empty());
            assert_eq!(view.take(100, 10, later + MOMENT).len(), 1);
        }
    }

    #[test]
    fn a_flight_is_bounded_by_rows_but_takes_one_large_batch() {
        let now = Instant::now();
        let mut view = view("a", &["a"], 5, now);
        assert_eq!(view.take(25, 10, now).len(), 2);
        assert_eq!(view.take(1, 10, now).len(), 1);
        assert_eq!(view.take(100, 1, now).len(), 1);
    }

    #[test]
    fn work_in_hand_is_not_taken_twice() {
        let now = Instant::now();
        let mut view = view("a", &["a"], 1, now);
        assert_eq!(view.take(100, 10, now).len(), 1);
        view.reset_manifests(vec![(batch(0), manifest(), 1)], now);
        assert!(view.take(100, 10, now).is_empty());
        assert!(view.take_unclaimed(now).is_none());
        view.give_back(&batch(0), now);
        assert_eq!(view.take(100, 10, now).len(), 1);
        view.finish(&batch(0));
        assert!(view.take(100, 10, now + MOMENT).is_empty());
    }

    #[test]
    fn what_was_given_back_until_later_is_not_taken_without_a_claim_either() {
        let now = Instant::now();
        let mut view = view("a", &["a"], 1, now);
        assert!(view.take_unclaimed(now).is_some());
        view.give_back(&batch(0), now + MOMENT);
        assert!(view.take_unclaimed(now).is_none());
        assert!(view.take_unclaimed(now + MOMENT).is_some());
    }

    #[test]
    fn members_take_a_full_queue_in_different_orders() {
        let now = Instant::now();
        let order = |me: &str| {
            let mut view = view(me, &["a", "b"], 50, now);
            std::iter::from_fn(|| view.take_unclaimed(now)).map(|pick| pick.batch.n).collect::<Vec<_>>()
        };
        let (a, b) = (order("a"), order("b"));
        assert_eq!(a.len(), 50);
        assert_ne!(a, b);
    }

    #[test]
    fn the_longest_serving_member_is_the_elder() {
        let now = Instant::now();
        let mut view = view("a", &["z", "a"], 0, now);
        assert!(!view.is_elder());
        view.drop_member("z", now);
        assert!(view.is_elder());
    }
}
