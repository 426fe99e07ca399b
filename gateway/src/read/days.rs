//! Which days a statement is about, said in its text (pure).
//!
//! Samples lie in a partition for each day, and a statement that is told its times by parameters alone is planned for all of
//! them, or anew at every question: over thirty days PostgreSQL planned an hour in minutes for 0.8 ms and answered it in 0.1,
//! and its plan for all of them would have had 4 MiB on each connection. With its days in the text only those are planned for,
//! and the plan is kept. So that a text serves many questions, days are rounded outwards, the more the longer the time is.
//! Parameters alone say what the answer holds.

use nexus_common::domain::Timestamp;

use super::time::LAST;

const DAY: i64 = 86_400_000_000;

/// What days are rounded to: the longest of these that is no longer than the time asked about. So a text names less than
/// three times that time, and two days more.
const BLOCKS: [i64; 4] = [512 * DAY, 64 * DAY, 8 * DAY, DAY];

/// The last midnight that [`Timestamp`] writes as a date: that of 9999-12-30.
const FAR: i64 = LAST + 1 - 2 * DAY;

/// Columns that partitions are made by, as the statements name them.
const COLUMNS: [&str; 3] = ["s.ts", "h.start", "u.start"];

/// Bounds at midnight (UTC); none where a question leaves an end open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct Days {
    first: Option<Timestamp>,
    behind: Option<Timestamp>,
}

impl Days {
    /// All days of what is from `from` on and before `until`. `length` is about how long that is, in microseconds: an open end
    /// does not tell.
    pub(super) fn of(from: Timestamp, until: Timestamp, length: i64) -> Self {
        let is_bound = |at: &Timestamp| (0..=FAR).contains(&at.0);
        let (from, until) = (Some(from).filter(is_bound), Some(until).filter(is_bound));
        let block = BLOCKS.into_iter().find(|block| *block <= length).unwrap_or(DAY);
        let before = |at: Timestamp| at.shifted(-at.0.rem_euclid(block));
        let behind = |at: Timestamp| at.shifted((-at.0).rem_euclid(block));
        Days { first: from.map(before), behind: until.map(behind).filter(is_bound) }
    }

    /// The text with its days where it has a place for them, `/* days of s.ts */` behind another condition.
    pub(super) fn said_in(self, text: &str) -> String {
        COLUMNS.into_iter().fold(text.to_owned(), |text, column| {
            let bound = |sign: &str, at: Option<Timestamp>| {
                at.map(|at| format!(" AND {column} {sign} timestamptz '{at}'")).unwrap_or_default()
            };
            let bounds = bound(">=", self.first) + &bound("<", self.behind);
            text.replace(&format!(" /* days of {column} */"), &bounds)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR: i64 = DAY / 24;

    fn days(from: i64, until: i64) -> (Option<i64>, Option<i64>) {
        let Days { first, behind } =
            Days::of(Timestamp(from), Timestamp(until), until.saturating_sub(from).min(DAY * 40));
        (first.map(|at| at.0 / DAY), behind.map(|at| at.0 / DAY))
    }

    #[test]
    fn an_hour_is_about_its_day_and_a_month_about_blocks_of_eight() {
        let noon = 20_000 * DAY + 12 * HOUR;
        assert_eq!(days(noon, noon + HOUR), (Some(20_000), Some(20_001)));
        assert_eq!(days(noon - 12 * HOUR, noon + 12 * HOUR), (Some(20_000), Some(20_001)), "midnights are ends");
        assert_eq!(days(noon, noon + DAY), (Some(20_000), Some(20_002)));
        assert_eq!(days(noon, noon + 30 * DAY), (Some(20_000), Some(20_032)));
        assert_eq!(days(noon + DAY, noon + 31 * DAY), (Some(20_000), Some(20_032)), "as on the day before");
    }

    #[test]
    fn an_open_end_has_no_bound() {
        let noon = 20_000 * DAY + 12 * HOUR;
        let of = |from, until, length| Days::of(Timestamp(from), Timestamp(until), length);
        let first = |day| Days { first: Some(Timestamp(day * DAY)), behind: None };
        assert_eq!(of(noon, i64::MAX, 2 * DAY), first(20_000));
        assert_eq!(of(noon + DAY, i64::MAX, 16 * DAY), first(20_000), "a longer time is rounded more");
        assert_eq!(of(i64::MIN, noon, DAY), Days { first: None, behind: Some(Timestamp(20_001 * DAY)) });
        assert_eq!(days(i64::MIN, i64::MAX), (None, None));
        assert_eq!(days(LAST - 1, LAST), (None, None), "there is no midnight that could be written");
        assert_eq!(days(FAR - 1, FAR), (Some(FAR / DAY - 1), Some(FAR / DAY)));
        let last = Days::of(Timestamp(FAR), Timestamp(LAST), DAY).said_in("/* days of s.ts */ /* days of s.ts */");
        assert!(last.ends_with(" AND s.ts >= timestamptz '9999-12-30T00:00:00Z'"), "{last}");
    }

    #[test]
    fn days_are_said_where_there_is_a_place_for_them() {
        let text = "WHERE s.ts >= $2 /* days of s.ts */ AND u.start < $3 /* days of u.start */ AND true";
        let days = Days::of(Timestamp(HOUR), Timestamp(2 * HOUR), HOUR);
        let said = "WHERE s.ts >= $2 AND s.ts >= timestamptz '1970-01-01T00:00:00Z' AND s.ts < timestamptz '1970-01-02T00:00:00Z' \
                    AND u.start < $3 AND u.start >= timestamptz '1970-01-01T00:00:00Z' \
                    AND u.start < timestamptz '1970-01-02T00:00:00Z' AND true";
        assert_eq!(days.said_in(text), said);
        assert_eq!(Days::default().said_in(text), "WHERE s.ts >= $2 AND u.start < $3 AND true");
    }

    #[test]
    fn every_statement_over_days_has_a_place_for_them() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/read");
        let texts = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let texts = texts.filter(|path| path.extension().is_some_and(|ending| ending == "sql"));
        let mut found = 0;
        for path in texts {
            let text = std::fs::read_to_string(&path).unwrap();
            for (table, column) in
                [("samples s\n", "s.ts"), ("rollup_hours h\n", "h.start"), ("/* rollups */ u\n", "u.start")]
            {
                let tables = text.matches(table).count();
                assert_eq!(tables, text.matches(&format!(" /* days of {column} */")).count(), "{}", path.display());
                found += tables;
            }
        }
        assert_eq!(found, 18, "places in all statements");
    }

    proptest! {
        #[test]
        fn nothing_of_the_time_is_left_out_and_not_much_is_added(from in 0..FAR, length in 1..2_000 * DAY) {
            let until = (from + length).min(FAR);
            let Days { first, behind } = Days::of(Timestamp(from), Timestamp(until), until - from);
            let first = first.unwrap().0;
            prop_assert!(first <= from && first % DAY == 0);
            if let Some(Timestamp(behind)) = behind {
                prop_assert!(until <= behind && behind % DAY == 0);
                prop_assert!(behind - first < 3 * (until - from) + 2 * DAY);
            } else {
                prop_assert!(FAR - until < 512 * DAY);
            }
        }
    }
}
