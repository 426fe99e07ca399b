//! Holds a history against the invariants I1 to I4. Pure: it knows the calls, the changes, and no server.
//!
//! A change is known to have been made before the moment the watch told it; so whoever caused it began before that.

use std::collections::{BTreeMap, BTreeSet};

use nexus_common::queue::BatchId;

use super::{Call, Change, History, Moment, Outcome, Put, What};

/// What a history holds: so that a test can tell one that shows something from an empty one.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    pub(crate) batches: usize,
    pub(crate) rows: u64,
    pub(crate) expired: u64,
    /// Calls nobody knows the outcome of.
    pub(crate) unknown: usize,
    /// Runs that took a lane over.
    pub(crate) reopened: usize,
    /// Claims beyond the first of a batch.
    pub(crate) taken_over: usize,
    /// Batches that came to the ledger again.
    pub(crate) doubles: usize,
}

/// What the history holds, or every way in which it breaks an invariant.
pub(crate) fn check(history: &History) -> Result<Figures, Vec<String>> {
    let mut checker = Checker { history, begun: Begun::of(history), broken: Vec::new(), manifests: BTreeMap::new() };
    checker.publishing();
    checker.deleting();
    checker.storing();
    checker.holding();
    checker.broken.extend(history.surprises.iter().map(|surprise| format!("a surprise: {surprise}")));
    if let Some(key) = history.left.first() {
        checker.broken.push(format!("{} keys are left, the first is {key}", history.left.len()));
    }
    if checker.broken.is_empty() { Ok(Figures::of(history)) } else { Err(checker.broken) }
}

impl Figures {
    /// What a history holds, whether it is right or not.
    pub(crate) fn of(history: &History) -> Figures {
        let manifests = history.seen.iter().filter(|seen| matches!(seen.change, Change::Manifest { .. }));
        let mut figures = Figures { batches: manifests.count(), ..Figures::default() };
        let mut claimed: BTreeSet<&BatchId> = BTreeSet::new();
        for call in &history.calls {
            figures.unknown += usize::from(call.outcome == Outcome::Unknown);
            match &call.what {
                What::Open { epoch, .. } => figures.reopened += usize::from(*epoch > 1),
                What::Store { lines, expired, fresh: true, .. } => {
                    figures.rows += lines.len() as u64 + expired;
                    figures.expired += expired;
                }
                What::Store { .. } => figures.doubles += 1,
                What::Claim { batch, .. } if call.outcome == Outcome::Done => {
                    figures.taken_over += usize::from(!claimed.insert(batch));
                }
                _ => {}
            }
        }
        figures
    }

    /// Whether everything happened of which an invariant speaks: otherwise a history shows nothing.
    pub(crate) fn show_something(&self) -> bool {
        self.batches > 20 && self.unknown > 0 && self.reopened > 0 && self.taken_over > 0 && self.doubles > 0
    }
}

struct Promise {
    put: Put,
    messages: usize,
    rows: u64,
    lines: [u64; 2],
    lease: i64,
    range: [String; 2],
}

/// When what was begun, for the first time; calls that did nothing are left out.
#[derive(Default)]
struct Begun<'a> {
    published: BTreeMap<(&'a str, &'a str, u64), Moment>,
    claimed: BTreeMap<(&'a BatchId, &'a str, i64), Moment>,
    /// With the outcome: one that is not known may take effect at any time.
    released: BTreeMap<(&'a BatchId, &'a str), Vec<(Moment, Outcome)>>,
    acknowledged: BTreeMap<&'a BatchId, Vec<Moment>>,
    revoked: BTreeMap<i64, Moment>,
    /// When it was over, for the first time.
    stored: BTreeMap<&'a BatchId, Moment>,
    /// The lease that an owner of claims lives by.
    leases: BTreeMap<&'a str, i64>,
}

impl<'a> Begun<'a> {
    fn of(history: &'a History) -> Self {
        let mut begun = Begun::default();
        let first = |moments: &mut Moment, moment: Moment| *moments = moment.min(*moments);
        for Call { what, begin, end, outcome } in &history.calls {
            if let What::Claim { by, lease, .. } = what {
                begun.leases.insert(by, *lease);
            }
            if *outcome == Outcome::Refused {
                continue;
            }
            match what {
                What::Open { .. } => {}
                What::Publish { lane, run, n } => {
                    first(begun.published.entry((lane, run, *n)).or_insert(Moment::MAX), *begin);
                }
                What::Claim { batch, by, lease } => {
                    first(begun.claimed.entry((batch, by, *lease)).or_insert(Moment::MAX), *begin);
                }
                What::Store { batch, .. } => first(begun.stored.entry(batch).or_insert(Moment::MAX), *end),
                What::Ack { batch } => begun.acknowledged.entry(batch).or_default().push(*begin),
                What::Release { batch, by } => {
                    begun.released.entry((batch, by)).or_default().push((*begin, *outcome));
                }
                What::Revoke { lease } => first(begun.revoked.entry(*lease).or_insert(Moment::MAX), *begin),
            }
        }
        begun
    }

    /// An acknowledgement of what was stored before, begun before `at`.
    fn acknowledged(&self, batch: &BatchId, at: Moment) -> bool {
        let stored = self.stored.get(batch).copied().unwrap_or(Moment::MAX);
        self.acknowledged.get(batch).is_some_and(|begun| begun.iter().any(|begin| (stored..at).contains(begin)))
    }

    fn revoked(&self, lease: i64, at: Moment) -> bool {
        self.revoked.get(&lease).is_some_and(|begin| *begin < at)
    }

    /// The first moment from `after` on at which the holder may have given the batch up, of his own will or not.
    fn given_up(&self, batch: &BatchId, holder: &str, after: Moment) -> Moment {
        let released = self.released.get(&(batch, holder)).into_iter().flatten();
        if released.clone().any(|(begin, outcome)| *begin <= after && *outcome == Outcome::Unknown) {
            return after;
        }
        let released = released.map(|(begin, _)| begin);
        let acknowledged = self.acknowledged.get(batch).into_iter().flatten();
        let revoked = self.leases.get(holder).and_then(|lease| self.revoked.get(lease));
        released.chain(acknowledged).chain(revoked).copied().filter(|begin| *begin > after).min().unwrap_or(Moment::MAX)
    }
}

struct Checker<'a> {
    history: &'a History,
    begun: Begun<'a>,
    broken: Vec<String>,
    manifests: BTreeMap<BatchId, Promise>,
}

impl<'a> Checker<'a> {
    fn broke(&mut self, invariant: &str, what: impl std::fmt::Display) {
        self.broken.push(format!("{invariant}: {what}"));
    }

    fn calls(&self) -> impl Iterator<Item = (&'a What, &'a Call)> + use<'a> {
        self.history.calls.iter().map(|call| (&call.what, call))
    }

    /// I1: a (lane, run, n) commits at most once, without gaps, under a cursor that only its run moves.
    fn publishing(&mut self) {
        // Of each lane: run, epoch, n, rows.
        let mut cursors: BTreeMap<&str, (&str, u64, u64, u64)> = BTreeMap::new();
        let mut numbers: BTreeSet<(&str, &str, u64)> = BTreeSet::new();
        let mut published: BTreeMap<i64, Vec<(&String, Put)>> = BTreeMap::new();
        let mut moved: BTreeMap<i64, (&str, u64)> = BTreeMap::new();
        for seen in &self.history.seen {
            match &seen.change {
                Change::Message { key, put } => {
                    if put.version != 1 {
                        self.broke("I1", format_args!("message {key} was overwritten"));
                    }
                    published.entry(put.revision).or_default().push((key, *put));
                }
                Change::Manifest { batch, manifest, put } => {
                    if put.version != 1 || !numbers.insert((&batch.lane, &batch.run, batch.n)) {
                        self.broke("I1", format_args!("{batch} was committed twice"));
                    }
                    let asked = self.begun.published.get(&(batch.lane.as_str(), batch.run.as_str(), batch.n));
                    if asked.is_none_or(|begin| *begin > seen.at) {
                        self.broke("I1", format_args!("nobody published {batch}"));
                    }
                    let promise = Promise {
                        put: *put,
                        messages: manifest.messages,
                        rows: manifest.rows,
                        lines: manifest.source.lines,
                        lease: manifest.lease,
                        range: [manifest.first.clone(), manifest.last.clone()],
                    };
                    self.manifests.insert(batch.clone(), promise);
                }
                Change::Cursor { lane, run, epoch, n, rows, put } => {
                    let before = cursors.insert(lane, (run, *epoch, *n, *rows));
                    let follows = match before {
                        None => (*epoch, *n, *rows) == (1, 0, 0),
                        Some((last, age, number, count)) if last == run => {
                            (*epoch, *n) == (age, number + 1) && *rows > count
                        }
                        Some((_, age, _, count)) => (*epoch, *n, *rows) == (age + 1, 0, count),
                    };
                    if !follows {
                        self.broke("I1", format_args!("lane {lane}: {before:?} became {run} {epoch} {n} {rows}"));
                    }
                    if *n > 0 {
                        moved.insert(put.revision, (run, *n));
                    }
                }
                Change::CursorGone { lane } => self.broke("I1", format_args!("the cursor of {lane} is gone")),
                _ => {}
            }
        }
        self.promised(&published, &moved);
        self.fenced();
    }

    /// What a manifest promises was put with it, and the cursor moved with it.
    fn promised(&mut self, published: &BTreeMap<i64, Vec<(&String, Put)>>, moved: &BTreeMap<i64, (&str, u64)>) {
        let mut broken = Vec::new();
        for (batch, promise) in &self.manifests {
            let revision = promise.put.revision;
            let own = published.get(&revision).map_or(&[][..], Vec::as_slice);
            let within = |key: &String| *key >= promise.range[0] && *key <= promise.range[1];
            let kept = own.iter().all(|(key, put)| within(key) && put.lease == promise.lease);
            if own.len() != promise.messages || !kept || moved.get(&revision) != Some(&(batch.run.as_str(), batch.n)) {
                broken.push(format!("I1: {batch} is not what one transaction put"));
            }
        }
        let revisions: BTreeSet<_> = self.manifests.values().map(|promise| promise.put.revision).collect();
        if let Some((_, messages)) = published.iter().find(|(revision, _)| !revisions.contains(revision)) {
            broken.push(format!("I1: messages without a manifest: {:?}", messages[0].0));
        }
        let seen: BTreeSet<_> = self.manifests.keys().map(|batch| (&batch.lane, &batch.run, batch.n)).collect();
        for (what, call) in self.calls() {
            if let What::Publish { lane, run, n } = what
                && call.outcome == Outcome::Done
                && !seen.contains(&(lane, run, *n))
            {
                broken.push(format!("I1: {lane}.{run}.{n} was said to be published, and was not"));
            }
        }
        self.broken.extend(broken);
    }

    /// Whoever begins to publish after the lane was opened anew does not get through.
    fn fenced(&mut self) {
        let opened: Vec<_> = self
            .calls()
            .filter_map(|(what, call)| match what {
                What::Open { lane, run, epoch } => Some((lane, run, *epoch, call.end)),
                _ => None,
            })
            .collect();
        let epochs: BTreeMap<_, _> = opened.iter().map(|(lane, run, epoch, _)| ((*lane, *run), *epoch)).collect();
        for (what, call) in self.calls() {
            let What::Publish { lane, run, n } = what else { continue };
            let Some(epoch) = epochs.get(&(lane, run)) else {
                self.broke("I1", format_args!("run {run} of {lane} was never opened"));
                continue;
            };
            let newer = |(other, _, age, end): &&(&String, &String, u64, Moment)| {
                *other == lane && age > epoch && *end < call.begin
            };
            if call.outcome == Outcome::Done && opened.iter().any(|open| newer(&open)) {
                self.broke("I1", format_args!("{lane}.{run}.{n} was published by a fenced producer"));
            }
        }
    }

    /// I2: a message leaves only by an acknowledgement of what is stored, or because its lease ended.
    fn deleting(&mut self) {
        let mut batch_of: BTreeMap<&str, &BatchId> = BTreeMap::new();
        let at_revision: BTreeMap<i64, &BatchId> =
            self.manifests.iter().map(|(batch, promise)| (promise.put.revision, batch)).collect();
        let mut broken = Vec::new();
        for seen in &self.history.seen {
            match &seen.change {
                Change::Message { key, put } => {
                    if let Some(batch) = at_revision.get(&put.revision) {
                        batch_of.insert(key, batch);
                    }
                }
                Change::MessageGone { key } => {
                    let Some(batch) = batch_of.get(key.as_str()) else { continue };
                    let lease = self.manifests[*batch].lease;
                    if !self.begun.revoked(lease, seen.at) && !self.begun.acknowledged(batch, seen.at) {
                        broken.push(format!("I2: message {key} of {batch} left before it was stored"));
                    }
                }
                Change::ManifestGone { batch } if !self.begun.acknowledged(batch, seen.at) => {
                    broken.push(format!("I2: manifest {batch} left before its rows were stored"));
                }
                _ => {}
            }
        }
        let mut done: BTreeSet<&BatchId> = BTreeSet::new();
        for (what, call) in self.calls() {
            if let What::Ack { batch } = what
                && call.outcome == Outcome::Done
                && !done.insert(batch)
            {
                broken.push(format!("I2: {batch} was acknowledged twice"));
            }
        }
        self.broken.extend(broken);
    }

    /// I3: each row of each batch that was committed has one effect.
    fn storing(&mut self) {
        let mut ledger: BTreeMap<&BatchId, (&[u64], u64)> = BTreeMap::new();
        let mut effects: BTreeMap<(&str, u64), &BatchId> = BTreeMap::new();
        let mut broken = Vec::new();
        for (what, call) in self.calls() {
            let What::Store { batch, lines, expired, fresh: true } = what else { continue };
            if ledger.insert(batch, (lines, *expired)).is_some() {
                broken.push(format!("I3: {batch} is in the ledger twice"));
            }
            for line in lines {
                if let Some(other) = effects.insert((&batch.lane, *line), batch) {
                    broken.push(format!("I3: line {line} came by {other} and by {batch}"));
                }
            }
            let Some(promise) = self.manifests.get(batch) else {
                broken.push(format!("I3: {batch} was stored and never published"));
                continue;
            };
            let within = lines.iter().all(|line| (promise.lines[0]..=promise.lines[1]).contains(line));
            if lines.len() as u64 + expired != promise.rows || !within {
                broken.push(format!("I3: {batch} promised {} rows, {} + {expired} came", promise.rows, lines.len()));
            }
            if *expired > 0 && !self.begun.revoked(promise.lease, call.begin) {
                broken.push(format!("I2: rows of {batch} are said to have expired, and its lease never ended"));
            }
        }
        for batch in self.manifests.keys().filter(|batch| !ledger.contains_key(batch)) {
            broken.push(format!("I3: {batch} is in etcd and in the ledger no more, or never was"));
        }
        // Lines of a lane are published once: what a run left the next one goes on with.
        let mut lines: BTreeMap<&str, Vec<[u64; 2]>> = BTreeMap::new();
        for (batch, promise) in &self.manifests {
            lines.entry(&batch.lane).or_default().push(promise.lines);
        }
        for (lane, mut parts) in lines {
            parts.sort_unstable();
            if let Some(pair) = parts.windows(2).find(|pair| pair[0][1] + 1 != pair[1][0]) {
                broken.push(format!("I3: lane {lane} published lines {:?} and then {:?}", pair[0], pair[1]));
            }
        }
        self.broken.extend(broken);
    }

    /// I4: one living holder of a batch at a time.
    fn holding(&mut self) {
        let mut holders: BTreeMap<&BatchId, &str> = BTreeMap::new();
        let mut broken = Vec::new();
        for seen in &self.history.seen {
            match &seen.change {
                Change::Claim { batch, by, put } => {
                    if put.version != 1 || holders.insert(batch, by).is_some() {
                        broken.push(format!("I4: {by} claimed {batch}, which was held"));
                    }
                    let asked = self.begun.claimed.get(&(batch, by.as_str(), put.lease));
                    if asked.is_none_or(|begin| *begin > seen.at) {
                        broken.push(format!("I4: {by} holds {batch}, which it never claimed under that lease"));
                    }
                }
                Change::ClaimGone { batch } => {
                    let Some(holder) = holders.remove(batch) else { continue };
                    if self.begun.given_up(batch, holder, 0) > seen.at {
                        broken.push(format!("I4: {batch} was taken from {holder}, who lives and holds it"));
                    }
                }
                _ => {}
            }
        }
        self.broken.extend(broken);
        self.overlapping();
    }

    /// Nobody was told "yours" while another one had been told so and had not given up.
    fn overlapping(&mut self) {
        let mut claims: BTreeMap<&BatchId, Vec<(&str, &Call)>> = BTreeMap::new();
        for (what, call) in self.calls() {
            if let (What::Claim { batch, by, .. }, Outcome::Done) = (what, call.outcome) {
                claims.entry(batch).or_default().push((by, call));
            }
        }
        let mut broken = Vec::new();
        for (batch, claims) in claims {
            for (holder, first) in &claims {
                let until = self.begun.given_up(batch, holder, first.begin);
                for (other, second) in claims.iter().filter(|(other, _)| other != holder) {
                    if second.begin > first.end && second.end < until {
                        broken.push(format!("I4: {batch} was given to {other} while {holder} held it"));
                    }
                }
            }
        }
        self.broken.extend(broken);
    }
}
