//! Whether publishing is held up, by what, and for how long altogether.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nexus_common::observe::Scrape;
use tokio::time::Instant;

/// What publishing waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// HIGH_WATER_ROWS are queued.
    Queue,
    /// etcd has little space left.
    EtcdSpace,
}

/// Shared by all sources of a streamer: it is held up while one of them is.
#[derive(Debug, Default)]
pub(crate) struct Held(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    waiting: usize,
    because: Option<(Reason, String)>,
    /// Since when it waits for that.
    since: Option<Instant>,
    /// All the times that are over, by reason.
    before: [Duration; 2],
}

/// One source that waits, until it is dropped.
#[derive(Debug)]
pub(crate) struct Wait<'a>(&'a Held);

impl Held {
    /// A source begins to wait.
    pub(crate) fn begin(&self) -> Wait<'_> {
        self.state().begin(Instant::now());
        Wait(self)
    }

    /// What is waited for, in words.
    pub(crate) fn reason(&self) -> Option<String> {
        self.state().because.as_ref().map(|(_, words)| words.clone())
    }

    /// For Prometheus.
    pub(crate) fn tell(&self, scrape: &mut Scrape<'_, '_>) -> fmt::Result {
        let (reason, [queue, etcd_space]) = {
            let (state, now) = (self.state(), Instant::now());
            let held = [Reason::Queue, Reason::EtcdSpace].map(|reason| state.held(reason, now).as_secs_f64());
            (state.reason(), held)
        };
        let held_by = |one: Reason| i64::from(reason == Some(one));
        scrape.gauges(
            "nexus_streamer_held",
            "1 while back-pressure stops publishing: too many rows are queued, or too much of etcd's space is in use.",
            "reason",
            [("queue", held_by(Reason::Queue)), ("etcd_space", held_by(Reason::EtcdSpace))],
        )?;
        let help = "How long back-pressure has stopped publishing.";
        let held = [("queue", queue), ("etcd_space", etcd_space)];
        scrape.counters("nexus_streamer_held_seconds", help, "reason", held)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn begin(&mut self, now: Instant) {
        self.waiting += 1;
        self.since.get_or_insert(now);
    }

    fn end(&mut self, now: Instant) {
        self.waiting -= 1;
        if self.waiting == 0 {
            self.settle(now);
            (self.since, self.because) = (None, None);
        }
    }

    fn because(&mut self, reason: Reason, words: String, now: Instant) {
        if self.reason().is_some_and(|before| before != reason) {
            self.settle(now);
        }
        self.because = Some((reason, words));
    }

    /// What was waited for until now is over.
    fn settle(&mut self, now: Instant) {
        if let Some(reason) = self.reason() {
            self.before[reason as usize] = self.held(reason, now);
            self.since = Some(now);
        }
    }

    fn reason(&self) -> Option<Reason> {
        self.because.as_ref().map(|(reason, _)| *reason)
    }

    fn held(&self, reason: Reason, now: Instant) -> Duration {
        let under_way = self.since.filter(|_| self.reason() == Some(reason));
        self.before[reason as usize] + under_way.map_or(Duration::ZERO, |since| now - since)
    }
}

impl Wait<'_> {
    /// Why it waits now.
    pub(crate) fn because(&self, reason: Reason, words: String) {
        self.0.state().because(reason, words, Instant::now());
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.0.state().end(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use nexus_common::observe::{Metrics, looked_at};

    use super::*;

    #[test]
    fn time_counts_once_however_many_sources_wait() {
        let (mut state, start) = (State::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let held = |state: &State, seconds| {
            [Reason::Queue, Reason::EtcdSpace].map(|reason| state.held(reason, at(seconds)).as_secs())
        };
        let because = |state: &mut State, reason, seconds| state.because(reason, String::new(), at(seconds));
        state.begin(at(0));
        because(&mut state, Reason::Queue, 0);
        state.begin(at(2));
        because(&mut state, Reason::Queue, 3);
        state.end(at(4));
        assert_eq!(held(&state, 5), [5, 0], "under way");
        state.end(at(5));
        assert_eq!(held(&state, 9), [5, 0], "over");
        state.begin(at(10));
        because(&mut state, Reason::Queue, 10);
        assert_eq!(held(&state, 12), [7, 0]);
        because(&mut state, Reason::EtcdSpace, 12);
        assert_eq!(held(&state, 15), [7, 3], "each second is of one reason");
        state.end(at(20));
        assert_eq!(held(&state, 30), [7, 8]);
    }

    #[test]
    fn it_is_told_while_one_source_waits() {
        let held = Arc::new(Held::default());
        let told = |reason: &str| {
            let held = Arc::clone(&held);
            let text = Metrics::new("streamer", "c").text([looked_at(move |scrape| held.tell(scrape))]).unwrap();
            text.contains(&format!("nexus_streamer_held{{cluster=\"c\",reason=\"{reason}\"}} 1"))
        };
        let (one, other) = (held.begin(), held.begin());
        one.because(Reason::EtcdSpace, "full".to_owned());
        drop(other);
        assert_eq!([told("queue"), told("etcd_space")], [false, true]);
        drop(one);
        assert_eq!((told("etcd_space"), held.reason()), (false, None));
    }
}
