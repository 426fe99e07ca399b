//! Where decoded batches wait for their flight into PostgreSQL: one leaves at a time, and takes along what is there.
//!
//! After flights that took long the next one waits a little for more batches: what one statement does for a GPU costs the
//! same for one row and for ten. A flight that took no time is followed at once, and so is any where half a flight waits.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::work::Work;

/// A pause after two flights is so many times as long as the shorter of them took.
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
    /// Who stores.
    storing: tokio::sync::Mutex<Last>,
    /// The most rows of one flight; a larger batch flies alone.
    flight_rows: u64,
}

/// The last flight.
#[derive(Debug)]
struct Last {
    took: Duration,
    /// When the next one should leave.
    next_leaves: Instant,
}

/// The right to store; given back when dropped.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    last: tokio::sync::MutexGuard<'a, Last>,
    began: Instant,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let took = self.began.elapsed();
        *self.last = Last { took, next_leaves: Instant::now() + pause(self.last.took, took) };
    }
}

/// How long the next flight waits for more batches, after two that took so long (pure). One that was slow by itself (a
/// partition was made, PostgreSQL wrote a checkpoint) says nothing of how many rows flow.
fn pause(before: Duration, took: Duration) -> Duration {
    (before.min(took) * PAUSE).min(LONGEST_PAUSE)
}

impl Quay {
    pub(crate) fn new(flight_rows: u64) -> Self {
        let storing = tokio::sync::Mutex::new(Last { took: Duration::ZERO, next_leaves: Instant::now() });
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
        let last = self.storing.lock().await;
        Turn { last, began: Instant::now() }
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
        let last = self.storing.lock().await;
        while self.rows() < self.flight_rows / 2 && Instant::now() < last.next_leaves {
            tokio::select! {
                () = sleep_until(last.next_leaves) => (),
                () = self.grown.notified() => (),
                () = stop.cancelled() => break,
            }
        }
        let turn = Turn { last, began: Instant::now() };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slow_flight_delays_nobody() {
        let ms = Duration::from_millis;
        assert_eq!(pause(ms(4), ms(100)), ms(12));
        assert_eq!(pause(ms(100), ms(4)), ms(12));
        assert_eq!(pause(ms(40), ms(50)), ms(120));
        assert_eq!(pause(ms(200), ms(500)), LONGEST_PAUSE);
    }
}
