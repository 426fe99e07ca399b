//! Which columns of the catalogue samples have values in. Hardly any GPU reports all of it, and a column costs PostgreSQL and
//! the gateway something though it is empty: some thirty of them about half of what ten values do.
//!
//! A statement may leave out what was never seen, where each row says whether it has more than it was asked for
//! ([`Metrics::more`]): then all is read, and what was in it is seen from then on.

use std::sync::atomic::{AtomicU64, Ordering};

use nexus_common::domain::{CATALOGUE, Metric};

use super::Metrics;

const _: () = assert!(CATALOGUE.len() <= u64::BITS as usize, "one bit for each metric");

/// A bit for each metric of the catalogue that some answer had a value of.
#[derive(Debug, Default)]
pub(super) struct Seen(AtomicU64);

impl Seen {
    /// Those of all metrics that were seen. `None` where some were chosen, nothing was seen, or nothing would be left out.
    pub(super) fn of(&self, metrics: &Metrics) -> Option<Metrics> {
        let bits = self.0.load(Ordering::Relaxed);
        let seen = (0u8..).take(CATALOGUE.len()).filter(|index| bits & (1 << index) != 0);
        metrics.among(seen.collect()).filter(|_| bits != 0)
    }

    /// These were in an answer.
    pub(super) fn note<'a>(&self, metrics: impl Iterator<Item = &'a Metric>) {
        let bit = |metric: &Metric| match metric {
            Metric::Known(index) => 1 << index,
            Metric::Other(_) => 0,
        };
        let bits = metrics.map(bit).fold(0, |bits, bit| bits | bit);
        if self.0.load(Ordering::Relaxed) & bits != bits {
            self.0.fetch_or(bits, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_in_an_answer_is_seen() {
        let (seen, all) = (Seen::default(), Metrics::default());
        let names = |metrics: Metrics| metrics.columns(" ", str::to_owned);
        assert_eq!(seen.of(&all), None, "nothing is known yet");
        seen.note(["power_watts", "job_slots"].map(Metric::named).iter());
        assert_eq!(seen.of(&all).map(names).as_deref(), Some("power_watts"));
        seen.note(["xid", "gpu_utilization"].map(Metric::named).iter());
        assert_eq!(seen.of(&all).map(names).as_deref(), Some("gpu_utilization power_watts xid"));
        assert_eq!(seen.of(&Metrics::known_by(&["xid"])), None, "chosen ones are read as they are");
        let every: Vec<_> = CATALOGUE.iter().map(|metric| Metric::named(metric.name)).collect();
        seen.note(every.iter());
        assert_eq!(seen.of(&all), None, "nothing is left to leave out");
    }
}
