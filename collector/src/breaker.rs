//! PostgreSQL down is not the message's fault: everybody waits, one tries (pure over a clock).

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nexus_common::retry::Retry;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::Instant;

/// Shared by all workers: after a failure nobody tries for a while, then one does, then all.
#[derive(Debug)]
pub(crate) struct Breaker {
    state: Mutex<State>,
    found_out: Notify,
}

#[derive(Debug)]
struct State {
    retry: Retry,
    open_until: Option<Instant>,
    since: Option<Instant>,
    trips: u64,
}

/// What a probe may take before another worker tries in its place.
const PROBE: Duration = Duration::from_secs(30);

impl Breaker {
    pub(crate) fn new(retry: Retry) -> Self {
        Breaker {
            state: Mutex::new(State { retry, open_until: None, since: None, trips: 0 }),
            found_out: Notify::new(),
        }
    }

    /// Ends when somebody has found out whether PostgreSQL is there: made before [`Breaker::admit`] is asked, so that
    /// nothing is missed. Who waits for the time alone would sleep through a probe that succeeds at once.
    pub(crate) fn found_out(&self) -> Notified<'_> {
        self.found_out.notified()
    }

    /// May this worker try now? If not, when to ask again.
    pub(crate) fn admit(&self, now: Instant) -> Result<(), Instant> {
        let mut state = self.state();
        match state.open_until {
            None => Ok(()),
            Some(until) if until > now => Err(until),
            Some(_) => {
                // Half open: this one probes, the others wait for what it finds.
                state.open_until = Some(now + PROBE);
                Ok(())
            }
        }
    }

    pub(crate) fn succeeded(&self) -> bool {
        let mut state = self.state();
        state.retry.reset();
        state.since = None;
        let was_open = state.open_until.take().is_some();
        if was_open {
            self.found_out.notify_waiters();
        }
        was_open
    }

    /// Returns how long everybody waits.
    pub(crate) fn failed(&self, now: Instant) -> Duration {
        let mut state = self.state();
        // Workers that were under way fail together: that is one failure, not four.
        if let Some(until) = state.open_until
            && until > now
            && until < now + PROBE / 2
        {
            return until - now;
        }
        let wait = state.retry.next_wait();
        state.open_until = Some(now + wait);
        if state.since.is_none() {
            state.since = Some(now);
            state.trips += 1;
        }
        self.found_out.notify_waiters();
        wait
    }

    /// Has PostgreSQL been away?
    pub(crate) fn is_open(&self) -> bool {
        self.state().since.is_some()
    }

    /// How often it has gone away.
    pub(crate) fn trips(&self) -> u64 {
        self.state().trips
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn those_who_wait_hear_what_the_probe_finds() {
        let breaker = Breaker::new(Retry::new(Duration::from_secs(1), Duration::from_secs(60)));
        let now = Instant::now();
        let later = now + breaker.failed(now);
        assert_eq!(breaker.admit(later), Ok(()));
        let found_out = breaker.found_out();
        assert!(breaker.admit(later).is_err());
        assert!(breaker.succeeded());
        found_out.await;
        assert_eq!(breaker.admit(later), Ok(()));
    }

    #[test]
    fn one_probes_while_the_others_wait() {
        let breaker = Breaker::new(Retry::new(Duration::from_secs(1), Duration::from_secs(60)));
        let now = Instant::now();
        assert_eq!(breaker.admit(now), Ok(()));
        let wait = breaker.failed(now);
        assert!(breaker.is_open());
        assert_eq!((breaker.failed(now), breaker.trips()), (wait, 1), "those that were under way fail together");
        assert_eq!(breaker.admit(now), Err(now + wait));
        let later = now + wait;
        assert_eq!(breaker.admit(later), Ok(()), "half open: one probes");
        assert!(breaker.admit(later).is_err(), "the others wait for it");
        assert!(breaker.succeeded());
        assert_eq!(breaker.admit(later), Ok(()));
        assert!(!breaker.is_open());
        breaker.failed(later);
        assert_eq!(breaker.trips(), 2);
    }
}
