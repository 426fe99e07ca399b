//! Figures from measurements (pure).

use serde::{Deserialize, Serialize};

use crate::operator::table::count;

/// How durations are spread, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Spread {
    /// How many were measured.
    pub(super) count: usize,
    pub(super) p50_ms: f64,
    pub(super) p95_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) max_ms: f64,
}

impl Spread {
    /// Of these microseconds; `None` where nothing was measured.
    pub(super) fn of(mut micros: Vec<i64>) -> Option<Self> {
        micros.sort_unstable();
        let at = |share: f64| {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
            let rank = ((micros.len() as f64 * share).ceil() as usize).clamp(1, micros.len());
            milliseconds(micros[rank - 1])
        };
        if micros.is_empty() {
            return None;
        }
        Some(Spread { count: micros.len(), p50_ms: at(0.5), p95_ms: at(0.95), p99_ms: at(0.99), max_ms: at(1.0) })
    }
}

#[allow(clippy::cast_precision_loss)] // durations
fn milliseconds(micros: i64) -> f64 {
    (micros as f64 / 10.0).round() / 100.0
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Spread { count, p50_ms, p95_ms, p99_ms, max_ms } = self;
        write!(f, "{count:>9}  {p50_ms:>9.2}  {p95_ms:>9.2}  {p99_ms:>9.2}  {max_ms:>9.2}")
    }
}

/// The heading over [`Spread`]'s columns.
pub(super) const HEADING: &str = "    count     p50 ms     p95 ms     p99 ms     max ms";

/// The same thing measured several times.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Several {
    /// The one in the middle; of an even number the mean of the two there.
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) times: usize,
}

impl Several {
    /// `None` where nothing was measured.
    pub(super) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_unstable_by(f64::total_cmp);
        let (min, max, half) = (*values.first()?, *values.last()?, values.len() / 2);
        let median = if values.len() % 2 == 1 { values[half] } else { f64::midpoint(values[half - 1], values[half]) };
        Some(Several { median: rounded(median), min: rounded(min), max: rounded(max), times: values.len() })
    }
}

/// Two digits behind the point: more is noise.
pub(super) fn rounded(figure: f64) -> f64 {
    (figure * 100.0).round() / 100.0
}

/// As people read it: thousands apart, and no more digits than a measurement has.
pub(super) fn grouped(figure: f64) -> String {
    let digits = match figure.abs() {
        large if large >= 100.0 => 0,
        some if some >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{figure:.digits$}");
    let (whole, rest) = text.split_once('.').map_or((text.as_str(), ""), |(whole, rest)| (whole, rest));
    let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |whole| ("-", whole));
    // What is no number (inf, NaN) stays as it is.
    let apart = whole.parse::<u64>().map_or_else(|_| whole.to_owned(), count);
    let rest = rest.trim_end_matches('0');
    format!("{sign}{apart}{}{rest}", if rest.is_empty() { "" } else { "." })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_measured_values() {
        let spread = Spread::of((1..=200).rev().map(|ms| ms * 1_000).collect()).unwrap();
        assert_eq!((spread.count, spread.p50_ms, spread.p99_ms, spread.max_ms), (200, 100.0, 198.0, 200.0));
        assert_eq!(Spread::of(vec![1_234]).unwrap().p50_ms, 1.23);
        assert_eq!(Spread::of(Vec::new()), None);
    }

    #[test]
    fn the_median_is_in_the_middle() {
        let several = |values: &[f64]| Several::of(values.to_vec()).map(|of| (of.median, of.min, of.max, of.times));
        assert_eq!(several(&[9.0, 1.0, 2.0]), Some((2.0, 1.0, 9.0, 3)));
        assert_eq!(several(&[4.0, 1.0, 2.0, 9.0]), Some((3.0, 1.0, 9.0, 4)));
        assert_eq!(several(&[]), None);
    }

    #[test]
    fn figures_are_readable() {
        let read = [0.0, 0.125, 9.5, 12.34, 999.6, 1_234_567.0, -1_234.0].map(grouped);
        assert_eq!(read, ["0", "0.12", "9.5", "12.3", "1,000", "1,234,567", "-1,234"]);
    }
}
