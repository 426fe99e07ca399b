//! From the newest values of a host's GPUs to what is written about their conditions (pure).

use std::collections::{BTreeMap, BTreeSet};

use nexus_common::domain::{
    Host, News, Progress, Remembered, SignKind, Thresholds, Timestamp, Vital, Vitals, examine, progress,
};

/// The GPU at an index of its host; of several that followed each other the one that reported last.
#[derive(Debug, Clone)]
pub(crate) struct Seat {
    pub(crate) gpu_index: String,
    pub(crate) uuid: Option<String>,
    pub(crate) last_seen: Option<Timestamp>,
    /// In the order of [`Vital::ALL`].
    pub(crate) readings: [Option<(f64, Timestamp)>; Vital::ALL.len()],
}

/// What a look at one index comes to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Change {
    pub(crate) gpu_index: String,
    pub(crate) uuid: Option<String>,
    /// Signs that hold no more.
    pub(crate) forget: Vec<SignKind>,
    /// Signs that are new or have changed.
    pub(crate) store: Vec<Remembered>,
    pub(crate) news: Vec<News>,
}

/// Looks at a host: its GPUs, the GPUs it should have and has not, and indices of which something is remembered. Only
/// what changes is in the answer.
pub(crate) fn look(
    host: &Host,
    seats: Vec<Seat>,
    mut held: BTreeMap<String, Vec<Remembered>>,
    now: Timestamp,
    thresholds: &Thresholds,
) -> Vec<Change> {
    let known: BTreeSet<_> = seats.iter().map(|seat| seat.gpu_index.clone()).collect();
    let empty = |gpu_index| Seat { gpu_index, uuid: None, last_seen: None, readings: [None; Vital::ALL.len()] };
    let never_seen: BTreeSet<_> = host.never_seen().iter().map(u32::to_string).collect();
    let gone: Vec<_> = held.keys().filter(|index| !known.contains(*index) && !never_seen.contains(*index)).collect();
    let gone: Vec<_> = gone.into_iter().map(|index| (empty(index.clone()), None)).collect();
    let seats = seats.into_iter().map(|seat| {
        let replaced = host.is_replaced(&seat.gpu_index, seat.last_seen, thresholds.stale_after);
        (seat, (!replaced).then(|| host.newest()))
    });
    let never_seen = never_seen.into_iter().map(|index| (empty(index), Some(host.newest())));
    let looks = seats.chain(never_seen).chain(gone).collect::<Vec<_>>();
    let changes = looks.into_iter().filter_map(|(seat, host_last_seen)| {
        let held = held.remove(&seat.gpu_index).unwrap_or_default();
        look_at(seat, host_last_seen, &held, now, thresholds)
    });
    changes.collect()
}

/// `host_last_seen`: none where nothing should be at this index any more, so that nothing can be the matter.
fn look_at(
    seat: Seat,
    host_last_seen: Option<Option<Timestamp>>,
    held: &[Remembered],
    now: Timestamp,
    thresholds: &Thresholds,
) -> Option<Change> {
    let reading = |vital: Vital| seat.readings[vital as usize];
    let vitals = Vitals { last_seen: seat.last_seen, host_last_seen: host_last_seen.flatten(), reading: &reading };
    let found = host_last_seen.map_or_else(Vec::new, |_| examine(&vitals, now, thresholds));
    let Progress { remembered, news } = progress(held, found, &vitals, now, thresholds);

    let before = |kind: SignKind| held.iter().find(|held| held.sign.kind == kind);
    let still = |kind: SignKind| remembered.iter().any(|held| held.sign.kind == kind);
    let forget: Vec<_> = held.iter().map(|held| held.sign.kind).filter(|kind| !still(*kind)).collect();
    let differs = |held: &Remembered| before(held.sign.kind).is_none_or(|before| held.differs_from(before));
    let store: Vec<_> = remembered.iter().filter(|held| differs(held)).cloned().collect();
    let Seat { gpu_index, uuid, .. } = seat;
    let quiet = forget.is_empty() && store.is_empty() && news.is_empty();
    (!quiet).then_some(Change { gpu_index, uuid, forget, store, news })
}

#[cfg(test)]
mod tests {
    use nexus_common::domain::{EventKind, expect};

    use super::*;

    const SECOND: i64 = 1_000_000;
    const NOW: Timestamp = Timestamp(1_750_000_000 * SECOND);

    fn ago(seconds: i64) -> Timestamp {
        NOW.shifted(-seconds * SECOND)
    }

    /// A GPU that reported its XID so many seconds ago.
    fn seat(index: &str, xid: f64, seconds: i64) -> Seat {
        let mut readings = [None; Vital::ALL.len()];
        readings[0] = Some((xid, ago(seconds)));
        Seat { gpu_index: index.to_owned(), uuid: None, last_seen: Some(ago(seconds)), readings }
    }

    fn host(seats: &[Seat]) -> Host {
        let mut host = Host::new(seats.iter().map(|seat| (seat.gpu_index.as_str(), Some("H100"), seat.last_seen)));
        expect([&mut host]);
        host
    }

    /// Index and what is told of it.
    fn told(changes: &[Change]) -> Vec<(&str, EventKind)> {
        let told =
            changes.iter().flat_map(|change| change.news.iter().map(|news| (change.gpu_index.as_str(), news.kind)));
        told.collect()
    }

    fn remember(changes: &[Change]) -> BTreeMap<String, Vec<Remembered>> {
        changes.iter().map(|change| (change.gpu_index.clone(), change.store.clone())).collect()
    }

    fn look_now(seats: &[Seat], held: BTreeMap<String, Vec<Remembered>>) -> Vec<Change> {
        look(&host(seats), seats.to_vec(), held, NOW, &Thresholds::default())
    }

    #[test]
    fn a_second_look_changes_nothing() {
        let seats = [seat("0", 79.0, 3), seat("1", 0.0, 3), seat("3", 0.0, 301)];
        let changes = look_now(&seats, BTreeMap::new());
        let expected = [("0", EventKind::Xid), ("2", EventKind::Missing), ("3", EventKind::Stale)];
        assert_eq!(told(&changes), [expected[0], expected[2], expected[1]], "298 s behind its host is not missing");
        assert_eq!(look_now(&seats, remember(&changes)), []);
    }

    #[test]
    fn what_reports_again_is_forgotten() {
        let held = remember(&look_now(&[seat("0", 0.0, 0), seat("1", 0.0, 400)], BTreeMap::new()));
        let back = look_now(&[seat("0", 0.0, 0), seat("1", 0.0, 0)], held);
        assert_eq!(back[0].forget, [SignKind::Missing, SignKind::Stale]);
        assert_eq!(told(&back), [("1", EventKind::Recovered); 2]);
    }

    #[test]
    fn an_instance_whose_gpu_was_cut_otherwise_is_not_missing() {
        let seats = [seat("0", 0.0, 4000), seat("0:1", 79.0, 1000), seat("0:2", 0.0, 0), seat("1", 0.0, 0)];
        assert_eq!(look_now(&seats, BTreeMap::new()), []);
    }

    #[test]
    fn a_place_that_is_no_longer_expected_is_forgotten() {
        let held = remember(&look_now(&[seat("0", 0.0, 0), seat("2", 0.0, 0)], BTreeMap::new()));
        assert_eq!(held.keys().collect::<Vec<_>>(), ["1"]);
        let after = look_now(&[seat("0", 0.0, 0)], held);
        assert_eq!((told(&after), after[0].forget.len()), (vec![("1", EventKind::Recovered)], 1));
    }
}
