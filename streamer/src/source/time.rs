//! When a GPU was read: the ways sources write a time.

use std::time::Duration;

use jiff::tz::Offset;
use nexus_common::domain::Timestamp;

/// 2000-01-01T00:00:00Z: before it no GPU was read.
const EARLIEST: Timestamp = Timestamp(946_684_800_000_000);

const SECOND_US: i64 = 1_000_000;

/// The time this text names, or `None` when it names none.
///
/// RFC 3339; the same with a space or with slashes, as `nvidia-smi` prints it, and with or without a zone; seconds,
/// milliseconds, microseconds or nanoseconds since 1970. What has no zone is `offset` ahead of UTC.
pub(crate) fn parse(text: &str, offset: Offset) -> Option<Timestamp> {
    let text = text.trim_ascii();
    let micros = match text.as_bytes() {
        [_, _, _, _, b'-' | b'/', ..] => civil(text.as_bytes(), offset)?,
        _ => epoch(text)?,
    };
    Some(Timestamp(micros))
}

/// Why a GPU cannot have been read then, or `None` when it can.
pub(crate) fn refusal(time: Timestamp, now: Timestamp, max_future: Duration) -> Option<String> {
    let latest = now.shifted(i64::try_from(max_future.as_micros()).unwrap_or(i64::MAX));
    if time < EARLIEST {
        return Some(format!("{time} is before {EARLIEST}"));
    }
    (time > latest).then(|| format!("{time} is more than {max_future:?} past the clock, the limit MAX_FUTURE sets"))
}

/// An offset such as `+02:00`, `-0530` or `Z`.
pub fn utc_offset(text: &str) -> Result<Offset, String> {
    zone(text.as_bytes())
        .and_then(|seconds| Offset::from_seconds(i32::try_from(seconds).ok()?).ok())
        .ok_or_else(|| format!("{text:?} is no offset from UTC; write it as +02:00"))
}

fn civil(bytes: &[u8], offset: Offset) -> Option<i64> {
    let (date, rest) = bytes.split_at_checked(10)?;
    if date[7] != date[4] {
        return None;
    }
    let days = days(digits(&date[..4])?, digits(&date[5..7])?, digits(&date[8..])?)?;
    let [b'T' | b't' | b' ', rest @ ..] = rest else { return None };
    let (clock, rest) = rest.split_at_checked(8)?;
    let (hour, minute, second) = (digits(&clock[..2])?, digits(&clock[3..5])?, digits(&clock[6..])?);
    if clock[2] != b':' || clock[5] != b':' || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (fraction, rest) = match rest {
        [b'.' | b',', rest @ ..] => fraction(rest)?,
        _ => (0, rest),
    };
    let ahead = match rest.trim_ascii() {
        b"" => i64::from(offset.seconds()),
        text => zone(text)?,
    };
    // A leap second is the second before it: the clock of a row need not know of them.
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second.min(59) - ahead;
    Some(seconds * SECOND_US + fraction)
}

/// Days since 1970 of a date that exists. Years are counted from March, so that a leap day comes last.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=length).contains(&day) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

/// Microseconds, and what follows the digits. Finer digits are dropped.
fn fraction(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let length = bytes.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(bytes.len());
    let (fraction, rest) = bytes.split_at(length);
    let kept = &fraction[..fraction.len().min(6)];
    let missing = u32::try_from(6 - kept.len()).ok()?;
    (!kept.is_empty()).then_some((digits(kept)? * 10_i64.pow(missing), rest))
}

/// Seconds ahead of UTC.
fn zone(bytes: &[u8]) -> Option<i64> {
    let (sign, hours, minutes) = match bytes {
        b"Z" | b"z" | b"UTC" | b"GMT" => return Some(0),
        [sign, h1, h2] => (sign, [*h1, *h2], [b'0', b'0']),
        [sign, h1, h2, m1, m2] | [sign, h1, h2, b':', m1, m2] => (sign, [*h1, *h2], [*m1, *m2]),
        _ => return None,
    };
    let (hours, minutes) = (digits(&hours)?, digits(&minutes)?);
    let seconds = hours * 3600 + minutes * 60;
    match sign {
        _ if hours > 23 || minutes > 59 => None,
        b'+' => Some(seconds),
        b'-' => Some(-seconds),
        _ => None,
    }
}

/// The unit is told by the size: from 2000 on, no two units share a number.
fn epoch(text: &str) -> Option<i64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        let number: i64 = text.parse().ok()?;
        return Some(match number {
            0..100_000_000_000 => number * SECOND_US,
            100_000_000_000..100_000_000_000_000 => number * 1000,
            100_000_000_000_000..100_000_000_000_000_000 => number,
            _ => number / 1000,
        });
    }
    let starts_as_number = text.starts_with(|c: char| c.is_ascii_digit());
    let number: f64 = text.parse().ok().filter(|_| starts_as_number)?;
    let micros = match number {
        ..1e11 => number * 1e6,
        ..1e14 => number * 1e3,
        ..1e17 => number,
        _ => number / 1e3,
    };
    // The guard keeps the cast exact enough: below 2^53, and never saturating.
    #[allow(clippy::cast_possible_truncation)]
    (micros.abs() < 9e15).then(|| micros.round() as i64)
}

fn digits(bytes: &[u8]) -> Option<i64> {
    bytes.iter().try_fold(0, |number, byte| byte.is_ascii_digit().then(|| number * 10 + i64::from(byte - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn utc(text: &str) -> Option<String> {
        parse(text, Offset::UTC).map(|time| time.to_string())
    }

    #[test]
    fn a_time_is_read_in_every_form() {
        let moment = Some("2025-07-18T20:42:34.123Z".to_owned());
        for text in [
            "2025-07-18T20:42:34.123Z",
            "2025-07-18t20:42:34.123000999z",
            "2025-07-18 20:42:34.123",
            "2025-07-18 20:42:34,123 UTC",
            "2025-07-18 22:42:34.123+02:00",
            "2025-07-18 15:12:34.123 -0530",
            " 2025/07/18 20:42:34.123",
            "1752871354.123",
            "1752871354123",
            "1752871354123000",
            "1752871354123000000",
            "1.752871354123e9",
        ] {
            assert_eq!(utc(text), moment, "{text}");
        }
        assert_eq!(
            parse("2025/07/18 22:42:34.123", utc_offset("+02:00").unwrap()),
            parse("2025-07-18T20:42:34.123Z", Offset::UTC)
        );
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "now",
            "nan",
            "inf",
            "-5",
            "2025-07-18",
            "2025-07-18T20:42",
            "2025-02-29 00:00:00",
            "2025-13-01 00:00:00",
            "2025-07/18 20:42:34",
            "2025-07-18T24:00:00Z",
            "2025-07-18T20:42:34.Z",
            "2025-07-18T20:42:34 somewhere",
            "2025-07-18T20:42:34+24:00",
            "99999999999999999999",
        ] {
            assert_eq!(utc(text), None, "{text}");
        }
    }

    #[test]
    fn a_time_before_gpus_or_past_the_clock_is_refused() {
        let now = parse("2025-07-18T20:42:34Z", Offset::UTC).unwrap();
        let hour = Duration::from_secs(3600);
        assert_eq!(refusal(now, now, hour), None);
        assert_eq!(refusal(now.shifted(3_600_000_000), now, hour), None);
        assert!(refusal(now.shifted(3_600_000_001), now, hour).unwrap().contains("MAX_FUTURE"));
        assert!(refusal(Timestamp(EARLIEST.0 - 1), now, hour).unwrap().contains("before 2000-01-01"));
    }

    proptest! {
        #[test]
        fn dates_are_those_of_the_calendar(micros in 0_i64..250_000_000_000_000_000) {
            let time = Timestamp(micros);
            prop_assert_eq!(parse(&time.to_string(), Offset::UTC), Some(time));
        }

        #[test]
        fn no_text_panics(text in "[-+0-9TZ:/. eE]{0,40}|\\PC{0,40}") {
            let _ = parse(&text, Offset::UTC);
        }
    }
}
