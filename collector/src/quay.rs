//! Where decoded batches wait for their flight into PostgreSQL: one leaves at a time, and takes along what is there.
//!
//! After a flight that took long the next one waits a little for more batches: what one statement does for a GPU costs the
//! same for one row and for ten. A flight that took no time is followed at once, and so is any where half a flight waits.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::work::Work;

/// A pause after a flight is so many times as long as it took.
const PAUSE: u32 = 3;
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(300);

/// Decoded batches, and whose turn it is to store.
#[derive(Debug)]
pub(crate) struct Quay {
    waiting: Mutex<VecDeque<Work>>,
    grown: Notify,
    /// Who leaves next: one waits, the others go on bringing batches.
    next: tokio::sync::Mutex<()>,
    /// Who stores, and when the next one should leave.
    storing: tokio::sync::Mutex<Instant>,
    /// The most rows of one flight; a larger batch flies alone.
    flight_rows: u64,
}

/// The right to store; given back when dropped.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    leaves: tokio::sync::MutexGuard<'a, Instant>,
    began: Instant,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let pause = (self.began.elapsed() * PAUSE).min(LONGEST_PAUSE);
        *self.leaves = Instant::now() + pause;
    }
}

impl Quay {
    pub(crate) fn new(flight_rows: u64) -> Self {
        let storing = tokio::sync::Mutex::new(Instant::now());
        Quay {
            waiting: Mutex::default(),
            grown: Notify::new(),
            next: tokio::sync::Mutex::default(),
            storing,
            flight_rows,
        }
    }

    pub(crate) fn put(&self, works: Vec<Work>) {
        self.waiting().extend(works);
        self.grown.notify_one();
    }

    fn rows(&self) -> u64 {
        self.waiting().iter().map(|work| work.claimed.manifest.rows.max(1)).sum()
    }

    /// Waits until nobody else stores.
    pub(crate) async fn turn(&self) -> Turn<'_> {
        let leaves = self.storing.lock().await;
        Turn { leaves, began: Instant::now() }
    }

    /// The next flight and the right to store it. `None`: nothing waits, or somebody else is going to take it along.
    pub(crate) async fn next_flight(&self, stop: &CancellationToken) -> Option<(Turn<'_>, Vec<Work>)> {
        let _next = match self.next.try_lock() {
            Ok(next) => next,
            // There is enough: bringing more would only fill the memory.
            Err(_) if self.rows() >= self.flight_rows => self.next.lock().await,
            Err(_) => return None,
        };
        if self.rows() == 0 {
            return None;
        }
        let leaves = self.storing.lock().await;
        while self.rows() < self.flight_rows / 2 && Instant::now() < *leaves {
            tokio::select! {
                () = sleep_until(*leaves) => (),
                () = self.grown.notified() => (),
                () = stop.cancelled() => break,
            }
        }
        let turn = Turn { leaves, began: Instant::now() };
        Some((turn, self.board()))
    }

    /// Takes the next flight's batches, the first come first.
    fn board(&self) -> Vec<Work> {
        let mut waiting = self.waiting();
        let mut rows = 0;
        let fits = |work: &&Work| {
            rows += work.claimed.manifest.rows;
            rows <= self.flight_rows
        };
        let count = waiting.iter().take_while(fits).count().max(1).min(waiting.len());
        waiting.drain(..count).collect()
    }

    /// Takes all there is.
    pub(crate) fn clear(&self) -> Vec<Work> {
        self.waiting().drain(..).collect()
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Work>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
