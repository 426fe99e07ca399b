//! Findings: what the signs of a GPU come to.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::{Condition, Severity, Sign, SignKind, Thresholds, evidence, xid};
use crate::domain::Timestamp;

/// A condition that holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// Which.
    pub condition: Condition,
    /// How much it matters; it rises with the time it holds.
    pub severity: Severity,
    /// Since when, by the data; RFC 3339 when written.
    #[serde(serialize_with = "rfc3339")]
    pub since: Timestamp,
    /// What shows it, in words with figures and units.
    pub evidence: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn rfc3339<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

impl Sign {
    /// The condition it speaks for. None: an XID that asks nothing of whoever runs the GPU.
    pub(super) fn condition(&self) -> Option<Condition> {
        match self.kind {
            SignKind::Xid => xid::is_sick(self.code()).then_some(Condition::Sick),
            SignKind::DoubleBitEcc | SignKind::RowRemapFailure | SignKind::RowRemapPending => Some(Condition::Sick),
            SignKind::Hot | SignKind::VeryHot => Some(Condition::Hot),
            SignKind::Throttled => Some(Condition::Throttled),
            SignKind::IdleAllocated => Some(Condition::IdleAllocated),
            SignKind::Missing => Some(Condition::Missing),
            SignKind::Stale => Some(Condition::Stale),
        }
    }

    /// How much it matters by itself.
    pub(super) fn severity(&self, thresholds: &Thresholds) -> Severity {
        let once_held = |length, then| if self.held_for() >= length { then } else { Severity::Notice };
        match self.kind {
            SignKind::Xid => xid::severity(self.code()),
            SignKind::DoubleBitEcc | SignKind::RowRemapFailure | SignKind::Missing => Severity::Critical,
            SignKind::RowRemapPending | SignKind::Throttled | SignKind::Stale => Severity::Warning,
            SignKind::Hot => once_held(thresholds.hot_for, Severity::Warning),
            SignKind::VeryHot => once_held(thresholds.critical_for, Severity::Critical),
            SignKind::IdleAllocated => once_held(thresholds.idle_for, Severity::Warning),
        }
    }
}

/// Sums signs up: one finding per condition, in the order of [`Condition`]. It is as severe as its most severe sign and
/// has held since its oldest.
pub fn diagnose(signs: &[Sign], thresholds: &Thresholds) -> Vec<Finding> {
    let mut by_condition = BTreeMap::<Condition, Vec<&Sign>>::new();
    for sign in signs {
        if let Some(condition) = sign.condition() {
            by_condition.entry(condition).or_default().push(sign);
        }
    }
    by_condition.into_iter().filter_map(|(condition, signs)| sum_up(condition, signs, thresholds)).collect()
}

fn sum_up(condition: Condition, mut signs: Vec<&Sign>, thresholds: &Thresholds) -> Option<Finding> {
    let severity = signs.iter().map(|sign| sign.severity(thresholds)).max()?;
    let since = signs.iter().map(|sign| sign.since).min()?;
    signs.sort_by_key(|sign| std::cmp::Reverse((sign.severity(thresholds), sign.kind == SignKind::VeryHot)));
    // Of one temperature the bound that matters most is told; the signs of a sick GPU are facts of their own.
    if condition == Condition::Hot {
        signs.truncate(1);
    }
    let words: Vec<_> = signs.into_iter().map(|sign| evidence::of(sign, thresholds)).collect();
    Some(Finding { condition, severity, since, evidence: words.join("; ") })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: i64 = 1_000_000;
    const START: Timestamp = Timestamp(1_750_000_000 * SECOND);

    fn held(kind: SignKind, value: f64, seconds: i64) -> Sign {
        Sign { kind, since: START, seen: START.shifted(seconds * SECOND), value }
    }

    fn found(signs: &[Sign]) -> Vec<(Condition, Severity, String)> {
        let findings = diagnose(signs, &Thresholds::default());
        findings.into_iter().map(|finding| (finding.condition, finding.severity, finding.evidence)).collect()
    }

    fn hot(celsius: f64, above_80: i64, above_85: Option<i64>) -> (Severity, String) {
        let mut signs = vec![held(SignKind::Hot, celsius, above_80)];
        signs.extend(above_85.map(|seconds| held(SignKind::VeryHot, celsius, seconds)));
        let [(Condition::Hot, severity, evidence)] = &found(&signs)[..] else { panic!("not one") };
        (*severity, evidence.clone())
    }

    #[test]
    fn heat_matters_by_its_time() {
        assert_eq!(hot(81.0, 0, None), (Severity::Notice, "81 °C, above 80 °C".into()));
        assert_eq!(hot(81.0, 299, None), (Severity::Notice, "81 °C, above 80 °C for 4m 59s".into()));
        assert_eq!(hot(81.5, 300, None), (Severity::Warning, "81.5 °C, above 80 °C for 5m".into()));
        assert_eq!(hot(86.0, 59, Some(59)), (Severity::Notice, "86 °C, above 85 °C for 59s".into()));
        assert_eq!(hot(86.0, 300, Some(59)), (Severity::Warning, "86 °C, above 80 °C for 5m".into()));
        assert_eq!(hot(86.0, 300, Some(120)), (Severity::Critical, "86 °C, above 85 °C for 2m".into()));
    }

    #[test]
    fn a_sick_gpu_tells_all_that_is_wrong() {
        let signs = [
            held(SignKind::Xid, 79.0, 0),
            held(SignKind::DoubleBitEcc, 1.0, 0),
            held(SignKind::RowRemapPending, 1.0, 0),
        ];
        let words = "XID 79 (GPU has fallen off the bus): reboot the host; 1 double-bit ECC error since the driver was \
                     loaded; a row remap waits for a reset of the GPU";
        assert_eq!(found(&signs), [(Condition::Sick, Severity::Critical, words.into())]);
        assert_eq!(found(&signs[2..])[0].1, Severity::Warning);
    }

    #[test]
    fn an_application_that_crashed_makes_no_gpu_sick() {
        for code in [13.0, 43.0, 9999.0] {
            assert_eq!(found(&[held(SignKind::Xid, code, 0)]), []);
        }
    }

    #[test]
    fn the_others_speak_for_themselves() {
        let signs = [
            held(SignKind::Stale, 360.0, 360),
            held(SignKind::Missing, 0.0, 0),
            held(SignKind::IdleAllocated, 4096.0, 1800),
            held(SignKind::Throttled, f64::from(0x40 | 0x4), 0),
        ];
        let expected = [
            (Condition::Throttled, Severity::Warning, "clocks held back: hardware thermal slowdown (0x40)"),
            (Condition::IdleAllocated, Severity::Warning, "0 % utilisation with 4096 MiB of memory held for 30m"),
            (Condition::Missing, Severity::Critical, "never reported, while its host does"),
            (Condition::Stale, Severity::Warning, "no new value for longer than 5m"),
        ];
        assert_eq!(found(&signs), expected.map(|(condition, severity, words)| (condition, severity, words.to_owned())));
        assert_eq!(found(&[held(SignKind::Missing, 301.0, 301)])[0].2, "no value for 5m 1s, while its host goes on");
    }

    #[test]
    fn a_finding_is_written_with_its_time() {
        let findings = diagnose(&[held(SignKind::Xid, 79.0, 0)], &Thresholds::default());
        let json = serde_json::to_value(&findings).unwrap();
        assert_eq!(
            (json[0]["since"].as_str(), json[0]["severity"].as_str()),
            (Some("2025-06-15T15:06:40Z"), Some("critical"))
        );
    }

    proptest! {
        #[test]
        fn severity_never_falls_as_time_goes(
            signs in prop::collection::vec((0..SignKind::ALL.len(), 0..4000i64, 0..130i32), 0..8),
            older in 0..4000i64,
        ) {
            let sign = |kind: usize, length: i64, value: i32| held(SignKind::ALL[kind], f64::from(value), length);
            let young: Vec<_> = signs.iter().map(|(kind, length, value)| sign(*kind, *length, *value)).collect();
            let old: Vec<_> = young.iter().map(|sign| Sign { since: sign.since.shifted(-older * SECOND), ..sign.clone() }).collect();
            let (young, old) = (diagnose(&young, &Thresholds::default()), diagnose(&old, &Thresholds::default()));
            prop_assert_eq!(young.len(), old.len());
            prop_assert!(young.windows(2).all(|pair| pair[0].condition < pair[1].condition));
            for (young, old) in young.iter().zip(&old) {
                prop_assert!(young.condition == old.condition && young.severity <= old.severity);
            }
        }
    }
}
