//! Where decoded batches wait for their flight into PostgreSQL: one leaves at a time, and takes along what is there.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::work::Work;

/// Decoded batches, and whose turn it is to store.
#[derive(Debug)]
pub(crate) struct Quay {
    waiting: Mutex<VecDeque<Work>>,
    storing: tokio::sync::Mutex<()>,
    /// The most rows of one flight; a larger batch flies alone.
    flight_rows: u64,
}

/// The right to store; given back when dropped.
pub(crate) type Turn<'a> = tokio::sync::MutexGuard<'a, ()>;

impl Quay {
    pub(crate) fn new(flight_rows: u64) -> Self {
        Quay { waiting: Mutex::default(), storing: tokio::sync::Mutex::default(), flight_rows }
    }

    pub(crate) fn put(&self, works: Vec<Work>) {
        self.waiting().extend(works);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting().is_empty()
    }

    /// Waits until nobody else stores.
    pub(crate) async fn turn(&self) -> Turn<'_> {
        self.storing.lock().await
    }

    /// Takes the next flight's batches, the first come first.
    pub(crate) fn board(&self) -> Vec<Work> {
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
