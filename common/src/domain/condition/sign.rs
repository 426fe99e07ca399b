//! Signs: the single facts that are true of a GPU now.

use std::time::Duration;

use super::{SignKind, Thresholds, Vital, Vitals};
use crate::domain::{Timestamp, is_silent};

/// A fact, with the reading that shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sign {
    /// Which.
    pub kind: SignKind,
    /// The first reading that showed it, as far as is known: see [`carry_on`].
    pub since: Timestamp,
    /// The newest reading that shows it.
    pub seen: Timestamp,
    /// The reading: the XID code, the number of errors, °C, the bit mask, MiB held; for `missing` and `stale` the seconds
    /// without a value, 0 for a GPU that never had one.
    pub value: f64,
}

impl Sign {
    /// For how long it has held, by the data's time.
    pub(super) fn held_for(&self) -> Duration {
        let micros = self.seen.0.saturating_sub(self.since.0);
        Duration::from_micros(u64::try_from(micros).unwrap_or_default())
    }

    /// The reading as the whole number it is for codes, counts and masks.
    #[expect(clippy::cast_possible_truncation, reason = "codes, counts and masks are whole; the cast saturates")]
    pub(super) fn code(&self) -> i64 {
        self.value as i64
    }

    /// Whether this is the same fact as an earlier one. An XID gauge holds one code: another code is another error.
    pub(super) fn continues(&self, held: &Sign) -> bool {
        self.kind == held.kind && (self.kind != SignKind::Xid || self.code() == held.code())
    }
}

/// Bits of `clock_event_reasons` that protect the hardware, and their names: hardware slowdown, software thermal, hardware
/// thermal, power brake. The others (idle, clocks set, power cap, sync boost, display) are how GPUs are meant to run.
pub(super) const PROTECTING: [(i64, &str); 4] = [
    (0x8, "hardware slowdown"),
    (0x20, "software thermal slowdown"),
    (0x40, "hardware thermal slowdown"),
    (0x80, "power brake"),
];

/// The signs that hold now, in the order of [`SignKind`], each `since` its own reading: what was known before comes in by
/// [`carry_on`]. `now` is the clock's, and only `stale` looks at it.
pub fn examine(vitals: &Vitals<'_>, now: Timestamp, thresholds: &Thresholds) -> Vec<Sign> {
    let Thresholds { stale_after, hot_celsius, critical_celsius, idle_memory_mib, xid_gap, .. } = *thresholds;
    let current = |vital| vitals.current(vital, stale_after);
    let mut signs = Vec::new();
    let mut shown = |kind, reading: Option<(f64, Timestamp)>, is_so: &dyn Fn(f64) -> bool| {
        if let Some((value, at)) = reading.filter(|(value, _)| is_so(*value)) {
            signs.push(Sign { kind, since: at, seen: at, value });
        }
    };
    shown(SignKind::Xid, vitals.current(Vital::Xid, xid_gap), &|code| code >= 1.0);
    shown(SignKind::DoubleBitEcc, current(Vital::DoubleBitEcc), &|count| count >= 1.0);
    shown(SignKind::RowRemapFailure, current(Vital::RowRemapFailure), &|flag| flag > 0.0);
    shown(SignKind::RowRemapPending, current(Vital::RowRemapPending), &|flag| flag > 0.0);
    shown(SignKind::Hot, current(Vital::Temperature), &|celsius| celsius > hot_celsius);
    shown(SignKind::VeryHot, current(Vital::Temperature), &|celsius| celsius > critical_celsius);
    shown(SignKind::Throttled, current(Vital::ClockEventReasons), &|mask| !protecting(mask).is_empty());
    if current(Vital::Utilization).is_some_and(|(percent, _)| percent <= 0.0) {
        // Two readings show it: it is shown for as long as both reach.
        let at = current(Vital::Utilization).map(|(_, at)| at);
        let held = current(Vital::MemoryUsed).map(|(mib, seen)| (mib, at.map_or(seen, |at| at.min(seen))));
        shown(SignKind::IdleAllocated, held, &|mib| mib > idle_memory_mib);
    }
    signs.extend(silence(vitals, now, stale_after));
    signs
}

/// The names of the protecting bits in a mask.
#[expect(clippy::cast_possible_truncation, reason = "a mask is whole; the cast saturates")]
pub(super) fn protecting(mask: f64) -> Vec<(i64, &'static str)> {
    let mask = mask as i64;
    PROTECTING.into_iter().filter(|(bit, _)| mask & bit != 0).collect()
}

/// `missing` and `stale`: what is not there.
fn silence(vitals: &Vitals<'_>, now: Timestamp, stale_after: Duration) -> Vec<Sign> {
    let silent = |kind, since: Timestamp, at: Timestamp| {
        is_silent(since, at, stale_after).then(|| Sign { kind, since, seen: at, value: seconds(since, at) })
    };
    match (vitals.last_seen, vitals.host_last_seen) {
        (None, None) => Vec::new(),
        (None, Some(at)) => vec![Sign { kind: SignKind::Missing, since: at, seen: at, value: 0.0 }],
        (Some(seen), host) => {
            let missing = host.and_then(|at| silent(SignKind::Missing, seen, at));
            missing.into_iter().chain(silent(SignKind::Stale, seen, now)).collect()
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "seconds of any real silence are exact")]
fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.0.saturating_sub(from.0) as f64 / 1e6
}

/// A sign that held already keeps its older `since`. Another XID code is another sign.
pub fn carry_on(found: &mut [Sign], held: &[Sign]) {
    for sign in found {
        for before in held {
            if sign.continues(before) {
                sign.since = sign.since.min(before.since);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: i64 = 1_000_000;
    const NOW: Timestamp = Timestamp(1_750_000_000 * SECOND);

    fn ago(seconds: i64) -> Timestamp {
        NOW.shifted(-seconds * SECOND)
    }

    fn found(readings: &[(&'static str, f64, i64)]) -> Vec<(SignKind, f64)> {
        let reading = |vital: Vital| {
            readings
                .iter()
                .find(|(metric, ..)| *metric == vital.name())
                .map(|(_, value, seconds)| (*value, ago(*seconds)))
        };
        let last_seen = readings.iter().map(|(_, _, seconds)| ago(*seconds)).max();
        let vitals = Vitals { last_seen, host_last_seen: last_seen, reading: &reading };
        examine(&vitals, NOW, &Thresholds::default()).into_iter().map(|sign| (sign.kind, sign.value)).collect()
    }

    #[test]
    fn a_healthy_gpu_has_no_signs() {
        let idle = found(&[
            ("gpu_utilization", 0.0, 3),
            ("memory_used_mib", 4.0, 1),
            ("temperature_celsius", 80.0, 0),
            ("clock_event_reasons", f64::from(0x1 | 0x2 | 0x4 | 0x10 | 0x100), 0),
            ("xid", 0.0, 0),
            ("ecc_dbe_volatile", 0.0, 0),
            ("row_remap_failure", 0.0, 0),
        ]);
        assert_eq!(idle, []);
    }

    #[test]
    fn each_reading_shows_its_sign() {
        let all = found(&[
            ("xid", 79.0, 0),
            ("ecc_dbe_volatile", 2.0, 0),
            ("row_remap_failure", 1.0, 0),
            ("row_remap_pending", 1.0, 0),
            ("temperature_celsius", 86.0, 0),
            ("clock_event_reasons", 65.0, 0),
            ("gpu_utilization", 0.0, 3),
            ("memory_used_mib", 4096.0, 1),
        ]);
        let expected = [
            (SignKind::Xid, 79.0),
            (SignKind::DoubleBitEcc, 2.0),
            (SignKind::RowRemapFailure, 1.0),
            (SignKind::RowRemapPending, 1.0),
            (SignKind::Hot, 86.0),
            (SignKind::VeryHot, 86.0),
            (SignKind::Throttled, 65.0),
            (SignKind::IdleAllocated, 4096.0),
        ];
        assert_eq!(all, expected);
    }

    #[test]
    fn an_xid_that_is_left_out_is_over_sooner_than_other_readings() {
        let at = |seconds| {
            found(&[("gpu_utilization", 50.0, 0), ("xid", 79.0, seconds), ("row_remap_failure", 1.0, seconds)])
        };
        assert_eq!(at(180), [(SignKind::Xid, 79.0), (SignKind::RowRemapFailure, 1.0)]);
        assert_eq!(at(181), [(SignKind::RowRemapFailure, 1.0)]);
        assert_eq!(at(301), []);
    }

    #[test]
    fn what_is_not_there_is_a_sign() {
        let silence = |last: Option<i64>, host: Option<i64>| {
            let vitals = Vitals { last_seen: last.map(ago), host_last_seen: host.map(ago), reading: &|_| None };
            examine(&vitals, NOW, &Thresholds::default())
        };
        assert_eq!(silence(None, None), []);
        let never = Sign { kind: SignKind::Missing, since: ago(5), seen: ago(5), value: 0.0 };
        assert_eq!(silence(None, Some(5)), [never]);
        assert_eq!(silence(Some(300), Some(0)), []);
        let missing = Sign { kind: SignKind::Missing, since: ago(301), seen: ago(0), value: 301.0 };
        let stale = Sign { kind: SignKind::Stale, since: ago(301), seen: NOW, value: 301.0 };
        assert_eq!(silence(Some(301), Some(0)), [missing, stale.clone()]);
        assert_eq!(silence(Some(301), Some(301)), [stale], "its host is as silent");
    }

    #[test]
    fn it_asks_for_every_vital() {
        let asked = std::cell::RefCell::new(std::collections::BTreeSet::new());
        let reading = |vital| {
            asked.borrow_mut().insert(vital);
            Some((0.0, NOW))
        };
        examine(&Vitals { last_seen: Some(NOW), host_last_seen: None, reading: &reading }, NOW, &Thresholds::default());
        assert_eq!(asked.into_inner(), Vital::ALL.into_iter().collect());
    }

    #[test]
    fn another_code_is_another_error() {
        let xid = |code, at| Sign { kind: SignKind::Xid, since: at, seen: at, value: code };
        let mut signs = [xid(79.0, ago(1))];
        carry_on(&mut signs, &[xid(48.0, ago(9))]);
        assert_eq!(signs[0].since, ago(1));
        carry_on(&mut signs, &[xid(79.0, ago(9))]);
        assert_eq!(signs[0].since, ago(9));
    }

    fn any_sign() -> impl Strategy<Value = Sign> {
        (0..SignKind::ALL.len(), 0..1000i64, 0..1000i64, 0..4i32).prop_map(|(kind, since, length, value)| Sign {
            kind: SignKind::ALL[kind],
            since: ago(since + length),
            seen: ago(since),
            value: f64::from(value),
        })
    }

    proptest! {
        #[test]
        fn carrying_on_twice_is_carrying_on_once(
            mut found in prop::collection::vec(any_sign(), 0..6),
            held in prop::collection::vec(any_sign(), 0..6),
        ) {
            let before = found.clone();
            carry_on(&mut found, &held);
            let once = found.clone();
            carry_on(&mut found, &held);
            prop_assert_eq!(&found, &once);
            for (sign, before) in found.iter().zip(&before) {
                prop_assert!(sign.since <= before.since && sign.seen == before.seen);
            }
        }

        #[test]
        fn no_sign_comes_from_an_old_reading(
            values in prop::collection::vec((0.0..200.0f64, 0..1000i64), 8),
            clock in 0..1000i64,
        ) {
            let reading = |vital: Vital| {
                let (value, seconds) = values[vital as usize];
                Some((value.floor(), ago(seconds)))
            };
            let last_seen = values.iter().map(|(_, seconds)| ago(*seconds)).max();
            let vitals = Vitals { last_seen, host_last_seen: last_seen, reading: &reading };
            for sign in examine(&vitals, NOW.shifted(clock * SECOND), &Thresholds::default()) {
                let bound = match sign.kind {
                    SignKind::Stale => continue,
                    SignKind::Xid => 180,
                    _ => 300,
                };
                prop_assert!(last_seen.unwrap().0 - sign.seen.0 <= bound * SECOND, "{sign:?}");
            }
        }
    }
}
