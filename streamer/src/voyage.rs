//! One source into its lane: cut into batches, paced, published, each row once.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use nexus_common::domain::{Reject, Row, Timestamp};
use nexus_common::etcd;
use nexus_common::queue::{Body, Cutter, Draft, Fate, Lane, Settled, Source as Provenance};
use nexus_common::retry::Retry;
use nexus_common::traces::{Span, trace_id};

use crate::berth::{Berth, Held, Manner, berth};
use crate::context::Context;
use crate::feeder::{Chunk, Then, feed};
use crate::fit::Fit;
use crate::position::Position;
use crate::progress::Published;
use crate::source::{Source, Stripe};
use crate::traced::publishing;

/// Batches under way at once: while etcd makes one durable, the next is on its way, and it takes apart the one while it applies
/// the other. There is nothing left of etcd's processor for more (docs/bench/NOTES.md).
const UNDER_WAY: usize = 2;

/// How far a loop may run ahead of the clock before somebody should know, in microseconds.
const RUNAWAY_US: i64 = 60_000_000;
/// How often a stripe looks whether the first one has begun a pass.
const LOOK_FOR_LEADER: Duration = Duration::from_millis(250);

/// What became of a pass.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Outcome {
    /// The source was published to its end; so many rows of it by this pass.
    Done(u64),
    /// Told to stop; the cursor stands behind the last batch.
    Stopped,
    /// etcd lost what it had acknowledged, or does not take batches of this size: again from the cursor, as large as this.
    Again(Fit),
}

/// A batch that was sent, and what is told of it once it is published.
struct UnderWay {
    draft: Draft,
    /// Behind the batch.
    position: serde_json::Value,
    began: SystemTime,
    span: Option<Span>,
}

/// A source's way into its lane, over any number of passes.
pub(crate) struct Voyage {
    context: Context,
    lane: Lane,
    /// Behind the last row that was cut into a batch.
    position: Position,
    under_way: VecDeque<UnderWay>,
    /// Bytes of this pass that were told to lie before us, and still do.
    ahead: u64,
    /// Since when the next batch's rows are read.
    reading: SystemTime,
    manner: Manner,
    _held: Held,
}

impl Voyage {
    /// Opens the source's lane, however long etcd is away, and leaves the source behind the last row published. `None`:
    /// there is nothing in it for us, or we were told to stop.
    pub(crate) async fn begin(context: Context, source: &mut Source, manner: Manner) -> anyhow::Result<Option<Voyage>> {
        let mut retry = Retry::call();
        loop {
            let outcome = tokio::select! {
                outcome = berth(&context, source, manner) => outcome,
                () = context.stop.cancelled() => return Ok(None),
            };
            match outcome {
                Ok(None) => return Ok(None),
                Ok(Some(Berth { lane, position, held })) => {
                    return Ok(Some(Voyage {
                        context,
                        lane,
                        position,
                        under_way: VecDeque::new(),
                        ahead: 0,
                        reading: SystemTime::now(),
                        manner,
                        _held: held,
                    }));
                }
                Err(error) if error.downcast_ref::<etcd::Error>().is_some_and(etcd::Error::is_transient) => {
                    tracing::warn!(%error, file = source.name(), "cannot open the lane yet");
                    tokio::time::sleep(retry.next_wait()).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Publishes what the source still holds. Told to stop, it sees what was sent published first.
    ///
    /// # Errors
    /// Where another streamer took the lane over, etcd refuses for good, or the source cannot be read on.
    pub(crate) async fn pass(&mut self, source: Source) -> anyhow::Result<Outcome> {
        let outcome = self.publish_all(source).await?;
        Ok(match outcome {
            Outcome::Stopped => self.settle(0).await?.unwrap_or(outcome),
            Outcome::Done(_) => outcome,
            Outcome::Again(_) => {
                self.context.progress.forget(std::mem::take(&mut self.ahead));
                outcome
            }
        })
    }

    async fn publish_all(&mut self, source: Source) -> anyhow::Result<Outcome> {
        if !self.keep_step().await? {
            return Ok(Outcome::Stopped);
        }
        if let Some(total) = source.total_bytes() {
            self.ahead = total.saturating_sub(self.position.last.map_or(0, |last| last.end));
            self.context.progress.expect(self.ahead);
        }
        let mut cutter = Cutter::new(self.context.fit.bounds(), source.name(), self.position.pass);
        let mut chunks = feed(source)?;
        self.reading = SystemTime::now();
        let mut published = 0;
        let stop = self.context.stop.clone();
        loop {
            // Nobody waits for rows with a batch under way: it may have to be sent again.
            if chunks.is_empty()
                && let Some(outcome) = self.settle(0).await?
            {
                return Ok(outcome);
            }
            let chunk = tokio::select! {
                chunk = chunks.recv() => chunk,
                () = stop.cancelled() => return Ok(Outcome::Stopped),
            };
            let Some(Chunk { rows, then }) = chunk else { anyhow::bail!("the reader ended without a word") };
            for row in rows {
                cutter.bound(self.context.fit.bounds());
                let drafts = self.cut(&mut cutter, row);
                for (draft, position) in drafts {
                    published += draft.rows;
                    if let Some(outcome) = self.publish(draft, position).await? {
                        return Ok(outcome);
                    }
                }
            }
            if matches!(then, Then::More) {
                continue;
            }
            if let Some(draft) = cutter.flush() {
                published += draft.rows;
                if let Some(outcome) = self.publish(draft, self.position.clone()).await? {
                    return Ok(outcome);
                }
            }
            if let Some(outcome) = self.settle(0).await? {
                return Ok(outcome);
            }
            match then {
                Then::More | Then::Quiet => {}
                Then::End(end) => {
                    self.context.progress.arrived();
                    let (file, rows) = (&self.position.file, self.lane.cursor().rows);
                    match published {
                        0 => tracing::info!(file, rows, "published before, to its end: nothing to do"),
                        _ => tracing::info!(file, ?end, rows, "published to its end"),
                    }
                    let pause = self.context.pace.ended();
                    return Ok(if self.rest(pause).await { Outcome::Done(published) } else { Outcome::Stopped });
                }
                Then::Failed(error) => return Err(error.into()),
            }
        }
    }

    /// The source begins again, with time stamps of now.
    pub(crate) fn next_pass(&mut self) {
        let ahead_us = self.position.clock.latest_us.map_or(0, |latest| latest - Timestamp::now().0);
        if ahead_us > RUNAWAY_US {
            tracing::warn!(
                file = self.position.file,
                seconds = ahead_us / 1_000_000,
                "the loop's time stamps run ahead of the clock: a pass takes less time than it covers; raise STREAM_INTERVAL"
            );
        }
        self.position.pass += 1;
        self.position.clock.next_pass();
    }

    /// The stripes of a loop replay one file: they take the pass and its shift from the first stripe, which has the file's
    /// first row, so that a scrape that lies in several stripes stays one. `false`: told to stop.
    async fn keep_step(&mut self) -> anyhow::Result<bool> {
        let Stripe { index, count } = self.context.stripe;
        if self.manner != Manner::Looping || index == 0 || self.position.clock.shift_us.is_some() {
            return Ok(true);
        }
        let own = format!("-{index}of{count}");
        let leader = format!("{}-0of{count}", self.lane.name().trim_end_matches(own.as_str()));
        loop {
            let stands = Lane::look(&self.context.client, &self.context.keys, &leader).await;
            if let Ok(Some(cursor)) = stands
                && let Ok(position) = serde_json::from_value::<Position>(cursor.position)
                && position.pass >= self.position.pass
                && position.clock.shift_us.is_some()
            {
                self.position.pass = position.pass;
                self.position.clock.shift_us = position.clock.shift_us;
                return Ok(true);
            }
            if !self.rest(LOOK_FOR_LEADER).await {
                return Ok(false);
            }
        }
    }

    /// Takes a row in; returns the batches that are complete, each with the position behind it.
    fn cut(&mut self, cutter: &mut Cutter, mut row: Row) -> Vec<(Draft, Position)> {
        if self.manner == Manner::Looping {
            self.position.clock.replay(&mut row, Timestamp::now());
        }
        let last = (&row).into();
        let mut clock = self.position.clock;
        clock.advance(&row);
        let mut done = Vec::new();
        if let Some(draft) = cutter.push(row) {
            done.push((draft, self.position.clone()));
        }
        self.position.last = Some(last);
        self.position.clock = clock;
        if cutter.is_full()
            && let Some(draft) = cutter.flush()
        {
            done.push((draft, self.position.clone()));
        }
        done
    }

    /// Sends one batch when there is room; waits for those before it where too many are under way, and for all of them before
    /// a pause of the pace. `Some`: the pass is over.
    async fn publish(&mut self, mut draft: Draft, position: Position) -> anyhow::Result<Option<Outcome>> {
        draft.source.shift_us = position.clock.shift_us.unwrap_or(0);
        let (stop, position, ready) = (self.context.stop.clone(), position.to_value(), SystemTime::now());
        if !self.context.gate.is_open()
            && let Some(outcome) = self.settle(0).await?
        {
            return Ok(Some(outcome));
        }
        tokio::select! {
            () = self.context.gate.pass() => (),
            () = stop.cancelled() => return Ok(Some(Outcome::Stopped)),
        }
        let began = SystemTime::now();
        let span = publishing(self.context.traced_share, &mut draft, self.reading, ready);
        let rows = draft.rows;
        if self.context.given_up.run_until_cancelled(self.lane.send(&draft, &position)).await.is_none() {
            return Ok(Some(Outcome::Stopped));
        }
        self.under_way.push_back(UnderWay { draft, position, began, span });
        let pause = self.context.pace.published(rows);
        let may_wait = if pause.is_zero() { UNDER_WAY - 1 } else { 0 };
        if let Some(outcome) = self.settle(may_wait).await? {
            return Ok(Some(outcome));
        }
        let rested = self.rest(pause).await;
        self.reading = SystemTime::now();
        Ok(if rested { None } else { Some(Outcome::Stopped) })
    }

    /// Waits until no more than so many batches are under way. `Some`: the pass is over.
    async fn settle(&mut self, may_wait: usize) -> anyhow::Result<Option<Outcome>> {
        let given_up = self.context.given_up.clone();
        while self.under_way.len() > may_wait {
            let Some(settled) = given_up.run_until_cancelled(self.lane.settled()).await else {
                self.under_way.clear();
                return Ok(Some(Outcome::Stopped));
            };
            let (Some(outcome), Some(mut batch)) = (settled, self.under_way.pop_front()) else {
                anyhow::bail!("lane {} knows nothing of a batch that was sent", self.lane.name());
            };
            match outcome {
                Ok(settled) => {
                    self.tell(&settled, batch);
                    if self.context.fit.took_one() {
                        tracing::info!(bounds = ?self.context.fit.bounds(), "larger batches again");
                    }
                }
                Err(Fate::Rewound(lane)) => {
                    tracing::warn!(lane, "etcd went back in time: publishing again from where its cursor stands");
                    return Ok(Some(Outcome::Again(self.context.fit)));
                }
                Err(Fate::TooLarge(reason)) => match self.context.fit.without(&batch.draft) {
                    Some(fit) => {
                        let bounds = fit.bounds();
                        tracing::warn!(
                            reason,
                            ?bounds,
                            "smaller batches; set MAX_TXN_OPS to the server's --max-txn-ops"
                        );
                        return Ok(Some(Outcome::Again(fit)));
                    }
                    None => {
                        anyhow::ensure!(bury(&mut batch.draft, &reason), "etcd refuses even a dead letter: {reason}");
                        self.under_way.push_front(batch);
                        // What was sent behind it went with it.
                        let again = async {
                            for UnderWay { draft, position, .. } in &self.under_way {
                                self.lane.send(draft, position).await;
                            }
                        };
                        if given_up.run_until_cancelled(again).await.is_none() {
                            self.under_way.clear();
                            return Ok(Some(Outcome::Stopped));
                        }
                    }
                },
                Err(fate) => return Err(fate.into()),
            }
        }
        Ok(None)
    }

    /// A batch is published.
    fn tell(&mut self, Settled { batch, took }: &Settled, UnderWay { draft, began, span, .. }: UnderWay) {
        let Provenance { file, lines: [first_line, last_line], .. } = &draft.source;
        let trace_id = trace_id(draft.traceparent.as_deref());
        tracing::debug!(%batch, trace_id, rows = draft.rows, file, first_line, last_line, "published");
        if let Some(span) = span {
            batch.on(span).end_at(began + *took);
        }
        let bytes = draft.source.bytes[1] - draft.source.bytes[0];
        self.ahead = self.ahead.saturating_sub(bytes);
        let rejected = draft.messages.iter().filter(|body| matches!(body, Body::Dead { .. })).count();
        self.context.progress.published(Published {
            rows: draft.rows,
            rejected: rejected as u64,
            messages: draft.messages.len() as u64,
            bytes,
            took: *took,
        });
    }

    /// `false`: told to stop meanwhile.
    async fn rest(&self, pause: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(pause) => true,
            () = self.context.stop.cancelled() => false,
        }
    }
}

/// A single row that etcd does not take becomes a dead letter; one that is too large itself keeps half of the row's bytes, and
/// says how many there were. `false` when there is nothing to leave out.
fn bury(draft: &mut Draft, reason: &str) -> bool {
    match draft.messages.first_mut() {
        Some(body @ Body::Rows { .. }) => {
            let Body::Rows { rows, .. } = &*body else { return false };
            let Some(row) = rows.first() else { return false };
            let reject = Reject::new(format!("too large for etcd: {reason}"), &body.encode());
            *body = Body::Dead { line: row.line, byte: row.byte, reject };
            true
        }
        Some(Body::Dead { reject, .. }) if !reject.raw.is_empty() => {
            reject.raw.truncate(reject.raw.len() / 2);
            true
        }
        _ => false,
    }
}
