//! Figures from measurements (pure).

use serde::Serialize;

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
}
