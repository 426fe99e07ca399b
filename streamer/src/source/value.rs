//! What a cell says of a metric: a number, nothing, or something else.

use nexus_common::domain::Metric;

/// The number in a cell, in the metric's unit; `None` when it was asked for and not reported.
///
/// `unit` is what the column's header says the numbers are in; a unit in the cell itself comes first.
pub(crate) fn read(text: &str, metric: &Metric, unit: Option<&str>) -> Result<Option<f64>, String> {
    let (number, own_unit) = match number(text) {
        Some(number) => (number, None),
        None if is_absent(text) => return Ok(None),
        None => with_unit(text, metric).ok_or_else(|| format!("{}: {} is not a number", metric.name(), quote(text)))?,
    };
    if is_blank(number) {
        return Ok(None);
    }
    let number = match own_unit.or(unit) {
        Some(unit) => number * factor(unit, metric)?,
        None => number,
    };
    match metric.refusal(number) {
        Some(reason) => Err(reason),
        None => Ok(Some(number)),
    }
}

/// What a number in this unit is multiplied with to be in the metric's.
pub(crate) fn factor(unit: &str, metric: &Metric) -> Result<f64, String> {
    // Of a metric outside the catalogue only the source knows the unit.
    let Some(definition) = metric.definition() else { return Ok(1.0) };
    let factor = match (definition.unit, unit) {
        (own, unit) if own == unit => 1.0,
        // NVIDIA's tools write MB for MiB here and there.
        ("MiB", "MB") | ("°C", "C") => 1.0,
        ("MiB", "B" | "bytes") => 1.0 / 1_048_576.0,
        ("MiB", "KiB" | "KB" | "kB") => 1.0 / 1024.0,
        ("MiB", "GiB" | "GB") => 1024.0,
        ("W", "mW") | ("MHz", "kHz" | "KHz") => 0.001,
        ("W", "kW") | ("MHz", "GHz") | ("mJ", "J") => 1000.0,
        ("mJ", "kJ") => 1e6,
        ("ratio", "%") => 0.01,
        ("%", "ratio") => 100.0,
        ("B/s", "KB/s" | "kB/s") => 1e3,
        ("B/s", "MB/s") => 1e6,
        (own, _) => return Err(format!("{}: {} where {own:?} is expected", definition.name, quote(unit))),
    };
    Ok(factor)
}

/// A plain number, `0x…`, or what `nvidia-smi` prints for a switch.
pub(crate) fn number(text: &str) -> Option<f64> {
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    match hex {
        // Masks and counters stay far below 2^53, where every integer is a float.
        #[allow(clippy::cast_precision_loss)]
        Some(hex) => u64::from_str_radix(hex, 16).ok().map(|mask| mask as f64),
        None if text == "Not Active" => Some(0.0),
        None if text == "Active" => Some(1.0),
        None => None,
    }
}

/// Whether a number's cell says that there is nothing to say: empty, `N/A`, or any bracketed answer of `nvidia-smi`,
/// of which there are many (`[GPU requires reset]`).
fn is_absent(text: &str) -> bool {
    (text.starts_with('[') && text.ends_with(']')) || is_nameless(text)
}

/// Whether a name's cell holds no name.
pub(crate) fn is_nameless(text: &str) -> bool {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let words = ["N/A", "nan", "null", "none", "-", "Not Supported", "Unknown Error"];
    text.is_empty() || words.iter().any(|word| word.eq_ignore_ascii_case(bare))
}

/// DCGM's blanks: the top of int64, int32 and of its own floats, with the reason in the last bits.
fn is_blank(number: f64) -> bool {
    number.is_nan()
        || number == 9_223_372_036_854_775_808.0
        || (2_147_483_632.0..=2_147_483_635.0).contains(&number)
        || (140_737_488_355_328.0..=140_737_488_355_331.0).contains(&number)
}

/// `45 %`, `12345 MiB`; and `P0` for a performance state.
fn with_unit<'a>(text: &'a str, metric: &Metric) -> Option<(f64, Option<&'a str>)> {
    if metric.name() == "performance_state" {
        let state = text.strip_prefix(['P', 'p'])?;
        return state.parse::<u8>().ok().map(|state| (f64::from(state), None));
    }
    let digits = text.find(|c: char| !matches!(c, '0'..='9' | '.' | '-' | '+')).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_ascii();
    Some((number.parse().ok()?, (!unit.is_empty()).then_some(unit)))
}

/// A cell as a reason shows it: in quotes, and not longer than a line.
pub(crate) fn quote(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((cut, _)) => format!("{:?}…", &text[..cut]),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(metric: &str, text: &str) -> Result<Option<f64>, String> {
        read(text, &Metric::named(metric), None)
    }

    #[test]
    fn numbers_are_read_as_sources_write_them() {
        assert_eq!(of("power_watts", "71.23"), Ok(Some(71.23)));
        assert_eq!(of("power_watts", "71.23 W"), Ok(Some(71.23)));
        assert_eq!(of("power_watts", "71230 mW"), Ok(Some(71.23)));
        assert_eq!(of("gpu_utilization", "45 %"), Ok(Some(45.0)));
        assert_eq!(of("gpu_utilization", "45%"), Ok(Some(45.0)));
        assert_eq!(of("memory_used_mib", "12345 MiB"), Ok(Some(12345.0)));
        assert_eq!(of("memory_used_mib", "2 GiB"), Ok(Some(2048.0)));
        assert_eq!(of("sm_clock_mhz", "1980 MHz"), Ok(Some(1980.0)));
        assert_eq!(of("performance_state", "P8"), Ok(Some(8.0)));
        assert_eq!(of("clock_event_reasons", "0x0000000000000004"), Ok(Some(4.0)));
        assert_eq!(of("sm_active", "8.5e-1"), Ok(Some(0.85)));
        assert_eq!(of("something.new", "7 furlongs"), Ok(Some(7.0)));
        assert_eq!(read("2048", &Metric::named("memory_used_mib"), Some("KiB")), Ok(Some(2.0)));
        assert_eq!(read("3 MiB", &Metric::named("memory_used_mib"), Some("KiB")), Ok(Some(3.0)));
    }

    #[test]
    fn blanks_are_absent() {
        let blanks = [
            "",
            "nan",
            "NaN",
            "N/A",
            "[N/A]",
            "[Not Supported]",
            "[GPU requires reset]",
            "9223372036854775792",
            "9223372036854775795",
            "9.223372036854775808e18",
            "2147483632",
            "2147483635",
            "140737488355328",
            "140737488355331.0",
        ];
        for text in blanks {
            assert_eq!(of("memory_used_mib", text), Ok(None), "{text}");
        }
        assert_eq!(of("memory_used_mib", "2147483636"), Ok(Some(2_147_483_636.0)));
    }

    #[test]
    fn a_bracketed_name_is_a_name() {
        assert!(!is_nameless("[::1]") && !is_nameless("pod-0"));
        assert!(is_nameless("") && is_nameless("[N/A]") && is_nameless("None"));
    }

    #[test]
    fn what_cannot_be_true_is_refused_by_name() {
        for (metric, text, reason) in [
            ("gpu_utilization", "101", "gpu_utilization: 101 is outside 0 to 100"),
            ("gpu_utilization", "busy", "gpu_utilization: \"busy\" is not a number"),
            ("temperature_celsius", "80 F", "temperature_celsius: \"F\" where \"°C\" is expected"),
            ("power_watts", "inf", "power_watts: inf is not a finite number"),
            ("something.new", "1e999", "something.new: inf is not a finite number"),
            ("performance_state", "P", "performance_state: \"P\" is not a number"),
        ] {
            assert_eq!(of(metric, text), Err(reason.to_owned()));
        }
        assert!(of("xid", &"x".repeat(100_000)).unwrap_err().len() < 200);
    }

    proptest! {
        #[test]
        fn a_value_is_finite_or_not_there(text in "[-+0-9.eExXP %A-z\\[\\]]{0,30}|\\PC{0,30}") {
            if let Ok(Some(number)) = of("gpu_utilization", &text) {
                prop_assert!((0.0..=100.0).contains(&number));
            }
        }
    }
}
