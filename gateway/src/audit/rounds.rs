//! Looking into the books again and again, for whoever scrapes, and for whoever asks where a request cannot wait for a look.
//!
//! A look sums up the whole ledger: on a long one that takes longer than any scrape waits. So no scrape waits for it: it tells
//! what the last look found, and of when that is.
//!
//! - **One look at a time**, and a pause behind it: AUDIT_INTERVAL, and four times as long as the look took at least. However
//!   long the ledger is, a gateway keeps PostgreSQL busy for a fifth of the time at most.
//! - **None while nobody asks.** The first scrape after a pause asks for the next look. A gateway that nobody watches (on a
//!   laptop, or one of many behind a balancer) costs nothing; one that is scraped more rarely than AUDIT_INTERVAL looks as often
//!   as it is scraped.
//! - **Not at once**: the first look waits for some of the interval, by chance. Gateways that are started together, or again
//!   and again, do not all sum up the ledger in the same second.
//! - **What failed is said**, and what was found before stands for a while beside it, with its age: one restart of PostgreSQL is
//!   no hole in every chart, and an old figure is not taken for a new one.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nexus_common::domain::Timestamp;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use super::{Auditor, Seen};

/// How many times as long as a look the pause behind it is at least.
const REST: u32 = 4;
/// The first look waits for no more than this part of the interval.
const HEAD_START: f64 = 0.1;
/// What is not heard of for so long after the server should have ended it does not come.
const SLACK: Duration = Duration::from_secs(20);
/// How long a finding is told after the next one was due, at least.
const STANDS: Duration = Duration::from_secs(15 * 60);

/// The last look, and who takes the next; cheap to clone.
#[derive(Debug, Clone)]
pub struct Rounds(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    auditor: Auditor,
    interval: Duration,
    patience: Duration,
    /// Somebody asked since the last look began.
    asked: Notify,
    known: Mutex<Known>,
}

/// What is known of the books.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    /// How often they are looked into.
    pub(crate) interval: Duration,
    /// Whether the last look succeeded, and how long it took. `None`: none has ended.
    pub(crate) last: Option<(bool, Duration)>,
    /// What the last look that succeeded found.
    pub(crate) found: Option<Seen>,
}

impl Rounds {
    /// Over an auditor whose statements may run for `patience`; a look each `interval`.
    pub fn new(auditor: Auditor, interval: Duration, patience: Duration) -> Self {
        let known = Mutex::new(Known { interval, ..Known::default() });
        Rounds(Arc::new(Inner { auditor, interval, patience, asked: Notify::new(), known }))
    }

    /// Whose books they are.
    pub fn cluster_id(&self) -> &str {
        self.0.auditor.cluster_id()
    }

    /// Looks for as long as somebody asks, for ever.
    pub async fn go(self) -> Infallible {
        self.0.asked.notified().await;
        sleep(self.0.interval.mul_f64(HEAD_START * rand::random::<f64>())).await;
        loop {
            let took = self.look().await;
            sleep(self.0.interval.max(took * REST)).await;
            self.0.asked.notified().await;
        }
    }

    /// What is known; the next look is taken when it is due.
    pub(crate) fn ask(&self) -> Known {
        self.0.asked.notify_one();
        self.known().clone()
    }

    /// How long the last look took, where it found something or ran out of time.
    pub(super) fn length(&self) -> Option<Duration> {
        self.known().last.filter(|(found, took)| *found || *took >= self.0.patience).map(|(_, took)| took)
    }

    /// The time it may take, where that was not enough.
    pub(super) fn exceeded(&self) -> Option<Duration> {
        let patience = self.0.patience;
        self.known().last.is_some_and(|(found, took)| !found && took >= patience).then_some(patience)
    }

    /// One look; how long it took.
    async fn look(&self) -> Duration {
        let Inner { auditor, patience, .. } = &*self.0;
        let began = Instant::now();
        let found = match timeout(*patience + SLACK, auditor.look()).await {
            Ok(Ok(seen)) => Some(seen),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the books could not be read");
                None
            }
            Err(_) => {
                tracing::warn!("the books could not be read in {:?}", *patience + SLACK);
                None
            }
        };
        // One that a request has just taken is handed over at once.
        let took = found.as_ref().map_or(Duration::ZERO, |seen| seen.took).max(began.elapsed());
        let mut known = self.known();
        known.last = Some((found.is_some(), took));
        known.found = found.or_else(|| known.found.take());
        took
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// What was found, while it stands. The next finding is there when this look, the pause behind it and the next look are
    /// over: counted from the beginning of this one, after (REST + 2) times its length, or the interval. The alert
    /// NexusAuditFails counts likewise.
    pub(crate) fn standing(&self, now: Timestamp) -> Option<&Seen> {
        let seen = self.found.as_ref()?;
        let age = Duration::from_micros(u64::try_from(now.0 - seen.at.0).unwrap_or(0));
        let took = self.last.map_or(seen.took, |(_, took)| took.max(seen.took));
        (age < STANDS + 2 * self.interval + (REST + 2) * took).then_some(seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THEN: Timestamp = Timestamp(1_000_000_000_000);

    /// What a look that took so many seconds found, and no look since.
    fn known(took: u64) -> Known {
        let took = Duration::from_secs(took);
        let found = Some(Seen { at: THEN, took, audit: Arc::default() });
        Known { interval: Duration::from_secs(60), last: Some((true, took)), found }
    }

    fn stands(known: &Known, seconds: i64) -> bool {
        known.standing(THEN.shifted(seconds * 1_000_000)).is_some()
    }

    #[test]
    fn what_was_found_stands_for_a_while() {
        let known = known(0);
        let after = |seconds| stands(&known, seconds);
        assert_eq!([-5, 0, 1_000, 1_019, 1_020].map(after), [true, true, true, true, false]);
        assert!(Known::default().standing(THEN).is_none());
    }

    #[test]
    fn what_a_long_look_found_stands_until_the_next_one_has_ended() {
        for minutes in [1, 3, 5, 15, 60] {
            let took = minutes * 60;
            let (mut known, next) = (known(took), i64::try_from(took * 6).unwrap());
            assert!(stands(&known, next + 900), "{minutes} min: the next one may take longer");
            assert!(!stands(&known, next + 1_020), "{minutes} min: there is no next one");
            known.last = Some((false, Duration::ZERO));
            assert!(stands(&known, next + 900), "{minutes} min: and one that failed at once takes nothing away");
        }
        let mut known = known(0);
        known.last = Some((false, Duration::from_secs(300)));
        assert!(stands(&known, 1_800), "a ledger that has become long meanwhile");
    }
}
