//! Where the feed's frames are kept for everybody, and clients wake up for them.
//!
//! No client has a queue here: it holds a position and takes frames from the ring when it can. A slow client costs
//! nothing and delays nobody; what it was too slow for, it is told.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use nexus_common::observe::{Counted, Registry, looked_at};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::counts::Counts;
use super::parts::Parts;
use super::ring::{Backlog, Ring, Why};
use super::{Delivery, Filters, Frame, Options, Position, Store, Subscription};
use crate::config::Bounds;
use crate::memory::Memory;

/// A cheap handle on the live feed.
#[derive(Debug, Clone)]
pub struct Hub(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    memory: Memory,
    /// Never held across an await: what is done under it takes microseconds.
    state: RwLock<State>,
    parts: Parts,
    /// Told after every change of the state.
    wake: watch::Sender<()>,
    seats: Arc<Semaphore>,
    most: u32,
    counts: Counts,
}

#[derive(Debug)]
struct State {
    /// `None` until etcd has answered for the first time.
    store: Option<Store>,
    ring: Ring,
}

/// A client's place among those that are served.
#[derive(Debug)]
pub(super) struct Seat(#[allow(dead_code)] OwnedSemaphorePermit);

/// As many clients as this are served already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0} live clients are connected, the most this gateway takes (MAX_LIVE_CLIENTS); try again or use another gateway"
)]
pub struct Full(pub u32);

/// Where the feed stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) store: Store,
    /// The last revision that is known.
    pub(super) newest: i64,
    /// Everything after it is held.
    pub(super) floor: i64,
    pub(super) why: Why,
    /// Frames so far.
    pub(super) count: u64,
}

impl Hub {
    /// Without frames, and without a store yet.
    pub fn new(bounds: &Bounds, memory: Memory) -> Self {
        let most = usize::try_from(bounds.ring_bytes).unwrap_or(usize::MAX);
        let state = RwLock::new(State { store: None, ring: Ring::new(bounds.ring_time, most) });
        let seats = Arc::new(Semaphore::new(bounds.live_clients as usize));
        let (parts, wake) = (Parts::default(), watch::Sender::new(()));
        Hub(Arc::new(Inner { memory, state, parts, wake, seats, most: bounds.live_clients, counts: Counts::default() }))
    }

    /// Has Prometheus told of the feed and its clients.
    pub fn register(&self, registry: &mut Registry) {
        self.0.counts.register(registry);
        let hub = self.clone();
        registry.register_collector(looked_at(move |scrape| {
            let (frames, bytes) = hub.look(|state| state.ring.held());
            let help = "Frames kept for clients that come back or are behind.";
            scrape.gauge("nexus_gateway_ring_frames", help, frames)?;
            scrape.gauge("nexus_gateway_ring_bytes", "Memory that the frames kept take.", bytes)?;
            match hub.head() {
                Some(head) => {
                    let help = "The last revision of etcd that the feed has told of.";
                    scrape.gauge("nexus_gateway_feed_revision", help, head.newest)
                }
                None => Ok(()),
            }
        }));
    }

    /// A client that is served over this protocol.
    pub(super) fn count(&self, protocol: &'static str) -> Counted {
        self.0.counts.client(protocol)
    }

    /// A client has been sent something, or it was handed to what sends it.
    pub(super) fn sent(&self, delivery: &Delivery, protocol: &'static str) {
        if let Delivery::Frame(frame) = delivery
            && let Some(traced) = &frame.traced
        {
            traced.delivered(frame, self, protocol);
        }
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.0.counts
    }

    /// A new client.
    ///
    /// # Errors
    /// [`Full`], where there are as many as may be.
    pub fn subscribe(&self, options: Options) -> Result<Subscription, Full> {
        let seat = Arc::clone(&self.0.seats).try_acquire_owned().map_err(|_| Full(self.0.most))?;
        Ok(Subscription::new(self.clone(), Seat(seat), options))
    }

    /// How many clients there are.
    pub fn clients(&self) -> usize {
        (self.0.most as usize).saturating_sub(self.0.seats.available_permits())
    }

    /// From here on frames follow this revision of this store; what came before is gone.
    pub(super) fn restart(&self, store: Store, revision: i64) {
        self.change(|state| {
            let why = if state.store.is_none() { Why::Began } else { Why::Missed };
            state.store = Some(store);
            state.ring.restart(revision, why);
        });
    }

    /// Takes in a frame; a repeat is dropped.
    pub(super) fn push(&self, frame: Frame) {
        if self.0.wake.receiver_count() > 0 {
            // Before clients wake up, so that none of them waits for another's encoding.
            frame.text();
        }
        self.change(|state| _ = state.ring.push(Arc::new(frame), Instant::now()));
    }

    /// Lets go of frames whose time is over, also when none come.
    pub(super) fn expire(&self) {
        self.0.state.write().unwrap_or_else(PoisonError::into_inner).ring.expire(Instant::now());
    }

    /// Where the feed stands; `None` until etcd has answered for the first time.
    pub(super) fn head(&self) -> Option<Head> {
        self.look(|state| {
            let (floor, why) = state.ring.floor();
            let (newest, count) = (state.ring.newest(), state.ring.count());
            Some(Head { store: state.store?, newest, floor, why, count })
        })
    }

    /// What waits behind a position. `None`: it is of another store, or not all of it is held.
    pub(super) fn backlog(&self, at: Position) -> Option<Backlog> {
        self.look(|state| state.ring.backlog(at.revision).filter(|_| state.store == Some(at.store)))
    }

    /// What waits behind a position, and the first of it; `None` as in [`Hub::backlog`].
    pub(super) fn ahead(&self, at: Position) -> Option<(Backlog, Option<Arc<Frame>>)> {
        self.look(|state| {
            let backlog = state.ring.backlog(at.revision).filter(|_| state.store == Some(at.store))?;
            let first = if backlog.frames > 0 { state.ring.after(at.revision).next().cloned() } else { None };
            Some((backlog, first))
        })
    }

    /// The next frames behind a position that are wanted, at most so many; `None` as in [`Hub::backlog`].
    pub(super) fn after(&self, at: Position, most: usize, wanted: impl Fn(&Frame) -> bool) -> Option<Vec<Arc<Frame>>> {
        self.look(|state| {
            if state.store != Some(at.store) || at.revision < state.ring.floor().0 {
                return None;
            }
            Some(state.ring.after(at.revision).filter(|frame| wanted(frame)).take(most).cloned().collect())
        })
    }

    /// What is wanted of a frame that has anything in it.
    pub(super) fn part(&self, frame: &Arc<Frame>, filters: &Filters) -> Option<Arc<Frame>> {
        self.0.parts.of(frame, filters)
    }

    /// Tells of every change from now on.
    pub(super) fn watch(&self) -> watch::Receiver<()> {
        self.0.wake.subscribe()
    }

    pub(super) fn memory(&self) -> &Memory {
        &self.0.memory
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.state.write().unwrap_or_else(PoisonError::into_inner));
        self.0.wake.send_replace(());
    }

    fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.0.state.read().unwrap_or_else(PoisonError::into_inner))
    }
}
