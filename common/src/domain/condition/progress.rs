//! From what is remembered of a GPU and what is found now: what to remember, and what to tell (pure).
//!
//! - An event is told once a sign reaches a severity that somebody should act on: heat and idleness after their time, the
//!   others at once. An XID is told whatever its class.
//! - A sign that was told is remembered as told for as long as it holds: a sticky XID is one event. An XID is new with
//!   another code, and with the same code after it had ended; more double-bit ECC errors are news, fewer are a reload of
//!   the driver and are not.
//! - When nothing speaks for a condition any more and something had been told, it has recovered.

use super::{Condition, EventKind, Severity, Sign, SignKind, Thresholds, Vitals, carry_on, evidence};
use crate::domain::Timestamp;

/// A sign that held when it was looked at last.
#[derive(Debug, Clone, PartialEq)]
pub struct Remembered {
    /// The sign.
    pub sign: Sign,
    /// An event told of it.
    pub announced: bool,
}

impl Remembered {
    /// Whether storing it would change anything that matters later, given what is stored of this kind. A newer reading
    /// alone does not: most signs last, and each would be written at every look.
    pub fn differs_from(&self, stored: &Remembered) -> bool {
        let counts = matches!(self.sign.kind, SignKind::Xid | SignKind::DoubleBitEcc);
        self.announced != stored.announced
            || self.sign.since != stored.sign.since
            || (counts && self.sign.code() != stored.sign.code())
    }
}

/// What an event tells, before it has a number and a GPU: the fields are those of [`Event`](super::Event).
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "see Event")]
pub struct News {
    pub at: Timestamp,
    pub kind: EventKind,
    pub condition: Option<Condition>,
    pub severity: Severity,
    pub since: Timestamp,
    pub code: Option<i64>,
    pub detail: String,
}

/// What comes of a look at a GPU.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// The signs that hold, carried on: in place of everything remembered before.
    pub remembered: Vec<Remembered>,
    /// What to tell.
    pub news: Vec<News>,
}

/// Goes on from what is remembered to what [`examine`](super::examine) found.
pub fn progress(
    held: &[Remembered],
    mut found: Vec<Sign>,
    vitals: &Vitals<'_>,
    now: Timestamp,
    thresholds: &Thresholds,
) -> Progress {
    let before: Vec<_> = held.iter().map(|held| held.sign.clone()).collect();
    carry_on(&mut found, &before);
    let of = |sign: &Sign| held.iter().find(|held| sign.continues(&held.sign));
    let told = |sign: &Sign| of(sign).is_some_and(|held| held.announced);
    let due = |sign: &Sign| sign.kind == SignKind::Xid || sign.severity(thresholds) >= Severity::Warning;
    // Who was told that a GPU is very hot knows that it is hot.
    let very_hot = found.iter().any(|sign| sign.kind == SignKind::VeryHot && (told(sign) || due(sign)));

    let mut news = recovered(held, &found, vitals, now, thresholds);
    let mut remembered = Vec::with_capacity(found.len());
    for sign in found {
        let implied = sign.kind == SignKind::Hot && very_hot;
        let more = of(&sign).filter(|_| sign.kind == SignKind::DoubleBitEcc).map(|held| sign.code() - held.sign.code());
        let (was_told, is_more) = (told(&sign), more.is_some_and(|more| more > 0));
        if (due(&sign) && !was_told && !implied) || is_more {
            news.push(tell(&sign, more.filter(|_| is_more && was_told), thresholds));
        }
        remembered.push(Remembered { announced: was_told || implied || due(&sign), sign });
    }
    Progress { remembered, news }
}

fn tell(sign: &Sign, more: Option<i64>, thresholds: &Thresholds) -> News {
    let coded = matches!(sign.kind, SignKind::Xid | SignKind::DoubleBitEcc | SignKind::Throttled);
    let detail = evidence::of(sign, thresholds);
    News {
        at: sign.seen,
        kind: kind_of(sign.kind),
        condition: sign.condition(),
        severity: sign.severity(thresholds),
        since: sign.since,
        code: coded.then(|| sign.code()),
        detail: more.map_or(detail.clone(), |more| format!("{detail}, {more} more than before")),
    }
}

fn kind_of(sign: SignKind) -> EventKind {
    match sign {
        SignKind::Xid => EventKind::Xid,
        SignKind::DoubleBitEcc => EventKind::Ecc,
        SignKind::RowRemapFailure | SignKind::RowRemapPending => EventKind::RowRemap,
        SignKind::Hot | SignKind::VeryHot => EventKind::Hot,
        SignKind::Throttled => EventKind::Throttled,
        SignKind::IdleAllocated => EventKind::IdleAllocated,
        SignKind::Missing => EventKind::Missing,
        SignKind::Stale => EventKind::Stale,
    }
}

/// Conditions that had been told and for which nothing speaks any more.
fn recovered(
    held: &[Remembered],
    found: &[Sign],
    vitals: &Vitals<'_>,
    now: Timestamp,
    thresholds: &Thresholds,
) -> Vec<News> {
    let over = |condition: &Condition| found.iter().all(|sign| sign.condition() != Some(*condition));
    let end_of = |condition: Condition| {
        let of_it = |held: &&Remembered| held.announced && held.sign.condition() == Some(condition);
        let ended: Vec<_> = held.iter().filter(of_it).map(|held| &held.sign).collect();
        let since = ended.iter().map(|sign| sign.since).min()?;
        let words: Vec<_> = ended
            .iter()
            // One temperature went below both bounds.
            .filter(|sign| sign.kind != SignKind::VeryHot || ended.len() == 1)
            .map(|sign| evidence::of_end(sign, vitals, thresholds))
            .collect();
        Some(News {
            at: vitals.last_seen.or(vitals.host_last_seen).unwrap_or(now).max(since),
            kind: EventKind::Recovered,
            condition: Some(condition),
            severity: Severity::Notice,
            since,
            code: ended.iter().find(|sign| sign.kind == SignKind::Xid).map(|sign| sign.code()),
            detail: words.join("; "),
        })
    };
    Condition::ALL.into_iter().filter(over).filter_map(end_of).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::domain::{Vital, examine};

    const SECOND: i64 = 1_000_000;
    const START: i64 = 1_750_000_000;

    /// A GPU that is looked at again and again.
    #[derive(Default)]
    struct Watched {
        readings: BTreeMap<&'static str, (f64, i64)>,
        host: Option<i64>,
        memory: Vec<Remembered>,
    }

    impl Watched {
        /// These readings arrive at this second, and the clock says the same; what is told.
        fn look(&mut self, second: i64, readings: &[(&'static str, f64)]) -> Vec<News> {
            self.readings.extend(readings.iter().map(|(name, value)| (*name, (*value, second))));
            self.host = Some(second);
            let time = |second: i64| Timestamp((START + second) * SECOND);
            let reading = |vital: Vital| self.readings.get(vital.name()).map(|(value, second)| (*value, time(*second)));
            let last_seen = self.readings.values().map(|(_, second)| time(*second)).max();
            let vitals = Vitals { last_seen, host_last_seen: self.host.map(time), reading: &reading };
            let thresholds = Thresholds::default();
            let found = examine(&vitals, time(second), &thresholds);
            let Progress { remembered, news } = progress(&self.memory, found, &vitals, time(second), &thresholds);
            self.memory = remembered;
            news
        }

        fn kinds(&mut self, second: i64, readings: &[(&'static str, f64)]) -> Vec<(EventKind, Severity)> {
            self.look(second, readings).into_iter().map(|news| (news.kind, news.severity)).collect()
        }
    }

    const NOTHING: [(EventKind, Severity); 0] = [];
    const RECOVERED: (EventKind, Severity) = (EventKind::Recovered, Severity::Notice);
    const MISSING: (EventKind, Severity) = (EventKind::Missing, Severity::Critical);
    const STALE: (EventKind, Severity) = (EventKind::Stale, Severity::Warning);

    fn xid(severity: Severity) -> (EventKind, Severity) {
        (EventKind::Xid, severity)
    }

    #[test]
    fn a_code_that_stays_is_one_event_and_the_same_code_again_is_another() {
        let mut gpu = Watched::default();
        assert_eq!(gpu.kinds(0, &[("xid", 79.0)]), [xid(Severity::Critical)]);
        assert_eq!(gpu.kinds(30, &[("xid", 79.0)]), NOTHING);
        let over = gpu.look(60, &[("xid", 0.0)]);
        assert_eq!((over.len(), over[0].kind, over[0].condition), (1, EventKind::Recovered, Some(Condition::Sick)));
        assert_eq!(over[0].detail, "XID 79 is over: the GPU reports 0");
        assert_eq!((over[0].code, over[0].since.0), (Some(79), START * SECOND));
        let again = gpu.look(90, &[("xid", 79.0)]);
        assert_eq!((again.len(), again[0].since.0), (1, (START + 90) * SECOND));
    }

    #[test]
    fn a_code_that_is_left_out_is_over() {
        let mut gpu = Watched::default();
        gpu.look(0, &[("xid", 79.0), ("power_watts", 90.0)]);
        assert_eq!(gpu.kinds(180, &[("power_watts", 90.0)]), NOTHING);
        let over = gpu.look(181, &[("power_watts", 90.0)]);
        assert_eq!(over[0].detail, "XID 79 is no longer reported");
        assert_eq!(gpu.kinds(210, &[("xid", 79.0)]), [xid(Severity::Critical)]);
    }

    #[test]
    fn another_code_is_another_event() {
        let mut gpu = Watched::default();
        gpu.look(0, &[("xid", 79.0)]);
        assert_eq!(gpu.kinds(30, &[("xid", 48.0)]), [xid(Severity::Critical)], "and still sick");
        assert_eq!(gpu.kinds(60, &[("xid", 13.0)]), [RECOVERED, xid(Severity::Warning)]);
        let information = gpu.look(90, &[("xid", 43.0)]);
        assert_eq!((information[0].severity, information[0].condition), (Severity::Notice, None));
        assert_eq!(gpu.kinds(120, &[("xid", 0.0)]), NOTHING, "nobody was told that the GPU is sick");
    }

    #[test]
    fn more_ecc_errors_are_news_and_fewer_are_a_reloaded_driver() {
        let mut gpu = Watched::default();
        let ecc = (EventKind::Ecc, Severity::Critical);
        assert_eq!(gpu.kinds(0, &[("ecc_dbe_volatile", 2.0)]), [ecc]);
        assert_eq!(gpu.kinds(30, &[("ecc_dbe_volatile", 2.0)]), NOTHING);
        let more = gpu.look(60, &[("ecc_dbe_volatile", 5.0)]);
        assert_eq!((more[0].code, more[0].since.0), (Some(5), START * SECOND));
        assert_eq!(more[0].detail, "5 double-bit ECC errors since the driver was loaded, 3 more than before");
        assert_eq!(gpu.kinds(90, &[("ecc_dbe_volatile", 1.0)]), NOTHING);
        assert_eq!(gpu.kinds(120, &[("ecc_dbe_volatile", 2.0)]), [ecc]);
        assert_eq!(gpu.kinds(150, &[("ecc_dbe_volatile", 0.0)]), [RECOVERED]);
    }

    #[test]
    fn heat_is_told_when_it_lasts_and_once_more_when_it_is_critical() {
        let mut gpu = Watched::default();
        let hot = |severity| (EventKind::Hot, severity);
        assert_eq!(gpu.kinds(0, &[("temperature_celsius", 82.0)]), NOTHING);
        assert_eq!(gpu.kinds(299, &[("temperature_celsius", 82.0)]), NOTHING);
        let told = gpu.look(300, &[("temperature_celsius", 83.0)]);
        assert_eq!((told.len(), told[0].detail.as_str()), (1, "83 °C, above 80 °C for 5m"));
        assert_eq!(gpu.kinds(310, &[("temperature_celsius", 86.0)]), NOTHING);
        assert_eq!(gpu.kinds(370, &[("temperature_celsius", 86.0)]), [hot(Severity::Critical)]);
        assert_eq!(gpu.kinds(380, &[("temperature_celsius", 84.0)]), NOTHING, "still hot");
        let over = gpu.look(390, &[("temperature_celsius", 80.0)]);
        assert_eq!((over[0].kind, over[0].since.0), (EventKind::Recovered, START * SECOND));
        assert_eq!(over[0].detail, "80 °C, no longer above 80 °C");
        assert_eq!(gpu.kinds(400, &[("temperature_celsius", 82.0)]), NOTHING);
        assert_eq!(
            gpu.kinds(410, &[("temperature_celsius", 79.0)]),
            NOTHING,
            "too short to be told, so nothing to end"
        );
    }

    #[test]
    fn who_knows_that_it_is_very_hot_knows_that_it_is_hot() {
        let mut gpu = Watched::default();
        gpu.look(0, &[("temperature_celsius", 90.0)]);
        assert_eq!(gpu.kinds(60, &[("temperature_celsius", 90.0)]), [(EventKind::Hot, Severity::Critical)]);
        assert_eq!(gpu.kinds(300, &[("temperature_celsius", 90.0)]), NOTHING);
        assert_eq!(gpu.kinds(310, &[("temperature_celsius", 84.0)]), NOTHING);
        assert_eq!(gpu.kinds(320, &[("temperature_celsius", 70.0)]), [RECOVERED]);
        let mut late = Watched::default();
        late.look(0, &[("temperature_celsius", 90.0)]);
        assert_eq!(late.kinds(300, &[("temperature_celsius", 90.0)]).len(), 1, "both are due at the same look");
    }

    #[test]
    fn a_gpu_that_is_gone_is_missing_until_it_is_back() {
        let mut gpu = Watched::default();
        gpu.look(0, &[("power_watts", 90.0)]);
        assert_eq!(gpu.kinds(300, &[]), NOTHING);
        assert_eq!(gpu.kinds(301, &[]), [MISSING, STALE]);
        assert_eq!(gpu.kinds(400, &[]), NOTHING);
        assert_eq!(gpu.kinds(500, &[("power_watts", 90.0)]), [RECOVERED, RECOVERED]);
        assert_eq!(gpu.memory, []);
    }

    #[test]
    fn a_place_that_never_reported_is_missing_since_it_was_noticed() {
        let mut place = Watched::default();
        let told = place.look(0, &[]);
        assert_eq!(
            (told[0].kind, told[0].detail.as_str()),
            (EventKind::Missing, "never reported, while its host does")
        );
        assert_eq!(place.kinds(30, &[]), NOTHING);
        assert_eq!(place.memory[0].sign.since.0, START * SECOND);
        assert_eq!(place.kinds(60, &[("power_watts", 90.0)]), [RECOVERED]);
    }

    #[test]
    fn only_what_matters_is_worth_storing() {
        let sign = |kind, value, seen| Sign { kind, since: Timestamp(0), seen: Timestamp(seen), value };
        let held = |kind, value, seen| Remembered { sign: sign(kind, value, seen), announced: false };
        assert!(!held(SignKind::Hot, 81.0, 2).differs_from(&held(SignKind::Hot, 82.0, 1)));
        assert!(held(SignKind::DoubleBitEcc, 3.0, 2).differs_from(&held(SignKind::DoubleBitEcc, 2.0, 1)));
        assert!(Remembered { announced: true, ..held(SignKind::Hot, 81.0, 1) }.differs_from(&held(
            SignKind::Hot,
            81.0,
            1
        )));
    }

    proptest! {
        /// Whatever a GPU reports: what is told to begin is told to end, once, and looking twice tells nothing twice.
        #[test]
        fn told_conditions_end_once(looks in prop::collection::vec((1..200i64, 0..7usize, 0..3i32), 1..60)) {
            let mut gpu = Watched::default();
            let mut open = BTreeMap::<Condition, bool>::new();
            let mut second = 0;
            for (pause, metric, level) in looks {
                second += pause;
                let (name, levels) = [
                    ("xid", [0.0, 79.0, 13.0]), ("ecc_dbe_volatile", [0.0, 1.0, 4.0]),
                    ("temperature_celsius", [60.0, 82.0, 90.0]), ("clock_event_reasons", [0.0, 8.0, 0.0]),
                    ("gpu_utilization", [0.0, 50.0, 0.0]), ("memory_used_mib", [0.0, 4096.0, 4096.0]),
                    ("row_remap_pending", [0.0, 1.0, 0.0]),
                ][metric];
                let value = levels[usize::try_from(level).unwrap()];
                for news in gpu.look(second, &[(name, value)]) {
                    let Some(condition) = news.condition else { continue };
                    let is_open = open.entry(condition).or_default();
                    if news.kind == EventKind::Recovered {
                        prop_assert!(*is_open, "{condition} ended twice or had not been told");
                        prop_assert!(gpu.memory.iter().all(|held| held.sign.condition() != Some(condition)));
                    }
                    *is_open = news.kind != EventKind::Recovered;
                }
                prop_assert_eq!(gpu.look(second, &[(name, value)]), vec![]);
                for (condition, is_open) in &open {
                    let holds = gpu.memory.iter().any(|held| held.announced && held.sign.condition() == Some(*condition));
                    prop_assert_eq!(holds, *is_open, "{}", condition);
                }
            }
        }
    }
}
