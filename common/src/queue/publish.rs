//! PUBLISH: one transaction puts a batch's messages, its manifest and the moved cursor, or nothing.
//!
//! `IF lane==last THEN put messages, put manifest, put lane{n, rows+=k} ELSE get lane`. What an error leaves open is
//! settled by reading the lane (linearizable), never by guessing: [`judge`] is the whole decision.
//!
//! `last` is the cursor's mod revision. A batch that is [sent](Lane::send) while the one before it has no answer yet does not
//! know it, and compares the cursor's value instead, as the batch before will leave it: no two batches leave the same one
//! (run and n), but for one that was refused and another in its place, which is of the same rows. So batches commit in their order, whichever arrives first, and one whose predecessor was not published is not
//! published either. etcd makes them durable together, and takes one apart while it applies another.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::bucket::Room;
use super::lane::PATIENCE;
use super::{BatchId, Body, Cursor, Draft, Lane, Manifest, MessageKey, VERSION};
use crate::etcd::{Answer, Compare, CompareOp, Error, GetOptions, KeyValue, PutOptions, Result, Txn, TxnOp};
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
    /// And so many of those that were sent behind it.
    Committed(usize),
    Again,
    Fenced,
    Rewound,
}

/// A batch that was sent and is published.
#[derive(Debug)]
pub struct Settled {
    /// Its name.
    pub batch: BatchId,
    /// From the first try until etcd had answered.
    pub took: Duration,
}

/// A batch that was sent, and of which it is not known what became of it.
#[derive(Debug)]
pub(super) struct Sent {
    plan: Plan,
    began: Instant,
    /// What its messages live under. `None`: there was none to be had, or it is gone.
    room: Option<Room>,
    first: First,
}

/// The first try, which goes on while others are sent.
#[derive(Debug)]
enum First {
    /// Sent behind a batch that was answered.
    Next(Awaited),
    /// Sent behind a batch that was not: a no may only mean that it arrived first.
    Ahead(Awaited),
    /// It came to nothing.
    Over,
    /// It committed: the cursor said so, asked about a batch before it.
    Known,
}

/// An answer, and when it came.
type Awaited = oneshot::Receiver<(Result<Answer>, Instant)>;

impl Lane {
    /// Publishes a batch and moves the cursor to `position`, exactly once (I1). Waits as long as etcd is away or full;
    /// to give up, drop the future and the lane with it: the batch is then published once or not at all, and the cursor
    /// tells the next [`Lane::open`] which.
    ///
    /// # Errors
    /// See [`Fate`]. Of a batch that was [sent](Lane::send) before, too: then this one is not sent.
    pub async fn publish(&mut self, draft: &Draft, position: &serde_json::Value) -> std::result::Result<BatchId, Fate> {
        while let Some(before) = self.settled().await {
            before?;
        }
        let sent = self.begin(draft, position).await;
        Ok(self.settle(sent).await?.batch)
    }

    /// Sends a batch as [`Lane::publish`] does, and leaves it to [`Lane::settled`] to see to it that it is published.
    pub async fn send(&mut self, draft: &Draft, position: &serde_json::Value) {
        let sent = self.begin(draft, position).await;
        self.sent.push_back(sent);
    }

    /// Waits for the first of the batches that were sent, and tries again until it is published. `None`: there are none. To
    /// give up, drop the future and the lane with it.
    ///
    /// # Errors
    /// See [`Fate`]. After one, those behind it are forgotten. After [`Fate::TooLarge`] none of them is published, and the lane
    /// takes them again; after any other the cursor tells the next [`Lane::open`] what is.
    pub async fn settled(&mut self) -> Option<std::result::Result<Settled, Fate>> {
        let first = self.sent.pop_front()?;
        Some(self.settle(first).await)
    }

    /// Where the cursor will stand behind everything that was sent.
    fn tip(&self) -> &Cursor {
        self.sent.back().map_or(&self.cursor, |sent| &sent.plan.cursor)
    }

    /// Plans a batch behind what was sent, and lets the first try go.
    async fn begin(&mut self, draft: &Draft, position: &serde_json::Value) -> Sent {
        let plan = self.plan(draft, position);
        self.counter += plan.puts.len() as u64;
        let began = Instant::now();
        let Ok(room) = self.bucket.room(&self.client, plan.puts.len()).await else {
            return Sent { plan, began, room: None, first: First::Over };
        };
        let key = self.keys.lane(&self.name);
        let ahead = !self.sent.is_empty();
        let last = match ahead {
            true => Compare::value(key, CompareOp::Equal, self.tip().encode()),
            false => Compare::mod_revision(key, CompareOp::Equal, self.revision),
        };
        let txn = self.transaction(&plan, room, last);
        failpoint::here("publish.begin");
        let (tell, answer) = oneshot::channel();
        while self.trying.try_join_next().is_some() {}
        self.trying.spawn({
            let client = self.client.clone();
            async move { _ = tell.send((carried_out(client.txn(txn).await), Instant::now())) }
        });
        let first = if ahead { First::Ahead(answer) } else { First::Next(answer) };
        Sent { plan, began, room: Some(room), first }
    }

    /// Tries until it is known what became of a batch, all before it being published.
    async fn settle(&mut self, mut sent: Sent) -> std::result::Result<Settled, Fate> {
        let mut retry = Retry::call();
        let fate = loop {
            let (verdict, answered) = self.attempt(&mut sent).await;
            match verdict {
                Ok(Verdict::Committed(_)) => {
                    self.cursor = sent.plan.cursor;
                    return Ok(Settled { batch: sent.plan.batch, took: answered - sent.began });
                }
                Ok(Verdict::Again) => {}
                Ok(Verdict::Fenced) => break Fate::Fenced(self.name.clone()),
                Ok(Verdict::Rewound) => break Fate::Rewound(self.name.clone()),
                Err(Error::LeaseGone) => {
                    if let Some(gone) = sent.room.take() {
                        self.bucket.forget(gone);
                    }
                }
                Err(Error::TooLarge(text)) => break Fate::TooLarge(text),
                Err(error) if error.is_transient() => {
                    self.retries.inc();
                    tracing::warn!(batch = %sent.plan.batch, %error, "waiting to publish");
                    tokio::time::sleep(retry.next_wait()).await;
                }
                Err(error) => break Fate::Refused(error),
            }
        };
        self.sent.clear();
        self.trying.abort_all();
        Err(fate)
    }

    fn plan(&self, draft: &Draft, position: &serde_json::Value) -> Plan {
        let last = self.tip();
        let published_ms = last.next_ms();
        let n = last.n + 1;
        let batch = BatchId { published_ms, lane: self.name.clone(), run: last.run.clone(), n };
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
            rows_before: last.rows,
            lease: 0,
            source: draft.source.clone(),
            traceparent: draft.traceparent.clone(),
        };
        let rows = last.rows + draft.rows;
        let cursor = Cursor { n, rows, last_ms: published_ms, position: position.clone(), ..last.clone() };
        Plan { batch, puts, manifest, cursor }
    }

    /// The batch, with the same keys every time, if the lane is as it was left last.
    fn transaction(&self, plan: &Plan, Room { lease, .. }: Room, last: Compare) -> Txn {
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
        Txn::new().when([last]).and_then(puts).or_else([TxnOp::get(key, None)])
    }

    /// Waits for the first try, or tries once more, and settles what came of it; when the answer was there.
    async fn attempt(&mut self, sent: &mut Sent) -> (Result<Verdict>, Instant) {
        let (answer, answered) = match std::mem::replace(&mut sent.first, First::Over) {
            First::Known => return (Ok(Verdict::Committed(0)), Instant::now()),
            First::Next(first) => awaited(first).await,
            First::Ahead(first) => match awaited(first).await {
                (Ok(answer), answered) if !answer.succeeded => {
                    self.retries.inc();
                    tracing::debug!(batch = %sent.plan.batch, "etcd had it before the one before it, or not that one");
                    return (Ok(Verdict::Again), answered);
                }
                first => first,
            },
            First::Over => (self.once_more(sent).await, Instant::now()),
        };
        (self.weigh(sent, answer).await, answered)
    }

    /// Tries again. All before it are published, so the cursor's revision is known.
    async fn once_more(&mut self, sent: &mut Sent) -> Result<Answer> {
        let room = match sent.room.filter(Room::is_fresh) {
            Some(room) => room,
            None => *sent.room.insert(self.bucket.room(&self.client, sent.plan.puts.len()).await?),
        };
        let last = Compare::mod_revision(self.keys.lane(&self.name), CompareOp::Equal, self.revision);
        let txn = self.transaction(&sent.plan, room, last);
        failpoint::here("publish.begin");
        carried_out(self.client.txn(txn).await)
    }

    /// What an answer means, or that there was none.
    async fn weigh(&mut self, sent: &Sent, answer: Result<Answer>) -> Result<Verdict> {
        match answer {
            Ok(answer) if answer.succeeded => {
                self.revision = answer.revision;
                Ok(Verdict::Committed(0))
            }
            Ok(answer) => self.hear(sent, answer.into_reads().flatten().next().as_ref()),
            // May have been committed: the lane knows.
            Err(error) if error.is_transient() => {
                let found = self.client.read(&self.keys.lane(&self.name), GetOptions::new(), PATIENCE).await?;
                let verdict = self.hear(sent, found.kvs.first())?;
                if verdict == Verdict::Again { Err(error) } else { Ok(verdict) }
            }
            Err(error) => Err(error),
        }
    }

    /// Takes in what the lane says of a batch, and of those behind it.
    fn hear(&mut self, sent: &Sent, stored: Option<&KeyValue>) -> Result<Verdict> {
        let Some(kv) = stored else { return Ok(Verdict::Rewound) };
        let planned = std::iter::once(sent).chain(&self.sent).map(|sent| &sent.plan.cursor);
        let verdict = judge(&self.cursor, self.revision, planned, &Cursor::decode(kv)?, kv.mod_revision());
        if let Verdict::Committed(behind) = verdict {
            self.revision = kv.mod_revision();
            self.sent.iter_mut().take(behind).for_each(|sent| sent.first = First::Known);
        }
        Ok(verdict)
    }
}

/// What a lane has sent, in order.
pub(super) type Sending = VecDeque<Sent>;

#[derive(Debug)]
struct Plan {
    batch: BatchId,
    puts: Vec<(String, Vec<u8>)>,
    manifest: Manifest,
    /// Behind the batch.
    cursor: Cursor,
}

fn carried_out(answer: Result<Answer>) -> Result<Answer> {
    if answer.as_ref().is_ok_and(|answer| answer.succeeded) {
        failpoint::here("publish.committed");
    }
    answer
}

async fn awaited(first: Awaited) -> (Result<Answer>, Instant) {
    first.await.unwrap_or_else(|_| (Err(Error::Unavailable("the try was given up".to_owned())), Instant::now()))
}

/// `ours` is the cursor before the batch in question, `revision` where it was written, `planned` the cursors behind it and
/// behind those that were sent after it.
fn judge<'a>(
    ours: &Cursor,
    revision: i64,
    mut planned: impl Iterator<Item = &'a Cursor>,
    stored: &Cursor,
    stored_revision: i64,
) -> Verdict {
    if stored.run != ours.run {
        // An older epoch under another run is not a successor: etcd lost our opening.
        if stored.epoch < ours.epoch { Verdict::Rewound } else { Verdict::Fenced }
    } else if let Some(behind) = planned.position(|planned| planned == stored) {
        // Not by its number alone: one that was rewound behind our commit has that number, too. To take it for ours would
        // let the next batch write over it, and what was put back would never be read again.
        Verdict::Committed(behind)
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
        let behind = Cursor { rows: 70, position: json!(7), ..cursor("mine", 2, 7) };
        let judge = |stored: &Cursor, revision| judge(&ours, 50, [&planned, &behind].into_iter(), stored, revision);
        assert_eq!(judge(&planned, 51), Verdict::Committed(0));
        assert_eq!(judge(&behind, 53), Verdict::Committed(1), "what came behind it says that it was there");
        assert_eq!(judge(&ours, 50), Verdict::Again);
        assert_eq!(judge(&cursor("other", 3, 0), 51), Verdict::Fenced);
        // Restored from a backup: the same batch number under another revision, an older one, an older epoch.
        assert_eq!(judge(&ours, 49), Verdict::Rewound);
        assert_eq!(judge(&cursor("mine", 2, 4), 40), Verdict::Rewound);
        assert_eq!(judge(&cursor("older", 1, 9), 40), Verdict::Rewound);
        // Committed, and put back by an operator before we looked.
        assert_eq!(judge(&Cursor { rows: 20, position: json!(2), ..planned.clone() }, 52), Verdict::Rewound);
        assert_eq!(judge(&Cursor { rows: 20, position: json!(2), ..behind.clone() }, 54), Verdict::Rewound);
    }
}
