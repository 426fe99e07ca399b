//! Reasons: what speaks for a condition, in one word of a small closed vocabulary, for labels of metrics and for rules that
//! go by them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::sign::protecting;
use super::{Condition, Severity, Sign, SignKind, Thresholds, xid};

/// A reason that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// The condition it speaks for. None: an XID that asks nothing of whoever runs the GPU.
    pub condition: Option<Condition>,
    /// How much it matters by itself.
    pub severity: Severity,
    /// `xid_79` for every code that is known and `xid_other` for any other, `ecc_double_bit`, `row_remap_failure`,
    /// `row_remap_pending`, `temperature`, `hardware_thermal`, `software_thermal`, `power_brake`, `hardware_slowdown`,
    /// `idle_allocated`, `missing`, `stale`.
    pub word: Cow<'static, str>,
}

/// Says why: each reason once, as severe as the most severe sign of it, by word. A sign can have several reasons (a mask
/// with two bits), and two signs one (a temperature above both bounds).
pub fn reasons(signs: &[Sign], thresholds: &Thresholds) -> Vec<Reason> {
    let mut found = BTreeMap::<Cow<'static, str>, Reason>::new();
    for sign in signs {
        let (condition, severity) = (sign.condition(), sign.severity(thresholds));
        for word in words(sign) {
            let reason = found.entry(word.clone()).or_insert(Reason { condition, severity, word });
            reason.severity = reason.severity.max(severity);
        }
    }
    found.into_values().collect()
}

fn words(sign: &Sign) -> Vec<Cow<'static, str>> {
    let word = match sign.kind {
        SignKind::Xid => match xid::known(sign.code()) {
            Some(entry) => return vec![format!("xid_{}", entry.code).into()],
            None => "xid_other",
        },
        SignKind::DoubleBitEcc => "ecc_double_bit",
        SignKind::RowRemapFailure => "row_remap_failure",
        SignKind::RowRemapPending => "row_remap_pending",
        SignKind::Hot | SignKind::VeryHot => "temperature",
        SignKind::Throttled => return slowdowns(sign.value),
        SignKind::IdleAllocated => "idle_allocated",
        SignKind::Missing => "missing",
        SignKind::Stale => "stale",
    };
    vec![word.into()]
}

/// The words of a clock event mask. The hardware says that it slows down, and with another bit why: the first is a reason
/// only where the second is not given.
fn slowdowns(mask: f64) -> Vec<Cow<'static, str>> {
    let bits: Vec<i64> = protecting(mask).into_iter().map(|(bit, _)| bit).collect();
    let told = bits.iter().any(|bit| matches!(bit, 0x40 | 0x80));
    let word = |bit: &i64| match bit {
        0x20 => Some("software_thermal"),
        0x40 => Some("hardware_thermal"),
        0x80 => Some("power_brake"),
        _ if told => None,
        _ => Some("hardware_slowdown"),
    };
    bits.iter().filter_map(word).map(Cow::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Timestamp;

    const START: Timestamp = Timestamp(1_750_000_000_000_000);

    fn found(signs: &[(SignKind, f64, i64)]) -> Vec<(Option<Condition>, Severity, String)> {
        let sign = |&(kind, value, seconds): &(_, _, i64)| Sign {
            kind,
            since: START,
            seen: START.shifted(seconds * 1_000_000),
            value,
        };
        let signs: Vec<_> = signs.iter().map(sign).collect();
        let reasons = reasons(&signs, &Thresholds::default());
        reasons.into_iter().map(|reason| (reason.condition, reason.severity, reason.word.into_owned())).collect()
    }

    #[test]
    fn a_sick_gpu_has_a_reason_for_each_fact() {
        use Severity::{Critical, Warning};
        let sick = |severity, word: &str| (Some(Condition::Sick), severity, word.to_owned());
        let signs = [(SignKind::Xid, 79.0, 0), (SignKind::DoubleBitEcc, 2.0, 0), (SignKind::RowRemapPending, 1.0, 0)];
        let expected = [sick(Critical, "ecc_double_bit"), sick(Warning, "row_remap_pending"), sick(Critical, "xid_79")];
        assert_eq!(found(&signs), expected);
        assert_eq!(found(&[(SignKind::RowRemapFailure, 1.0, 0)]), [sick(Critical, "row_remap_failure")]);
    }

    #[test]
    fn a_code_nobody_knows_adds_no_word() {
        assert_eq!(found(&[(SignKind::Xid, 31.0, 0)]), [(None, Severity::Warning, "xid_31".into())]);
        for code in [9999.0, 1e300] {
            assert_eq!(found(&[(SignKind::Xid, code, 0)]), [(None, Severity::Warning, "xid_other".into())]);
        }
    }

    #[test]
    fn heat_is_one_reason_and_its_severity_the_highest() {
        let severity = |signs: &[_]| match &found(signs)[..] {
            [(Some(Condition::Hot), severity, word)] if word == "temperature" => *severity,
            other => panic!("{other:?}"),
        };
        assert_eq!(severity(&[(SignKind::Hot, 86.0, 299), (SignKind::VeryHot, 86.0, 59)]), Severity::Notice);
        assert_eq!(severity(&[(SignKind::Hot, 86.0, 300), (SignKind::VeryHot, 86.0, 59)]), Severity::Warning);
        assert_eq!(severity(&[(SignKind::Hot, 86.0, 60), (SignKind::VeryHot, 86.0, 60)]), Severity::Critical);
    }

    #[test]
    fn a_mask_is_told_bit_by_bit_and_the_hardware_without_a_reason_alone() {
        for (mask, expected) in [
            (0x8, &["hardware_slowdown"][..]),
            (0x48, &["hardware_thermal"]),
            (0xe8, &["hardware_thermal", "power_brake", "software_thermal"]),
            (0x28, &["hardware_slowdown", "software_thermal"]),
        ] {
            let words: Vec<_> =
                found(&[(SignKind::Throttled, f64::from(mask), 0)]).into_iter().map(|found| found.2).collect();
            assert_eq!(words, expected, "{mask:#x}");
        }
    }
}
