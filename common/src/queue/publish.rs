//! PUBLISH: one transaction puts a batch's messages, its manifest and the moved cursor, or nothing.
//!
//! `IF mod(lane)==last THEN put messages, put manifest, put lane{n, rows+=k} ELSE get lane`. What an error leaves open is
//! settled by reading the lane (linearizable), never by guessing: [`judge`] is the whole decision.

use super::lane::PATIENCE;
use super::{BatchId, Body, Cursor, Draft, Lane, Manifest, MessageKey, VERSION};
use crate::etcd::{Compare, CompareOp, Error, GetOptions, KeyValue, PutOptions, Result, Txn, TxnOp};
use crate::failpoint;
use crate::retry::Retry;

/// Why a batch was not published.
#[derive(Debug, thiserror::Error)]
pub enum Fate {
    /// Another producer opened the lane: stop, it goes on from the last published batch.
    #[error("another producer has taken over lane {0}")]
    Fenced(String),
    /// etcd holds an older cursor than it once acknowledged, or none: it was restored or wiped, or the lane was
    /// [rewound](Lane::rewind). Open the lane again and go on from where its cursor stands.
    #[error("lane {0}: etcd went back in time")]
    Rewound(String),
    /// The batch is over the server's limits. Split it; trying again as it is never works.
    #[error("the batch is too large for etcd: {0}")]
    TooLarge(String),
    /// etcd refuses, and trying again does not help.
    #[error(transparent)]
    Refused(Error),
}

/// What a cursor that was read back says of a publish whose outcome is open.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Committed,
    Again,
    Fenced,
    Rewound,
}

impl Lane {
    /// Publishes a batch and moves the cursor to `position`, exactly once (I1). Waits as long as etcd is away or full;
    /// to give up, drop the future and the lane with it: the batch is then published once or not at all, and the cursor
    /// tells the next [`Lane::open`] which.
    ///
    /// # Errors
    /// See [`Fate`].
    pub async fn publish(&mut self, draft: &Draft, position: &serde_json::Value) -> std::result::Result<BatchId, Fate> {
        let plan = self.plan(draft, position);
        let mut retry = Retry::call();
        loop {
            match self.attempt(&plan).await {
                Ok(Verdict::Committed) => {
                    self.bucket.used(plan.puts.len());
                    self.counter += plan.puts.len() as u64;
                    self.cursor = plan.cursor;
                    return Ok(plan.batch);
                }
                Ok(Verdict::Again) => {}
                Ok(Verdict::Fenced) => return Err(Fate::Fenced(self.name.clone())),
                Ok(Verdict::Rewound) => return Err(Fate::Rewound(self.name.clone())),
                Err(Error::LeaseGone) => self.bucket.forget(),
                Err(Error::TooLarge(text)) => return Err(Fate::TooLarge(text)),
                Err(error) if error.is_transient() => {
                    self.retries.inc();
                    tracing::warn!(batch = %plan.batch, %error, "waiting to publish");
                    tokio::time::sleep(retry.next_wait()).await;
                }
                Err(error) => return Err(Fate::Refused(error)),
            }
        }
    }

    fn plan(&self, draft: &Draft, position: &serde_json::Value) -> Plan {
        let published_ms = self.cursor.next_ms();
        let n = self.cursor.n + 1;
        let batch = BatchId { published_ms, lane: self.name.clone(), run: self.cursor.run.clone(), n };
        let puts: Vec<_> = draft
            .messages
            .iter()
            .zip(self.counter..)
            .map(|(body, counter)| {
                (self.keys.message(&key_of(body, published_ms, self.opened, counter)), body.encode())
            })
            .collect();
        let ordered = || puts.iter().map(|(key, _)| key);
        let manifest = Manifest {
            v: VERSION,
            first: ordered().min().cloned().unwrap_or_default(),
            last: ordered().max().cloned().unwrap_or_default(),
            messages: puts.len(),
            rows: draft.rows,
            rows_before: self.cursor.rows,
            lease: 0,
            source: draft.source.clone(),
            traceparent: draft.traceparent.clone(),
        };
        let rows = self.cursor.rows + draft.rows;
        let cursor = Cursor { n, rows, last_ms: published_ms, position: position.clone(), ..self.cursor.clone() };
        Plan { batch, puts, manifest, cursor }
    }

    /// Tries once, with the same keys every time, and settles what came of it.
    async fn attempt(&mut self, plan: &Plan) -> Result<Verdict> {
        let lease = self.bucket.lease(&self.client, plan.puts.len()).await?;
        let key = self.keys.lane(&self.name);
        let manifest = Manifest { lease, ..plan.manifest.clone() };
        let under_lease = PutOptions::new().with_lease(lease);
        let mut puts: Vec<_> = plan
            .puts
            .iter()
            .map(|(key, value)| TxnOp::put(key.as_str(), value.as_slice(), Some(under_lease.clone())))
            .collect();
        puts.push(TxnOp::put(self.keys.manifest(&plan.batch), manifest.encode(), None));
        puts.push(TxnOp::put(key.as_str(), plan.cursor.encode(), None));
        let txn = Txn::new()
            .when([Compare::mod_revision(key.as_str(), CompareOp::Equal, self.revision)])
            .and_then(puts)
            .or_else([TxnOp::get(key.as_str(), None)]);
        failpoint::here("publish.begin");
        let stored = match self.client.txn(txn).await {
            Ok(answer) if answer.succeeded => {
                failpoint::here("publish.committed");
                self.revision = answer.revision;
                return Ok(Verdict::Committed);
            }
            Ok(answer) => answer.into_reads().flatten().next(),
            // May have been committed: the lane knows.
            Err(error) if error.is_transient() => {
                let found = self.client.read(&key, GetOptions::new(), PATIENCE).await?;
                let verdict = self.settle(plan, found.kvs.first())?;
                return if verdict == Verdict::Again { Err(error) } else { Ok(verdict) };
            }
            Err(error) => return Err(error),
        };
        self.settle(plan, stored.as_ref())
    }

    fn settle(&mut self, plan: &Plan, stored: Option<&KeyValue>) -> Result<Verdict> {
        let Some(kv) = stored else { return Ok(Verdict::Rewound) };
        let verdict = judge(&self.cursor, self.revision, &plan.cursor, &Cursor::decode(kv)?, kv.mod_revision());
        if verdict == Verdict::Committed {
            self.revision = kv.mod_revision();
        }
        Ok(verdict)
    }
}

struct Plan {
    batch: BatchId,
    puts: Vec<(String, Vec<u8>)>,
    manifest: Manifest,
    cursor: Cursor,
}

/// `ours` is the cursor before the batch that is in flight, `revision` where it was written, `planned` the cursor behind it.
fn judge(ours: &Cursor, revision: i64, planned: &Cursor, stored: &Cursor, stored_revision: i64) -> Verdict {
    if stored.run != ours.run {
        // An older epoch under another run is not a successor: etcd lost our opening.
        if stored.epoch < ours.epoch { Verdict::Rewound } else { Verdict::Fenced }
    } else if stored == planned {
        // Not by its number alone: one that was rewound behind our commit has that number, too. To take it for ours would
        // let the next batch write over it, and what was put back would never be read again.
        Verdict::Committed
    } else if stored.n == ours.n && stored_revision == revision {
        Verdict::Again
    } else {
        Verdict::Rewound
    }
}

fn key_of(body: &Body, published_ms: i64, opened: i64, counter: u64) -> MessageKey {
    let (host, gpu) = match body {
        Body::Rows { described, .. } => (described.gpu.host.clone(), described.gpu.gpu.clone()),
        Body::Dead { .. } => (String::new(), String::new()),
    };
    MessageKey { published_ms, host, gpu, sequence: sequence(opened, counter) }
}

/// Unique in the cluster: no two lanes are opened at one revision.
fn sequence(opened: i64, counter: u64) -> u64 {
    const NINE_DIGITS: u64 = 1_000_000_000;
    opened.unsigned_abs().wrapping_mul(NINE_DIGITS).wrapping_add(counter % NINE_DIGITS)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cursor(run: &str, epoch: u64, n: u64) -> Cursor {
        Cursor {
            v: 1,
            run: run.into(),
            epoch,
            n,
            rows: 0,
            opened_rows: None,
            last_ms: 0,
            position: serde_json::Value::Null,
        }
    }

    #[test]
    fn an_open_outcome_is_settled_by_the_cursor_alone() {
        let ours = Cursor { rows: 50, ..cursor("mine", 2, 5) };
        let planned = Cursor { rows: 60, position: json!(6), ..cursor("mine", 2, 6) };
        let judge = |stored: &Cursor, revision| judge(&ours, 50, &planned, stored, revision);
        assert_eq!(judge(&planned, 51), Verdict::Committed);
        assert_eq!(judge(&ours, 50), Verdict::Again);
        assert_eq!(judge(&cursor("other", 3, 0), 51), Verdict::Fenced);
        // Restored from a backup: the same batch number under another revision, an older one, an older epoch.
        assert_eq!(judge(&ours, 49), Verdict::Rewound);
        assert_eq!(judge(&cursor("mine", 2, 4), 40), Verdict::Rewound);
        assert_eq!(judge(&cursor("older", 1, 9), 40), Verdict::Rewound);
        // Committed, and put back by an operator before we looked.
        assert_eq!(judge(&Cursor { rows: 20, position: json!(2), ..planned.clone() }, 52), Verdict::Rewound);
    }
}
