//! One client of the feed: where it stands, what it wants, and what it gets next.
//!
//! [`Subscription::next`] decides without waiting what comes, and waits only where there is nothing: it may be dropped
//! and called again at any time, and nothing is lost.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use nexus_common::observe::Counted;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::hub::{Head, Seat};
use super::merge::Merge;
use super::parts::passed;
use super::ring::Why;
use super::showing::Showing;
use super::{Delivery, Filter, Filters, Frame, Gap, Hub, Mode, Options, Position};

/// With more than this waiting, frames are merged: a client that keeps up never has as much.
const BEHIND_FRAMES: u64 = 32;
/// The same in bytes of memory, of which the text is about a third.
const BEHIND_BYTES: u64 = 4 << 20;
/// With more than this waiting, the newest values out of memory are less work than merging.
const FAR_FRAMES: u64 = 256;
const FAR_BYTES: u64 = 16 << 20;
/// The most frames taken at once.
const TAKE: usize = 64;
/// The most frames with events that a client gets which is far behind.
const MOST_EVENTS: usize = 1_000;
/// How long a client's position may stay as it is while the feed goes on.
const POSITION_EVERY: Duration = Duration::from_secs(10);

/// A client of the feed. Its place among the clients is free again when it is dropped.
#[derive(Debug)]
pub struct Subscription {
    hub: Hub,
    wake: watch::Receiver<()>,
    _seat: Seat,
    protocol: &'static str,
    _counted: Option<Counted>,
    filters: Filters,
    mode: Mode,
    interval: Duration,
    /// Where the client says it was, until the feed's store is known.
    since: Option<Position>,
    at: Option<At>,
    showing: Option<Showing>,
    merge: Merge,
    /// When the next merged values may go out.
    due: Instant,
    ready: VecDeque<Delivery>,
    /// The last position delivered, and when.
    told: Option<Position>,
    told_at: Instant,
}

/// Behind which frame the client stands.
#[derive(Debug, Clone, Copy)]
struct At {
    position: Position,
    /// Frames there were by then.
    count: u64,
}

/// What to do next.
enum Step {
    Deliver(Delivery),
    /// Something was done; look again.
    Again,
    /// Nothing, until the feed goes on or this moment comes.
    Wait(Option<Instant>),
}

impl Subscription {
    pub(super) fn new(hub: Hub, seat: Seat, options: Options) -> Self {
        let Options { filters, mode, interval, since } = options;
        let (wake, now) = (hub.watch(), Instant::now());
        Subscription {
            hub,
            wake,
            _seat: seat,
            protocol: "none",
            _counted: None,
            filters,
            mode,
            interval,
            since,
            at: None,
            showing: None,
            merge: Merge::default(),
            due: now,
            ready: VecDeque::new(),
            told: None,
            told_at: now,
        }
    }

    /// The same, counted among the clients of this protocol: `websocket`, `graphql` or `events`.
    #[must_use]
    pub fn over(self, protocol: &'static str) -> Self {
        Subscription { protocol, _counted: Some(self.hub.count(protocol)), ..self }
    }

    /// The client has it, or what sends it does.
    pub fn sent(&self, delivery: &Delivery) {
        self.hub.sent(delivery, self.protocol);
    }

    /// What comes next, whenever it comes.
    pub async fn next(&mut self) -> Delivery {
        loop {
            // First this, then the look: what comes in between wakes us.
            self.wake.borrow_and_update();
            match self.step() {
                Step::Deliver(delivery) => {
                    self.hub.counts().delivered(&delivery);
                    (self.told, self.told_at) = (Some(delivery.position()), Instant::now());
                    return delivery;
                }
                Step::Again => tokio::task::coop::consume_budget().await,
                Step::Wait(until) => {
                    let due = async {
                        match until {
                            Some(until) => sleep_until(until).await,
                            None => std::future::pending().await,
                        }
                    };
                    // The hub is ours too: it does not go away.
                    tokio::select! { _ = self.wake.changed() => {}, () = due => {} }
                }
            }
        }
    }

    /// All that comes, as a stream that does not end.
    pub fn into_stream(self) -> impl Stream<Item = Delivery> + Send {
        futures_util::stream::unfold(self, async |mut this| {
            let delivery = this.next().await;
            this.sent(&delivery);
            Some((delivery, this))
        })
    }

    /// What is wanted now.
    pub fn filters(&self) -> &Filters {
        &self.filters
    }

    /// The manner now.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The interval now.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// Wants this too, under this name; in [`Mode::Latest`] its newest values come at once.
    pub fn add(&mut self, id: &str, filter: Filter) {
        let added = Filters::of(filter.clone());
        self.filters.set(id, filter);
        self.narrow();
        if self.mode == Mode::Latest && self.at.is_some() {
            let more_to_show = self.showing.is_some();
            self.showing = Some(Showing::new((!more_to_show).then_some(added), 0));
        }
    }

    /// No longer wants what it asked for under this name; `false` where there is no such.
    pub fn remove(&mut self, id: &str) -> bool {
        let removed = self.filters.remove(id);
        self.narrow();
        removed
    }

    /// Wants nothing for now.
    pub fn clear(&mut self) {
        self.filters = Filters::none();
        self.narrow();
    }

    /// Changes the manner.
    pub fn set_manner(&mut self, mode: Mode, interval: Duration) {
        (self.mode, self.interval) = (mode, interval);
        if mode == Mode::All {
            self.showing = None;
        }
    }

    /// Nothing goes out that is no longer wanted.
    fn narrow(&mut self) {
        self.merge.keep(&self.filters);
        let ready = std::mem::take(&mut self.ready);
        self.ready = ready
            .into_iter()
            .filter_map(|delivery| match delivery {
                Delivery::Frame(frame) => passed(&self.filters, &frame).map(Delivery::Frame),
                other => Some(other),
            })
            .collect();
    }

    fn step(&mut self) -> Step {
        if let Some(delivery) = self.ready.pop_front() {
            return Step::Deliver(delivery);
        }
        let Some(at) = self.at else { return self.anchor() };
        if let Some(mut showing) = self.showing.take() {
            let Some(piece) =
                showing.next(&|wanted, show| self.hub.memory().newest(wanted, show), &self.filters, at.position)
            else {
                return match self.told {
                    // Where there was nothing to show, the client learns at least where it stands.
                    None => Step::Deliver(Delivery::Position(at.position)),
                    Some(_) => Step::Again,
                };
            };
            self.showing = Some(showing);
            return Step::Deliver(Delivery::Frame(Arc::new(piece)));
        }
        let Some((backlog, first)) = self.hub.ahead(at.position) else { return self.lost(at) };
        if self.mode == Mode::Latest && !self.interval.is_zero() {
            return self.gather(at, backlog.frames);
        }
        // What was gathered before the interval was taken back, or before the mode was another.
        if !self.merge.is_empty() {
            return self.show_merged(at, false);
        }
        let Some(first) = first else { return self.idle(at) };
        let behind = backlog.frames > 1 && (backlog.frames > BEHIND_FRAMES || backlog.bytes > BEHIND_BYTES);
        match self.mode {
            Mode::Latest if backlog.frames > FAR_FRAMES || backlog.bytes > FAR_BYTES && behind => self.catch_up(at),
            Mode::Latest if behind => match self.take(at, FAR_FRAMES as usize) {
                Some(at) => self.show_merged(at, true),
                None => Step::Again,
            },
            Mode::Latest | Mode::All => self.pass(at, &first),
        }
    }

    /// Finds the place to begin at, once etcd has answered.
    fn anchor(&mut self) -> Step {
        let Some(head) = self.hub.head() else { return Step::Wait(None) };
        let Some(since) = self.since else {
            let position = Position { store: head.store, revision: head.newest };
            self.at = Some(At { position, count: head.count });
            if self.mode == Mode::All {
                return Step::Deliver(Delivery::Position(position));
            }
            self.showing = Some(Showing::new(None, 0));
            return Step::Again;
        };
        match self.hub.backlog(since) {
            Some(backlog) => {
                self.at = Some(At { position: since, count: head.count.saturating_sub(backlog.frames) });
                (self.told, self.since) = (Some(since), None);
                Step::Again
            }
            None => self.gap(since, head),
        }
    }

    /// Some of what comes next is not held any more.
    fn lost(&mut self, at: At) -> Step {
        let Some(head) = self.hub.head() else { return Step::Wait(None) };
        if self.mode == Mode::Latest && at.position.store == head.store && head.why == Why::Dropped {
            return self.catch_up(at);
        }
        // What was gathered up to here is still true.
        if !self.merge.is_empty() {
            return self.show_merged(at, false);
        }
        self.gap(at.position, head)
    }

    /// Tells that what follows a position is missing, and goes on with what there is.
    fn gap(&mut self, after: Position, head: Head) -> Step {
        let reason = if after.store != head.store {
            "this is another store: etcd was rebuilt or restored; the API has what was stored"
        } else {
            match head.why {
                Why::Began => "this gateway was not there yet; the API has what was stored",
                Why::Dropped => {
                    "older than what is kept (LIVE_RING_TIME, LIVE_RING_BYTES); the API has what was stored"
                }
                Why::Missed => "etcd's history went before this gateway could read it; the API has what was stored",
            }
        };
        let floor = Position { store: head.store, revision: head.floor };
        let Some(first) = self.hub.after(floor, 1, |_| true) else { return Step::Again };
        let before = first.first().map(|frame| frame.position);
        let (position, count) = match self.mode {
            Mode::All => {
                let held = self.hub.backlog(floor).map_or(0, |backlog| backlog.frames);
                (floor, head.count.saturating_sub(held))
            }
            Mode::Latest => (Position { revision: head.newest, ..floor }, head.count),
        };
        (self.at, self.since) = (Some(At { position, count }), None);
        if self.mode == Mode::Latest {
            self.showing = Some(Showing::new(None, 0));
        }
        Step::Deliver(Delivery::Gap(Gap { after, before, position, reason: reason.into() }))
    }

    /// Too far behind: the newest values from memory, and every event that is still held.
    fn catch_up(&mut self, at: At) -> Step {
        let Some(head) = self.hub.head() else { return Step::Wait(None) };
        let floor = Position { store: head.store, revision: head.floor.max(at.position.revision) };
        let Some(told) = self.hub.after(floor, MOST_EVENTS, |frame| !frame.events().is_empty()) else {
            return Step::Again;
        };
        for frame in told.iter().filter(|frame| frame.position.revision <= head.newest) {
            if let Some(frame) = passed(&self.filters, frame) {
                self.ready.push_back(Delivery::Frame(frame));
            }
        }
        self.merge = Merge::default();
        self.at = Some(At { position: Position { revision: head.newest, ..floor }, count: head.count });
        self.showing = Some(Showing::new(None, head.count.saturating_sub(at.count)));
        Step::Again
    }

    /// The next frame as it is.
    fn pass(&mut self, at: At, frame: &Arc<Frame>) -> Step {
        self.loss(at, frame);
        self.at = Some(At { position: frame.position, count: at.count + 1 });
        let Some(frame) = self.hub.part(frame, &self.filters).map(Delivery::Frame) else { return Step::Again };
        if self.ready.is_empty() {
            return Step::Deliver(frame);
        }
        self.ready.push_back(frame);
        Step::Again
    }

    /// Merges the next frames; `None` where they are gone. Returns where the client stands then.
    fn take(&mut self, at: At, most: usize) -> Option<At> {
        let frames = self.hub.after(at.position, most, |_| true)?;
        let mut at = at;
        for frame in frames {
            self.loss(at, &frame);
            self.merge.take(&frame, &self.filters);
            at = At { position: frame.position, count: at.count + 1 };
        }
        self.at = Some(at);
        Some(at)
    }

    /// With an interval: merges what comes, and shows it when its time has come.
    fn gather(&mut self, at: At, waiting: u64) -> Step {
        if waiting > 0 {
            self.take(at, TAKE);
            return Step::Again;
        }
        if self.merge.is_empty() {
            return self.idle(at);
        }
        let now = Instant::now();
        if now < self.due {
            return Step::Wait(Some(self.due));
        }
        self.due = now + self.interval;
        self.show_merged(at, false)
    }

    fn show_merged(&mut self, at: At, counted: bool) -> Step {
        let merge = std::mem::take(&mut self.merge);
        let frames = merge.frames(self.told.unwrap_or(at.position), at.position, counted);
        self.ready.extend(frames.into_iter().map(|frame| Delivery::Frame(Arc::new(frame))));
        Step::Again
    }

    /// Nothing waits: from time to time the client is told how far it has come.
    fn idle(&self, at: At) -> Step {
        if self.told == Some(at.position) {
            return Step::Wait(None);
        }
        let due = self.told_at + POSITION_EVERY;
        if Instant::now() < due { Step::Wait(Some(due)) } else { Step::Deliver(Delivery::Position(at.position)) }
    }

    /// Something before this frame was never told to anybody.
    fn loss(&mut self, at: At, frame: &Frame) {
        let Some(reason) = frame.loss.as_ref().filter(|_| self.filters.concern(&frame.cluster_id)) else { return };
        let (after, before) = (at.position, Some(frame.position));
        // What was merged so far may not have been shown yet.
        let position = self.told.filter(|_| !self.merge.is_empty()).unwrap_or(after);
        self.ready.push_back(Delivery::Gap(Gap { after, before, position, reason: Arc::clone(reason) }));
    }
}
