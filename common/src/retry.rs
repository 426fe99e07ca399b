//! Exponential backoff with jitter: the waits between tries. The only user of the `backoff` crate.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff;

/// The waits between tries: each about double the one before, spread by half to keep processes apart.
#[derive(Debug)]
pub struct Retry {
    backoff: ExponentialBackoff,
    most: Duration,
}

impl Retry {
    /// Waits from about `first` up to about `most`.
    pub fn new(first: Duration, most: Duration) -> Self {
        let backoff = ExponentialBackoff {
            current_interval: first,
            initial_interval: first,
            randomization_factor: 0.5,
            multiplier: 2.0,
            max_interval: most,
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        };
        Retry { backoff, most }
    }

    /// For a server that is away: 1 s doubling to 60 s.
    pub fn server() -> Self {
        Retry::new(Duration::from_secs(1), Duration::from_secs(60))
    }

    /// For a call that may be repeated at once: 50 ms doubling to 2 s.
    pub fn call() -> Self {
        Retry::new(Duration::from_millis(50), Duration::from_secs(2))
    }

    /// The next wait; there is always one.
    pub fn next_wait(&mut self) -> Duration {
        self.backoff.next_backoff().unwrap_or(self.most)
    }

    /// It worked: the next failure starts from the first wait again.
    pub fn reset(&mut self) {
        self.backoff.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_most_and_start_again() {
        let mut retry = Retry::new(Duration::from_millis(100), Duration::from_secs(2));
        let waits: Vec<_> = (0..20).map(|_| retry.next_wait()).collect();
        assert!(waits[0] <= Duration::from_millis(150));
        assert!(waits[10..].iter().all(|wait| (1000..=3000).contains(&wait.as_millis())), "{waits:?}");
        retry.reset();
        assert!(retry.next_wait() <= Duration::from_millis(150));
    }
}
