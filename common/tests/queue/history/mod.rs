//! What happened to a queue: every call with its begin, end and outcome, and every change of a key as a watch saw it.

pub(crate) mod check;
mod rejected;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use nexus_common::queue::{BatchId, Manifest};

/// A moment: moments only order things, they measure nothing.
pub(crate) type Moment = u64;

/// What was asked of the queue, of the ledger, or of a lease.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum What {
    /// A lane was opened; only told when it was.
    Open {
        lane: String,
        run: String,
        epoch: u64,
    },
    /// Batch `n` of this run.
    Publish {
        lane: String,
        run: String,
        n: u64,
    },
    Claim {
        batch: BatchId,
        by: String,
        lease: i64,
    },
    /// Rows went into the ledger; `fresh` when the ledger did not know the batch.
    Store {
        batch: BatchId,
        lines: Vec<u64>,
        expired: u64,
        fresh: bool,
    },
    Ack {
        batch: BatchId,
    },
    Release {
        batch: BatchId,
        by: String,
    },
    /// A lease ended: a collector's death, or messages that expire.
    Revoke {
        lease: i64,
    },
}

/// What the caller knows afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It happened.
    Done,
    /// It did not happen, and never will.
    Refused,
    /// It may have happened, or happen later.
    Unknown,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Call {
    pub(crate) what: What,
    pub(crate) begin: Moment,
    /// The end of time where the outcome is not known.
    pub(crate) end: Moment,
    pub(crate) outcome: Outcome,
}

/// A change that the watch told; it was made before `at`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seen {
    pub(crate) at: Moment,
    pub(crate) change: Change,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Change {
    Message { key: String, put: Put },
    Manifest { batch: BatchId, manifest: Manifest, put: Put },
    Cursor { lane: String, run: String, epoch: u64, n: u64, rows: u64, put: Put },
    Claim { batch: BatchId, by: String, put: Put },
    MessageGone { key: String },
    ManifestGone { batch: BatchId },
    ClaimGone { batch: BatchId },
    CursorGone { lane: String },
}

/// What etcd says of a put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Put {
    pub(crate) revision: i64,
    /// 1 where the key did not exist before.
    pub(crate) version: i64,
    pub(crate) lease: i64,
}

/// Everything that is known when all is over.
#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    pub(crate) calls: Vec<Call>,
    pub(crate) seen: Vec<Seen>,
    /// Keys that are left: messages, manifests, claims and attempts.
    pub(crate) left: Vec<String>,
    /// Answers that no fault of this kind explains.
    pub(crate) surprises: Vec<String>,
}

/// Writes a history down, from many tasks at once.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    clock: AtomicU64,
    history: Mutex<History>,
}

impl Recorder {
    /// Now: later than every moment that was told before.
    pub(crate) fn now(&self) -> Moment {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    /// A call that began at `begin` is over.
    pub(crate) fn ended(&self, begin: Moment, what: What, outcome: Outcome) {
        let now = self.now();
        let end = if outcome == Outcome::Unknown { Moment::MAX } else { now };
        self.history.lock().unwrap().calls.push(Call { what, begin, end, outcome });
    }

    pub(crate) fn saw(&self, change: Change) {
        let at = self.now();
        self.history.lock().unwrap().seen.push(Seen { at, change });
    }

    pub(crate) fn surprised(&self, what: String) {
        self.history.lock().unwrap().surprises.push(what);
    }

    /// What was written down so far.
    pub(crate) fn history(&self) -> History {
        self.history.lock().unwrap().clone()
    }
}
