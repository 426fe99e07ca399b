//! Which samples are certainly new: those go into their table by COPY at once, at half the cost of the way over a staging
//! table that a merge needs.
//!
//! A GPU's samples come in order nearly always, so a sample that is newer than all this process has stored of its GPU is
//! taken for new. Where another collector stored it before, PostgreSQL refuses the COPY; then everything is merged, and for
//! a while nothing is taken for new: collectors that share a GPU's rows meet again and again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::fast::RandomState;
use nexus_common::domain::Timestamp;
use tokio::time::Instant;

use crate::merge::Harvest;

/// How long everything is merged after a sample that was not new.
const REST: Duration = Duration::from_secs(30);

/// The newest sample of each GPU, as far as this process has stored them.
#[derive(Debug, Default)]
pub(crate) struct Newest(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    stored: HashMap<i32, Timestamp, RandomState>,
    resting_until: Option<Instant>,
}

impl Newest {
    /// Whether all samples are taken for new. Some alone would not do: two collectors that first copy and then merge take
    /// their locks in two orders.
    pub(crate) fn are_all_new(&self, harvest: &Harvest, now: Instant) -> bool {
        let state = self.state();
        let is_new = |(gpu, at): &(i32, Timestamp)| state.stored.get(gpu).is_some_and(|newest| newest < at);
        state.resting_until.is_none_or(|until| until <= now) && harvest.samples.keys().all(is_new)
    }

    /// These samples are committed.
    pub(crate) fn note(&self, harvest: &Harvest) {
        let mut state = self.state();
        for (gpu, at) in harvest.samples.keys() {
            let newest = state.stored.entry(*gpu).or_insert(*at);
            *newest = (*newest).max(*at);
        }
    }

    /// A sample that was taken for new was there already.
    pub(crate) fn rest(&self, now: Instant) {
        self.state().resting_until = Some(now + REST);
    }

    /// The database is another one than before: nothing is known of it.
    pub(crate) fn forget(&self) {
        self.state().stored.clear();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nexus_common::domain::Sample;

    fn harvest(keys: &[(i32, i64)]) -> Harvest {
        let samples = keys.iter().map(|(gpu, at)| ((*gpu, Timestamp(*at)), (Sample::new(Timestamp(*at)), 0)));
        Harvest { samples: samples.collect(), ..Harvest::default() }
    }

    #[test]
    fn what_is_newer_than_all_that_was_stored_is_new() {
        let (newest, now) = (Newest::default(), Instant::now());
        let first = harvest(&[(1, 10), (2, 10)]);
        assert!(!newest.are_all_new(&first, now), "of a GPU never seen nothing is known");
        newest.note(&first);
        newest.note(&harvest(&[(1, 5)]));
        for (keys, expected) in [
            (vec![(1, 11), (2, 11)], true),
            (vec![(1, 11), (2, 10)], false),
            (vec![(1, 9), (1, 11)], false),
            (vec![(1, 11), (3, 11)], false),
        ] {
            assert_eq!(newest.are_all_new(&harvest(&keys), now), expected, "{keys:?}");
        }
        let next = harvest(&[(1, 11)]);
        newest.rest(now);
        assert!(!newest.are_all_new(&next, now) && newest.are_all_new(&next, now + REST));
        newest.forget();
        assert!(!newest.are_all_new(&next, now + REST));
    }
}
