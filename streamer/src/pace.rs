//! BATCH_SIZE rows, then STREAM_INTERVAL (pure).

use std::time::Duration;

/// Counts rows to the next pause.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    rows: u64,
    interval: Duration,
    since_pause: u64,
}

impl Pace {
    pub(crate) fn new(rows: u32, interval: Duration) -> Self {
        Pace { rows: u64::from(rows), interval, since_pause: 0 }
    }

    /// So many rows went out: how long to pause now. A batch that the server's limits cut into several is paused for
    /// once.
    pub(crate) fn published(&mut self, rows: u64) -> Duration {
        self.since_pause += rows;
        if self.since_pause < self.rows {
            return Duration::ZERO;
        }
        self.since_pause = 0;
        self.interval
    }

    /// The source ended within a batch: how long to pause before the next one.
    pub(crate) fn ended(&mut self) -> Duration {
        match std::mem::take(&mut self.since_pause) {
            0 => Duration::ZERO,
            _ => self.interval,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_that_was_cut_is_paused_for_once() {
        let second = Duration::from_secs(1);
        let mut pace = Pace::new(100, second);
        assert_eq!(pace.published(60), Duration::ZERO);
        assert_eq!(pace.published(40), second);
        assert_eq!(pace.published(10), Duration::ZERO);
        assert_eq!(pace.ended(), second);
        assert_eq!(pace.ended(), Duration::ZERO);
    }
}
