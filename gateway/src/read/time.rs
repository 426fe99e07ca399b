use std::cell::RefCell;
use std::fmt::Write;

use nexus_common::config::duration;
use nexus_common::domain::Timestamp;
use serde::{Serialize, Serializer};

/// A time in an answer: RFC 3339 in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Timestamp);

thread_local! {
    /// The last time that was written, and how: GPUs are read together, and each of their values has its own time.
    static WRITTEN: RefCell<(Timestamp, String)> = RefCell::new((Timestamp(0), Timestamp(0).to_string()));
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.with_text(|text| serializer.serialize_str(text))
    }
}

impl Time {
    /// The same as JSON behind what is there: nothing in it has to be escaped.
    pub(super) fn write(self, to: &mut Vec<u8>) {
        self.with_text(|text| {
            to.push(b'"');
            to.extend_from_slice(text.as_bytes());
            to.push(b'"');
        });
    }

    fn with_text<T>(self, tell: impl FnOnce(&str) -> T) -> T {
        WRITTEN.with_borrow_mut(|(time, text)| {
            if *time != self.0 {
                text.clear();
                // A `String` takes everything.
                _ = write!(text, "{}", self.0);
                *time = self.0;
            }
            tell(text)
        })
    }
}

/// The last moment that is understood: the end of the year 9999.
pub(super) const LAST: i64 = 253_402_300_799_999_999;

/// The start of the year 1: what is worked out from a question or comes back in a cursor lies no earlier. PostgreSQL's
/// calendar goes back further, but not to everything that microseconds can count.
pub(super) const FIRST: i64 = -62_135_596_800_000_000;

const FORMS: &str = "write RFC 3339 (2025-07-18T20:42:34Z), epoch seconds or milliseconds, or a time relative to now \
                     (now, now-1h, now-7d)";

/// A moment as people write it: RFC 3339, a day, epoch seconds or milliseconds, or relative to now.
///
/// # Errors
/// One line that says which forms there are.
pub fn moment(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let text = text.trim();
    let moment = relative(text, now).or_else(|| epoch(text)).or_else(|| calendar(text));
    match moment {
        Some(moment) if (0..=LAST).contains(&moment.0) => Ok(moment),
        Some(_) => Err("must lie between the years 1970 and 9999".to_owned()),
        None => Err(format!("{text:?} is no time; {FORMS}")),
    }
}

fn relative(text: &str, now: Timestamp) -> Option<Timestamp> {
    let rest = text.strip_prefix("now")?.trim();
    // A plus sign in a query string arrives as a space.
    let (sign, length) = match rest.strip_prefix('-') {
        Some(length) => (-1, length),
        None => (1, rest.strip_prefix('+').unwrap_or(rest)),
    };
    if length.is_empty() {
        return (sign == 1).then_some(now);
    }
    let micros = i64::try_from(duration(length).ok()?.as_micros()).ok()?;
    Some(now.shifted(sign * micros))
}

/// Seconds up to the year 5138, milliseconds from the year 1973: what lies between cannot be both.
fn epoch(text: &str) -> Option<Timestamp> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(decimals) {
        return None;
    }
    let number: i64 = whole.parse().ok()?;
    let scale = if number < 100_000_000_000 { 1_000_000 } else { 1_000 };
    let fraction: f64 = if decimals.is_empty() { 0.0 } else { format!("0.{decimals}").parse().ok()? };
    #[allow(clippy::cast_possible_truncation)] // below one second
    let fraction = (fraction * scale as f64).round() as i64;
    Some(Timestamp(number.checked_mul(scale)?.checked_add(fraction)?))
}

fn calendar(text: &str) -> Option<Timestamp> {
    if let Ok(day) = text.parse::<jiff::civil::Date>()
        && text.len() == 10
    {
        return Some(day.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().into());
    }
    let parse = |text: &str| text.parse::<jiff::Timestamp>().ok().map(Timestamp::from);
    // 2025-07-18T20:42:34+02:00 whose plus sign was not percent-encoded.
    parse(text).or_else(|| {
        parse(&text.rsplit_once(' ').filter(|(_, zone)| zone.len() >= 5).map(|(time, zone)| format!("{time}+{zone}"))?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp(1_752_871_354_000_000);

    #[test]
    fn a_moment_can_be_written_in_many_ways() {
        for text in [
            "2025-07-18T20:42:34Z",
            "2025-07-18T22:42:34+02:00",
            "2025-07-18T22:42:34 02:00",
            "1752871354",
            "1752871354000",
            "1752871354.0",
            "now",
        ] {
            assert_eq!(moment(text, NOW), Ok(NOW), "{text}");
        }
        assert_eq!(moment("now-1h30m", NOW), Ok(NOW.shifted(-5_400_000_000)));
        assert_eq!(moment("now+1s", NOW), Ok(NOW.shifted(1_000_000)));
        assert_eq!(moment("now 1s", NOW), Ok(NOW.shifted(1_000_000)));
        assert_eq!(moment("2025-07-18", NOW), Ok(Timestamp::of_day(NOW.day())));
        assert_eq!(moment("1752871354.25", NOW), Ok(NOW.shifted(250_000)));
    }

    #[test]
    fn what_is_no_moment_is_told() {
        for text in [
            "",
            "yesterday",
            "now-",
            "now-x",
            "-5",
            "1e9",
            "2025-07-18T20:42:34",
            "99999999999999999999",
            "10000-01-01T00:00:00Z",
        ] {
            assert!(moment(text, NOW).is_err(), "{text}");
        }
    }

    #[test]
    fn each_time_is_written_as_itself() {
        for micros in [0, 1, 1, 0, NOW.0, NOW.0, -1, i64::MAX, 0] {
            let time = Timestamp(micros);
            assert_eq!(serde_json::to_value(Time(time)).unwrap(), time.to_string());
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(micros in 0..=LAST) {
            let time = Timestamp(micros);
            prop_assert_eq!(moment(&time.to_string(), NOW), Ok(time));
        }

        #[test]
        fn no_text_is_too_strange(text in any::<String>()) {
            let _ = moment(&text, NOW);
        }
    }
}
