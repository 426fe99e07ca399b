use std::fmt;
use std::time::Duration;

use nexus_common::domain::Timestamp;
use serde::{Deserialize, Serialize, Serializer};

use super::values::Number;
use super::{Error, Result};

/// How long a bucket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(transparent)]
pub struct Step(i64);

/// The shortest and the longest, in microseconds: a millisecond and ten years.
const BOUNDS: std::ops::RangeInclusive<i64> = 1_000..=315_360_000_000_000;

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// The units a step is written in.
const UNITS: [(&str, i64); 6] = [("d", DAY), ("h", HOUR), ("m", MINUTE), ("s", SECOND), ("ms", 1_000), ("us", 1)];

/// The steps people read charts in.
const ROUND: [Step; 27] = [
    Step(SECOND),
    Step(2 * SECOND),
    Step(5 * SECOND),
    Step(10 * SECOND),
    Step(15 * SECOND),
    Step(30 * SECOND),
    Step(MINUTE),
    Step(2 * MINUTE),
    Step(5 * MINUTE),
    Step(10 * MINUTE),
    Step(15 * MINUTE),
    Step(30 * MINUTE),
    Step(HOUR),
    Step(2 * HOUR),
    Step(3 * HOUR),
    Step(6 * HOUR),
    Step(12 * HOUR),
    Step(DAY),
    Step(2 * DAY),
    Step(7 * DAY),
    Step(14 * DAY),
    Step(28 * DAY),
    Step(91 * DAY),
    Step(182 * DAY),
    Step(364 * DAY),
    Step(1_820 * DAY),
    Step(3_640 * DAY),
];

impl Step {
    /// # Errors
    /// Where it is shorter than a millisecond or longer than ten years.
    pub fn new(length: Duration) -> Result<Self> {
        let micros = i64::try_from(length.as_micros()).ok().filter(|micros| BOUNDS.contains(micros));
        micros.map(Step).ok_or_else(|| Error::invalid("step", "must be from 1ms to 3650days"))
    }

    /// The shortest round step that puts no more than `most` buckets into a range.
    pub(super) fn round(start: Timestamp, end: Timestamp, most: i64) -> Option<Self> {
        ROUND.into_iter().find(|step| step.count(start, end) <= most)
    }

    /// In microseconds.
    pub fn micros(self) -> i64 {
        self.0
    }

    /// The same in seconds, as answers write it.
    pub fn seconds(self) -> impl Serialize {
        #[allow(clippy::cast_precision_loss)] // exact: ten years have fewer than 2^53 microseconds
        Number(self.0 as f64 / 1e6)
    }

    /// Whether a client can have got it from here.
    pub(super) fn is_bounded(self) -> bool {
        BOUNDS.contains(&self.0)
    }

    /// When the bucket starts that this moment lies in.
    pub(super) fn floor(self, at: Timestamp) -> Timestamp {
        Timestamp(at.0.saturating_sub(at.0.rem_euclid(self.0)))
    }

    /// How many buckets a range touches.
    pub(super) fn count(self, start: Timestamp, end: Timestamp) -> i64 {
        let first = self.floor(start).0;
        end.0.saturating_sub(first).saturating_add(self.0 - 1) / self.0
    }
}

/// As a question may write it: `5m`.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, length) = UNITS.into_iter().find(|(_, length)| self.0 % length == 0).unwrap_or(("us", 1));
        write!(f, "{}{unit}", self.0 / length)
    }
}

/// In a cursor: the number alone.
impl Serialize for Step {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_i64(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_step_is_bounded() {
        assert!(Step::new(Duration::from_micros(999)).is_err());
        assert!(Step::new(Duration::from_secs(86_400 * 3_651)).is_err());
        assert!(Step::new(Duration::from_secs(60)).is_ok());
    }

    #[test]
    fn round_steps_ascend_and_are_written_plainly() {
        assert!(ROUND.is_sorted());
        assert_eq!([ROUND[0], ROUND[6], ROUND[16], ROUND[19]].map(|step| step.to_string()), ["1s", "1m", "12h", "7d"]);
        assert_eq!(Step::new(Duration::from_secs(90)).unwrap().to_string(), "90s");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(micros in BOUNDS) {
            let step = Step(micros);
            let length = nexus_common::config::duration(&step.to_string()).unwrap();
            prop_assert_eq!(Step::new(length).unwrap(), step);
        }

        #[test]
        fn the_round_step_is_the_shortest_that_fits(
            start in 0..4_000_000_000_000_000_i64, length in 1..400_000_000_000_000_i64, most in 2..500_i64,
        ) {
            let (start, end) = (Timestamp(start), Timestamp(start + length));
            if let Some(step) = Step::round(start, end, most) {
                prop_assert!(step.count(start, end) <= most);
                let shorter = ROUND.into_iter().take_while(|other| *other < step);
                prop_assert!(shorter.into_iter().all(|other| other.count(start, end) > most));
            } else {
                prop_assert!(length / (3_640 * DAY) + 2 > most);
            }
        }
    }
}
