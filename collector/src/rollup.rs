//! Rolling up (pure): what the samples of a GPU came to in an hour, and in its parts: five minutes, and one.
//!
//! A question over a long time is answered from these and must have the answer that the samples have. So a summary keeps
//! whatever an aggregate of the API is made of; where two of them meet, the reader works out what lies between.

use std::collections::BTreeMap;

use nexus_common::domain::{METRICS, Sample, Timestamp};

/// In microseconds.
pub(crate) const MINUTE: i64 = 60_000_000;
/// In microseconds.
pub(crate) const FIVE: i64 = 5 * MINUTE;
/// In microseconds.
pub(crate) const HOUR: i64 = 60 * MINUTE;

/// The samples that a part has to have on the average, or the hour has none of its kind. A rollup is four times as wide as a
/// sample: parts of fewer samples would take more space than those, and be hardly quicker to read.
const WORTH: i64 = 5;

/// A GPU and the start of an hour.
pub(crate) type Due = (i32, Timestamp);

/// The values of one metric, of which there is at least one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Summary {
    pub(crate) count: i32,
    pub(crate) sum: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) first: (f64, Timestamp),
    pub(crate) last: (f64, Timestamp),
    /// What a counter grew by from the first value to the last; a fall means that it began anew, at 0.
    pub(crate) growth: f64,
}

/// What some samples of one GPU came to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rollup {
    pub(crate) samples: i32,
    /// By the catalogue's index; `None` where nobody reported the metric.
    pub(crate) metrics: [Option<Summary>; METRICS],
    /// Metrics outside the catalogue.
    pub(crate) ext: BTreeMap<String, Summary>,
}

/// An hour of one GPU with its parts.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Hour {
    whole: Rollup,
    fives: BTreeMap<Timestamp, Rollup>,
    minutes: BTreeMap<Timestamp, Rollup>,
}

/// When the hour starts that this moment lies in; hours are counted from 1970, as steps are.
pub(crate) fn hour_of(at: Timestamp) -> Timestamp {
    floor(at, HOUR)
}

fn floor(at: Timestamp, step: i64) -> Timestamp {
    Timestamp(at.0.saturating_sub(at.0.rem_euclid(step)))
}

impl Summary {
    fn of(value: f64, at: Timestamp) -> Self {
        Summary { count: 1, sum: value, min: value, max: value, first: (value, at), last: (value, at), growth: 0.0 }
    }

    fn add(&mut self, value: f64, at: Timestamp) {
        self.count += 1;
        self.sum += value;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.growth += if value >= self.last.0 { value - self.last.0 } else { value };
        self.last = (value, at);
    }

    fn is_a_number(&self) -> bool {
        self.sum.is_finite() && self.growth.is_finite()
    }
}

impl Default for Rollup {
    fn default() -> Self {
        Rollup { samples: 0, metrics: [const { None }; METRICS], ext: BTreeMap::new() }
    }
}

impl Rollup {
    fn add(&mut self, sample: &Sample) {
        let at = sample.timestamp;
        self.samples += 1;
        for (slot, value) in self.metrics.iter_mut().zip(sample.values) {
            match (slot.as_mut(), value) {
                (_, None) => {}
                (Some(summary), Some(value)) => summary.add(value, at),
                (None, Some(value)) => *slot = Some(Summary::of(value, at)),
            }
        }
        for (name, value) in &sample.ext {
            match self.ext.get_mut(name) {
                Some(summary) => summary.add(*value, at),
                None => _ = self.ext.insert(name.clone(), Summary::of(*value, at)),
            }
        }
    }
}

impl Hour {
    /// Takes in the GPU's next sample: they come in order of their times.
    pub(crate) fn add(&mut self, sample: &Sample) {
        self.whole.add(sample);
        self.fives.entry(floor(sample.timestamp, FIVE)).or_default().add(sample);
        self.minutes.entry(floor(sample.timestamp, MINUTE)).or_default().add(sample);
    }

    /// All of it.
    pub(crate) fn whole(&self) -> &Rollup {
        &self.whole
    }

    /// Five minutes at a time, where that is worth keeping.
    pub(crate) fn fives(&self) -> Option<&BTreeMap<Timestamp, Rollup>> {
        self.is_worth(FIVE).then_some(&self.fives)
    }

    /// Its minutes, where they are worth keeping.
    pub(crate) fn minutes(&self) -> Option<&BTreeMap<Timestamp, Rollup>> {
        self.is_worth(MINUTE).then_some(&self.minutes)
    }

    fn is_worth(&self, part: i64) -> bool {
        i64::from(self.whole.samples) >= WORTH * (HOUR / part)
    }

    /// A metric whose values are too large to be summed up: then the hour has no rollup, and stays on the list.
    pub(crate) fn beyond_numbers(&self) -> Option<String> {
        let known = nexus_common::domain::CATALOGUE.iter().map(|metric| metric.name).zip(&self.whole.metrics);
        let known = known.filter_map(|(name, summary)| Some((name, summary.as_ref()?)));
        let others = self.whole.ext.iter().map(|(name, summary)| (name.as_str(), summary));
        known.chain(others).find(|(_, summary)| !summary.is_a_number()).map(|(name, _)| name.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nexus_common::domain::Metric;
    use proptest::prelude::*;

    const START: Timestamp = Timestamp(1_752_868_800_000_000);

    fn sample(seconds: i64, values: &[(&str, f64)]) -> Sample {
        let mut sample = Sample::new(START.shifted(seconds * 1_000_000));
        for (name, value) in values {
            let _ = sample.set(&Metric::named(name), Some(*value));
        }
        sample
    }

    fn hour(samples: &[Sample]) -> Hour {
        let mut hour = Hour::default();
        samples.iter().for_each(|sample| hour.add(sample));
        hour
    }

    #[test]
    fn hours_are_counted_from_1970_before_it_too() {
        assert_eq!(hour_of(START.shifted(HOUR - 1)), START);
        assert_eq!(hour_of(START.shifted(HOUR)), START.shifted(HOUR));
        assert_eq!(hour_of(Timestamp(-1)), Timestamp(-HOUR));
    }

    #[test]
    fn a_summary_holds_what_every_aggregate_needs() {
        let hour = hour(&[
            sample(1, &[("power_watts", 5.0)]),
            sample(2, &[("odd", 7.0)]),
            sample(60, &[("power_watts", 3.0), ("odd", 1.0)]),
            sample(3_599, &[("power_watts", 4.0)]),
        ]);
        let Metric::Known(power) = Metric::named("power_watts") else { panic!() };
        let found = hour.whole().metrics[usize::from(power)].clone().unwrap();
        let at = |seconds: i64| START.shifted(seconds * 1_000_000);
        let (first, last) = ((5.0, at(1)), (4.0, at(3_599)));
        // 5, then anew from 0 to 3, then one more.
        assert_eq!(found, Summary { count: 3, sum: 12.0, min: 3.0, max: 5.0, first, last, growth: 4.0 });
        let odd = &hour.whole().ext["odd"];
        assert_eq!((odd.count, odd.first, odd.last), (2, (7.0, at(2)), (1.0, at(60))));
        assert_eq!(hour.whole().samples, 4);
        assert_eq!(hour.whole().metrics.iter().flatten().count(), 1, "what nobody reported has no summary");
    }

    #[test]
    fn parts_are_kept_where_there_are_several_samples_in_each() {
        let every = |seconds: i64| {
            hour(&(0..3_600 / seconds).map(|n| sample(n * seconds, &[("xid", 0.0)])).collect::<Vec<_>>())
        };
        assert_eq!(every(12).minutes().map(BTreeMap::len), Some(60));
        assert_eq!(every(13).minutes(), None);
        assert_eq!(every(60).fives().map(BTreeMap::len), Some(12));
        assert_eq!(every(61).fives(), None);
    }

    #[test]
    fn a_sum_beyond_all_numbers_is_noticed() {
        assert_eq!(hour(&[sample(1, &[("odd", f64::MAX)])]).beyond_numbers(), None);
        let two = [sample(1, &[("odd", f64::MAX)]), sample(2, &[("odd", f64::MAX)])];
        assert_eq!(hour(&two).beyond_numbers().as_deref(), Some("odd"));
    }

    proptest! {
        #[test]
        fn parts_add_up_to_their_hour(values in prop::collection::vec(-1e3..1e3_f64, 300..400)) {
            let samples: Vec<_> =
                values.iter().zip(0..).map(|(value, n)| sample(n * 9, &[("energy_millijoules", *value)])).collect();
            let hour = hour(&samples);
            let Metric::Known(energy) = Metric::named("energy_millijoules") else { panic!() };
            let of = |rollup: &Rollup| rollup.metrics[usize::from(energy)].clone().unwrap();
            let whole = of(hour.whole());
            for parts in [hour.fives(), hour.minutes()] {
                let parts: Vec<_> = parts.unwrap().values().map(of).collect();
                prop_assert_eq!(parts.iter().map(|part| part.count).sum::<i32>(), whole.count);
                prop_assert_eq!(parts.iter().map(|part| part.min).fold(f64::MAX, f64::min), whole.min);
                prop_assert_eq!(parts[0].first, whole.first);
                prop_assert_eq!(parts[parts.len() - 1].last, whole.last);
                // What lies between two parts is the reader's to work out.
                let between = |pair: &[Summary]| {
                    let (before, after) = (pair[0].last.0, pair[1].first.0);
                    if after >= before { after - before } else { after }
                };
                let inside = parts.iter().map(|part| part.growth).sum::<f64>();
                let growth = inside + parts.windows(2).map(between).sum::<f64>();
                prop_assert!((growth - whole.growth).abs() < 1e-6);
            }
        }
    }
}
