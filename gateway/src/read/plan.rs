//! Where the answer to a question about steps is read from (pure).
//!
//! What the samples of an hour, of five minutes, or of one came to is kept (`rollup_hours`, `_fives`, `_minutes`), and a bucket that is
//! made of whole ones need not read samples. Hours cut by the range have them read, as have hours whose rollup is not up
//! to date: those the statement finds by itself, in the snapshot it answers from (`rolled.sql`). So the answer is the one
//! that the samples have.

use nexus_common::domain::Timestamp;

use super::window::Part;
use super::{Aggregate, Step};

const MINUTE: i64 = 60_000_000;
/// Microseconds of what rollups are made of.
pub(super) const HOUR: i64 = 60 * MINUTE;

/// What a row of rollups stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Unit {
    Hour,
    Five,
    Minute,
}

/// Rollups that an answer can be made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rollups {
    pub(super) unit: Unit,
    /// The whole hours of the page's part: from here on ...
    pub(super) first: Timestamp,
    /// ... and before this.
    pub(super) behind: Timestamp,
}

/// Rollups, where they help: a step is made of whole units, there is a whole hour, and the aggregate can be made of parts
/// (of percentiles of parts nothing can be made). `None`: samples alone.
pub(super) fn plan(step: Step, aggregate: Option<Aggregate>, part: &Part) -> Option<Rollups> {
    let unit = match step.micros() {
        step if step % HOUR == 0 => Unit::Hour,
        step if step % (5 * MINUTE) == 0 => Unit::Five,
        step if step % MINUTE == 0 => Unit::Minute,
        _ => return None,
    };
    let (first, behind) = (ceil(part.from), floor(part.until));
    (aggregate != Some(Aggregate::P95) && first < behind).then_some(Rollups { unit, first, behind })
}

/// The beginning of its hour.
pub(super) fn floor(at: Timestamp) -> Timestamp {
    Timestamp(at.0.saturating_sub(at.0.rem_euclid(HOUR)))
}

/// The end of its hour; itself where it is one.
pub(super) fn ceil(at: Timestamp) -> Timestamp {
    Timestamp(at.0.saturating_add((-at.0).rem_euclid(HOUR)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use proptest::prelude::*;

    fn part(from: i64, until: i64) -> Part {
        let (from, until) = (Timestamp(from), Timestamp(until));
        Part { start: from, end: until, from, until, at: None, id: None }
    }

    fn seconds(seconds: u64) -> Step {
        Step::new(Duration::from_secs(seconds)).unwrap()
    }

    #[test]
    fn a_step_is_made_of_the_largest_units_that_fit() {
        let unit = |step, aggregate| plan(seconds(step), aggregate, &part(0, 24 * HOUR)).map(|rollups| rollups.unit);
        assert_eq!(unit(3_600, None), Some(Unit::Hour));
        assert_eq!(unit(7 * 86_400, Some(Aggregate::Rate)), Some(Unit::Hour));
        assert_eq!(unit(5_400, Some(Aggregate::Avg)), Some(Unit::Five));
        assert_eq!(unit(300, None), Some(Unit::Five));
        assert_eq!(unit(120, Some(Aggregate::Last)), Some(Unit::Minute));
        assert_eq!(unit(90, None), None);
        assert_eq!(unit(3_600, Some(Aggregate::P95)), None);
    }

    #[test]
    fn without_a_whole_hour_there_is_nothing_to_gain() {
        let rollups = |from, until| plan(seconds(60), None, &part(from, until));
        assert_eq!(rollups(1, 2 * HOUR - 1), None);
        assert_eq!(rollups(HOUR, HOUR), None);
        let (first, behind) = (Timestamp(HOUR), Timestamp(2 * HOUR));
        assert_eq!(rollups(1, 2 * HOUR), Some(Rollups { unit: Unit::Minute, first, behind }));
    }

    proptest! {
        #[test]
        fn only_whole_hours_of_the_part_are_taken(
            from in -4_000_000_000_000_000..4_000_000_000_000_000_i64, length in 0..20 * HOUR,
        ) {
            let part = part(from, from + length);
            match plan(seconds(3_600), None, &part) {
                Some(Rollups { first, behind, .. }) => {
                    prop_assert!(part.from <= first && first < behind && behind <= part.until);
                    prop_assert!(first.0 - part.from.0 < HOUR && part.until.0 - behind.0 < HOUR);
                    prop_assert!(first.0 % HOUR == 0 && behind.0 % HOUR == 0);
                }
                None => prop_assert!(length < 2 * HOUR),
            }
        }
    }
}
