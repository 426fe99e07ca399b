//! What people write and read at a glance: moments, spans, figures, places; and output that may be piped away.

use std::io::{ErrorKind, Write};

use jiff::civil::Date;
use jiff::tz::TimeZone;
use nexus_common::config::duration;
use nexus_common::domain::Timestamp;
use serde::{Serialize, Serializer};

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

/// A time in JSON: RFC 3339 in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Time(pub(crate) Timestamp);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// A length of time, to two units: `850ms`, `12s`, `4m 10s`, `3h 5m`, `2d 7h`.
pub(crate) fn span(millis: i64) -> String {
    let (sign, millis) = if millis < 0 { ("-", millis.unsigned_abs()) } else { ("", millis.unsigned_abs()) };
    let seconds = millis / 1000;
    let two = |large: u64, unit: &str, small: u64, other: &str| match small {
        0 => format!("{sign}{large}{unit}"),
        small => format!("{sign}{large}{unit} {small}{other}"),
    };
    match seconds {
        0 => format!("{sign}{millis}ms"),
        1..60 => format!("{sign}{seconds}s"),
        60..3_600 => two(seconds / 60, "m", seconds % 60, "s"),
        3_600..86_400 => two(seconds / 3_600, "h", seconds / 60 % 60, "m"),
        _ => two(seconds / 86_400, "d", seconds / 3_600 % 24, "h"),
    }
}

/// How long ago a moment was, by this machine's clock; a moment ahead of it was no time ago.
pub(crate) fn age_ms(at_ms: i64) -> i64 {
    (Timestamp::now().as_millis() - at_ms).max(0)
}

/// Bytes with a unit: `512 B`, `1.5 MiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (bytes as f64, "B");
    for next in units {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, next);
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

/// `1 row`, `2 rows`, `1,000 rows`.
pub(crate) fn counted(count: u64, one: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        _ if one.ends_with("ch") => format!("{} {one}es", table::count(count)),
        _ => format!("{} {one}s", table::count(count)),
    }
}

/// Writes what `write` writes; a reader who has seen enough (a closed pipe) is no error. `false`: nobody reads any more.
pub(crate) fn piped(write: impl FnOnce() -> std::io::Result<()>) -> anyhow::Result<bool> {
    match write() {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// One JSON document, on one line.
pub(crate) fn json(out: &mut impl Write, document: &impl Serialize) -> std::io::Result<()> {
    let text = serde_json::to_string(document)?;
    writeln!(out, "{text}")
}

/// `1 row`, `1,234 rows`.
pub(crate) fn rows(count: i64) -> String {
    counted(count.unsigned_abs(), "row")
}

/// `1 letter`, `1,234 letters`.
pub(crate) fn letters(count: i64) -> String {
    counted(count.unsigned_abs(), "letter")
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

    #[test]
    fn figures_are_short() {
        let spans = [0, 850, 12_000, 250_000, 11_100_000, 198_000_000, -3_000].map(span);
        assert_eq!(spans, ["0ms", "850ms", "12s", "4m 10s", "3h 5m", "2d 7h", "-3s"]);
        assert_eq!([0, 1_536 << 10, 2 << 30].map(bytes), ["0 B", "1.5 MiB", "2.0 GiB"]);
        assert_eq!(
            [counted(1, "batch"), counted(2_000, "batch"), counted(0, "row")],
            ["1 batch", "2,000 batches", "0 rows"]
        );
    }

    #[test]
    fn a_closed_pipe_is_no_error() {
        assert!(!piped(|| Err(ErrorKind::BrokenPipe.into())).unwrap());
        assert!(piped(|| Err(ErrorKind::StorageFull.into())).is_err());
    }
}
