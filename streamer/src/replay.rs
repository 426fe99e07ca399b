//! Loop mode's time stamps (pure over a clock): each pass is a replay of now.
//!
//! One shift per pass puts its first row at the pass's start, never before the end of the previous pass; so a scrape
//! stays a scrape, and no two passes meet in one time stamp.

use nexus_common::domain::{Content, Row, Timestamp};

use crate::position::Clock;

/// Two passes are at least this far apart.
const APART_US: i64 = 1_000;

impl Clock {
    /// Moves a row's time stamp by its pass's shift, which the first understood row of the pass decides.
    pub(crate) fn replay(&mut self, row: &mut Row, now: Timestamp) {
        let Content::Record(record) = &mut row.content else { return };
        let shift = *self.shift_us.get_or_insert_with(|| {
            let start = self.latest_us.map_or(now.0, |latest| now.0.max(latest.saturating_add(APART_US)));
            start.saturating_sub(record.timestamp.0)
        });
        record.timestamp = record.timestamp.shifted(shift);
    }

    /// Takes a row that will be published into account.
    pub(crate) fn advance(&mut self, row: &Row) {
        if let Content::Record(record) = &row.content {
            self.latest_us = self.latest_us.max(Some(record.timestamp.0));
        }
    }

    /// The next pass decides on a shift of its own.
    pub(crate) fn next_pass(&mut self) {
        self.shift_us = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nexus_common::domain::Record;
    use proptest::prelude::*;

    fn row(at: i64) -> Row {
        let record = Record { described: Default::default(), timestamp: Timestamp(at), values: Vec::new() };
        Row { line: 1, byte: 0, end: 1, next_line: 2, crc: 0, content: Content::Record(record) }
    }

    fn pass(times: &[i64], clock: &mut Clock, now: i64) -> Vec<i64> {
        clock.next_pass();
        let mut seen = Vec::new();
        for at in times {
            let mut row = row(*at);
            clock.replay(&mut row, Timestamp(now));
            clock.advance(&row);
            let Content::Record(record) = row.content else { unreachable!() };
            seen.push(record.timestamp.0);
        }
        seen
    }

    proptest! {
        #[test]
        fn passes_keep_their_shape_and_never_meet(
            times in prop::collection::vec(0i64..1_000_000_000, 1..50),
            clocks in prop::collection::vec(1_000_000_000_000i64..1_000_100_000_000, 1..5),
        ) {
            let mut clock = Clock::default();
            // The file is in order of time, as exports are.
            let mut times = times;
            times.sort_unstable();
            let mut end = i64::MIN;
            for now in clocks {
                let seen = pass(&times, &mut clock, now);
                prop_assert!(seen[0] >= now && seen[0] > end);
                for (shifted, own) in seen.iter().zip(&times) {
                    prop_assert_eq!(shifted - seen[0], own - times[0]);
                }
                end = *seen.iter().max().unwrap();
            }
        }
    }
}
