//! The checker's own tests: it takes a good history, and finds out each thing that may go wrong in one.

use nexus_common::queue::{BatchId, Manifest, Source};

use super::check::check;
use super::{Call, Change, History, Outcome, Put, Seen, What};

const BUCKET: i64 = 70;

fn id(run: &str, n: u64) -> BatchId {
    BatchId { published_ms: 5, lane: "l".into(), run: run.into(), n }
}

fn key(revision: i64, index: u64) -> String {
    format!("/m/{revision:03}_{index}")
}

/// Writes a history as it would happen if one thing happened after the other.
#[derive(Default)]
struct Story {
    history: History,
    clock: u64,
    revision: i64,
}

impl Story {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn call(&mut self, what: What, outcome: Outcome) {
        let (begin, end) = (self.tick(), self.tick());
        let end = if outcome == Outcome::Unknown { u64::MAX } else { end };
        self.history.calls.push(Call { what, begin, end, outcome });
    }

    fn saw(&mut self, change: Change) {
        let at = self.tick();
        self.history.seen.push(Seen { at, change });
    }

    fn put(&self, lease: i64) -> Put {
        Put { revision: self.revision, version: 1, lease }
    }

    fn open(&mut self, run: &str, epoch: u64, rows: u64) {
        self.call(What::Open { lane: "l".into(), run: run.into(), epoch }, Outcome::Done);
        self.revision += 1;
        self.cursor(run, epoch, 0, rows);
    }

    fn cursor(&mut self, run: &str, epoch: u64, n: u64, rows: u64) {
        let put = self.put(0);
        self.saw(Change::Cursor { lane: "l".into(), run: run.into(), epoch, n, rows, put });
    }

    /// Two rows in two messages.
    fn publish(&mut self, run: &str, epoch: u64, n: u64, first_line: u64) {
        self.call(What::Publish { lane: "l".into(), run: run.into(), n }, Outcome::Done);
        self.revision += 1;
        let keys = [key(self.revision, 0), key(self.revision, 1)];
        for key in keys.clone() {
            self.saw(Change::Message { key, put: self.put(BUCKET) });
        }
        let source =
            Source { file: "f".into(), pass: 0, lines: [first_line, first_line + 1], bytes: [0, 0], shift_us: 0 };
        let [first, last] = keys;
        let manifest = Manifest {
            v: 1,
            first,
            last,
            messages: 2,
            rows: 2,
            rows_before: first_line,
            lease: BUCKET,
            source,
            traceparent: None,
        };
        self.saw(Change::Manifest { batch: id(run, n), manifest, put: self.put(0) });
        self.cursor(run, epoch, n, first_line + 2);
    }

    fn claim(&mut self, batch: &BatchId, by: &str, lease: i64) {
        self.call(What::Claim { batch: batch.clone(), by: by.into(), lease }, Outcome::Done);
        self.revision += 1;
        self.saw(Change::Claim { batch: batch.clone(), by: by.into(), put: self.put(lease) });
    }

    fn store(&mut self, batch: &BatchId, lines: &[u64], expired: u64, fresh: bool) {
        let what = What::Store { batch: batch.clone(), lines: lines.to_vec(), expired, fresh };
        self.call(what, Outcome::Done);
    }

    fn ack(&mut self, batch: &BatchId, revision: i64) {
        self.call(What::Ack { batch: batch.clone() }, Outcome::Done);
        for index in 0..2 {
            self.saw(Change::MessageGone { key: key(revision, index) });
        }
        self.saw(Change::ManifestGone { batch: batch.clone() });
        self.saw(Change::ClaimGone { batch: batch.clone() });
    }
}

/// Opened twice, two batches; the first collector dies with the first batch, the second one takes it over.
fn good() -> Story {
    let mut story = Story::default();
    let (first, second) = (id("r", 1), id("s", 1));
    story.open("r", 1, 0);
    story.publish("r", 1, 1, 0);
    story.open("s", 2, 2);
    story.publish("s", 2, 1, 2);
    story.claim(&first, "x", 8);
    story.store(&first, &[0, 1], 0, true);
    story.call(What::Revoke { lease: 8 }, Outcome::Done);
    story.saw(Change::ClaimGone { batch: first.clone() });
    story.claim(&first, "y", 9);
    story.store(&first, &[0, 1], 0, false);
    story.ack(&first, 2);
    story.claim(&second, "y", 9);
    story.store(&second, &[2, 3], 0, true);
    story.ack(&second, 4);
    story
}

/// What is found out about the good history with one thing changed.
#[track_caller]
fn found_out(change: impl FnOnce(&mut History), expected: &str) {
    let mut history = good().history;
    change(&mut history);
    let Err(broken) = check(&history) else { panic!("{expected:?} is not found out") };
    assert!(broken.iter().any(|line| line.contains(expected)), "{expected:?} is not among {broken:#?}");
}

fn call_of(history: &mut History, is: impl Fn(&What) -> bool) -> &mut Call {
    history.calls.iter_mut().find(|call| is(&call.what)).unwrap()
}

fn forget(history: &mut History, is: impl Fn(&What) -> bool) {
    let before = history.calls.len();
    history.calls.retain(|call| !is(&call.what));
    assert!(history.calls.len() < before);
}

fn is_store(what: &What) -> bool {
    matches!(what, What::Store { fresh: true, .. })
}

#[test]
fn a_good_history_is_taken() {
    let figures = check(&good().history).unwrap();
    assert_eq!((figures.batches, figures.rows, figures.reopened, figures.taken_over, figures.doubles), (2, 4, 1, 1, 1));
    let mut expired = good().history;
    for call in &mut expired.calls {
        if let What::Store { lines, expired, .. } = &mut call.what {
            lines.pop();
            *expired = 1;
        }
    }
    expired.calls.push(Call { what: What::Revoke { lease: BUCKET }, begin: 1, end: 2, outcome: Outcome::Done });
    assert_eq!(check(&expired).unwrap().expired, 2);
}

#[test]
fn a_batch_that_is_committed_twice_is_found_out() {
    let change_of = |history: &History, is: fn(&Change) -> bool| {
        let at = history.seen.iter().position(|seen| is(&seen.change)).unwrap();
        (at, history.seen[at].clone())
    };
    let manifest = |change: &Change| matches!(change, Change::Manifest { .. });
    found_out(
        |history| {
            let (at, mut seen) = change_of(history, manifest);
            let Change::Manifest { batch, put, .. } = &mut seen.change else { unreachable!() };
            (batch.published_ms, put.revision) = (6, 40);
            history.seen.insert(at, seen);
        },
        "committed twice",
    );
    found_out(
        |history| {
            let (at, _) = change_of(history, manifest);
            let Change::Manifest { put, .. } = &mut history.seen[at].change else { unreachable!() };
            put.version = 2;
        },
        "committed twice",
    );
    found_out(
        |history| {
            let (at, _) = change_of(history, |change| matches!(change, Change::Message { .. }));
            let Change::Message { put, .. } = &mut history.seen[at].change else { unreachable!() };
            put.version = 2;
        },
        "was overwritten",
    );
    found_out(
        |history| {
            let (at, _) = change_of(history, |change| matches!(change, Change::Message { .. }));
            history.seen.remove(at);
        },
        "not what one transaction put",
    );
    found_out(
        |history| {
            let (at, _) = change_of(history, manifest);
            history.seen.remove(at);
        },
        "messages without a manifest",
    );
    found_out(|history| forget(history, |what| matches!(what, What::Publish { .. })), "nobody published");
}

#[test]
fn a_gap_and_a_fenced_producer_that_goes_on_are_found_out() {
    let cursor = |history: &mut History, which: usize, to: (u64, u64, u64)| {
        let mut cursors = history.seen.iter_mut().filter_map(|seen| match &mut seen.change {
            Change::Cursor { epoch, n, rows, .. } => Some((epoch, n, rows)),
            _ => None,
        });
        let (epoch, n, rows) = cursors.nth(which).unwrap();
        (*epoch, *n, *rows) = to;
    };
    found_out(|history| cursor(history, 1, (1, 2, 2)), "became r 1 2 2");
    found_out(|history| cursor(history, 2, (3, 0, 2)), "became s 3 0 2");
    found_out(|history| cursor(history, 2, (2, 0, 0)), "became s 2 0 0");
    found_out(
        |history| {
            let late =
                Call { begin: 90, end: 91, ..call_of(history, |what| matches!(what, What::Publish { .. })).clone() };
            history.calls.push(late);
        },
        "by a fenced producer",
    );
    found_out(
        |history| {
            let what = What::Publish { lane: "l".into(), run: "s".into(), n: 2 };
            history.calls.push(Call { what, begin: 90, end: 91, outcome: Outcome::Done });
        },
        "was said to be published",
    );
}

#[test]
fn a_message_that_left_too_early_is_found_out() {
    found_out(|history| forget(history, is_store), "left before");
    found_out(|history| forget(history, |what| matches!(what, What::Ack { .. })), "left before");
    found_out(
        |history| call_of(history, |what| matches!(what, What::Ack { .. })).outcome = Outcome::Refused,
        "left before",
    );
    // Stored, but after it was acknowledged.
    found_out(
        |history| {
            let ack = call_of(history, |what| matches!(what, What::Ack { .. })).clone();
            for call in history.calls.iter_mut().filter(|call| matches!(&call.what, What::Store { .. })) {
                (call.begin, call.end) = (ack.begin, ack.end);
            }
        },
        "left before its rows were stored",
    );
    found_out(
        |history| {
            let again =
                Call { begin: 95, end: 96, ..call_of(history, |what| matches!(what, What::Ack { .. })).clone() };
            history.calls.push(again);
        },
        "acknowledged twice",
    );
    found_out(
        |history| {
            let What::Store { lines, expired, .. } = &mut call_of(history, is_store).what else { unreachable!() };
            lines.pop();
            *expired = 1;
        },
        "its lease never ended",
    );
    found_out(|history| history.left.push("/m/1".into()), "keys are left");
    found_out(|history| history.surprises.push("rewound".into()), "a surprise: rewound");
}

#[test]
fn a_row_with_two_effects_or_none_is_found_out() {
    found_out(
        |history| {
            for call in &mut history.calls {
                if let What::Store { fresh, .. } = &mut call.what {
                    *fresh = true;
                }
            }
        },
        "in the ledger twice",
    );
    found_out(
        |history| {
            for call in &mut history.calls {
                if let What::Store { lines, .. } = &mut call.what {
                    *lines = vec![0, 1];
                }
            }
        },
        "line 0 came by",
    );
    found_out(
        |history| {
            let What::Store { lines, .. } = &mut call_of(history, is_store).what else { unreachable!() };
            lines.pop();
        },
        "promised 2 rows, 1 + 0 came",
    );
    found_out(|history| forget(history, |what| matches!(what, What::Store { .. })), "in the ledger no more");
    found_out(
        |history| {
            for seen in &mut history.seen {
                if let Change::Manifest { manifest, batch, .. } = &mut seen.change
                    && batch.run == "s"
                {
                    manifest.source.lines = [1, 2];
                }
            }
        },
        "published lines",
    );
}

#[test]
fn two_living_holders_are_found_out() {
    // Overwritten while it existed.
    found_out(
        |history| {
            let at = history.seen.iter().position(|seen| matches!(seen.change, Change::ClaimGone { .. })).unwrap();
            history.seen.remove(at);
        },
        "which was held",
    );
    // The first holder's session did not end.
    found_out(|history| forget(history, |what| matches!(what, What::Revoke { .. })), "who lives and holds it");
    found_out(|history| forget(history, |what| matches!(what, What::Revoke { .. })), "was given to y while x held it");
    // Given back by somebody who does not hold it.
    found_out(
        |history| {
            call_of(history, |what| matches!(what, What::Revoke { .. })).what =
                What::Release { batch: id("r", 1), by: "z".into() };
        },
        "who lives and holds it",
    );
    found_out(|history| forget(history, |what| matches!(what, What::Claim { .. })), "which it never claimed");
}
