//! What people write and read: moments, places, counts.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use nexus_common::config::duration;
use nexus_common::domain::Timestamp;

use super::table;

/// `2h` (ago), `2026-01-31`, or RFC 3339.
pub(crate) fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(ago) = duration(text) {
        let ago_us = i64::try_from(ago.as_micros()).unwrap_or(i64::MAX);
        return Ok(Timestamp(Timestamp::now().0.saturating_sub(ago_us)));
    }
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(time.into());
    }
    let day = text.parse::<Date>().ok().and_then(|day| day.to_zoned(TimeZone::UTC).ok());
    day.map(|day| day.timestamp().into())
        .ok_or_else(|| "write it as 2h (ago), 2026-01-31 or 2026-01-31T12:00:00Z".to_owned())
}

/// A moment in UTC, to the second.
pub(crate) fn clock(time: Timestamp) -> String {
    match jiff::Timestamp::from_microsecond(time.0) {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => time.to_string(),
    }
}

/// A text on one line, at most `width` characters of it.
pub(crate) fn cut(text: &str, width: usize) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match line.chars().count() > width {
        true => line.chars().take(width.saturating_sub(1)).chain(['…']).collect(),
        false => line,
    }
}

/// The end of a path, at most `width` characters of it: what tells files apart stands there.
pub(crate) fn tail(path: &str, width: usize) -> String {
    let line: String = path.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let length = line.chars().count();
    match length > width {
        true => std::iter::once('…').chain(line.chars().skip(length + 1 - width)).collect(),
        false => line,
    }
}

/// `1 row`, `1,234 rows`.
pub(crate) fn counted(count: i64, one: &str, many: &str) -> String {
    let text = table::count(count.unsigned_abs());
    format!("{text} {}", if count == 1 { one } else { many })
}

/// `1 row`, `1,234 rows`.
pub(crate) fn rows(count: i64) -> String {
    counted(count, "row", "rows")
}

/// `1 letter`, `1,234 letters`.
pub(crate) fn letters(count: i64) -> String {
    counted(count, "letter", "letters")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_in_three_ways() {
        let now = Timestamp::now().0;
        let hour_ago = moment("1h").unwrap().0;
        assert!((now - hour_ago - 3_600_000_000).abs() < 60_000_000);
        assert_eq!(moment("1970-01-02").unwrap(), Timestamp(86_400_000_000));
        assert_eq!(moment("1970-01-01T00:00:01Z").unwrap(), Timestamp(1_000_000));
        assert!(moment("yesterday").is_err());
    }

    #[test]
    fn what_is_cut_says_so() {
        assert_eq!((cut("a\nb", 5), cut("abcdef", 4)), ("a b".to_owned(), "abc…".to_owned()));
        assert_eq!((tail("/a/b.csv", 8), tail("/long/b.csv", 6)), ("/a/b.csv".to_owned(), "…b.csv".to_owned()));
    }
}
