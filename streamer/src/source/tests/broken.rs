//! Rows that cannot be understood: each is a reject with its place and a reason, and its neighbours are not touched.

use nexus_common::domain::MAX_RAW_BYTES;

use super::*;

/// The row of these bytes, read between two good ones that must stand.
fn between_good_rows(row: &[u8]) -> Row {
    let good = long_row("h", 0, "SM_CLOCK", "1980");
    let bytes = [LONG.as_bytes(), good.as_bytes(), row, b"\n", good.as_bytes()].concat();
    let [first, found, last] = rows(&bytes, &Options::default()).try_into().unwrap();
    assert_eq!((first.line, found.line, last.line), (2, 3, 4));
    record(first);
    record(last);
    found
}

/// The reason for which the row of these bytes is rejected.
fn reason(row: &[u8]) -> String {
    let found = between_good_rows(row);
    let rejected = reject(&found);
    assert_eq!(rejected, &Reject::new(rejected.reason.clone(), row));
    rejected.reason.clone()
}

fn change(from: &str, to: &str) -> Vec<u8> {
    let row = long_row("host", 0, "SM_CLOCK", "1980");
    assert!(row.contains(from));
    row.replace(from, to).trim_end().as_bytes().to_vec()
}

#[test]
fn a_broken_row_says_what_is_wrong() {
    assert_eq!(reason(b"\"2025-07-18T20:42:34Z\",\"SM_CLOCK\""), "2 fields where the header has 12");
    assert_eq!(reason(&change(",\"1980\"", ",\"1980\",\"\"")), "13 fields where the header has 12");
    assert_eq!(reason(&change("1980", "fast")), "sm_clock_mhz: \"fast\" is not a number");
    assert_eq!(reason(&change("1980", "-1")), "sm_clock_mhz: -1 is outside 0 to 9007199254740992");
    assert_eq!(reason(&change("2025-07-18T20:42:34Z", "")), "no timestamp");
    assert_eq!(reason(&change("2025-07-18T20:42:34Z", "yesterday")), "timestamp: \"yesterday\" is not a time");
    assert!(reason(&change("2025-07-18T20:42:34Z", "1999-07-18T20:42:34Z")).contains("is before 2000-01-01"));
    assert!(reason(&change("2025-07-18T20:42:34Z", "2925-07-18T20:42:34Z")).contains("MAX_FUTURE"));
    assert_eq!(reason(&change("host", "")), "no host");
    assert_eq!(reason(&change("\"0\"", "\"\"")), "no GPU index");
    assert_eq!(reason(&change("SM_CLOCK", "")), "no metric name");
    assert_eq!(reason(&change("\"host\"", "\"ho\u{7}st\"")), "host: a control character in \"ho\\u{7}st\"");
    assert_eq!(reason(&change("\"host\"", &format!("\"{}\"", "x".repeat(256)))), "host: 256 bytes, more than 255");
    assert_eq!(reason(&change("\"host\"", "\"h\0\"")), "a NUL byte in the row");
    assert_eq!(reason(&change("job=", "job")), "labels: a name without =");
    assert!(reason(&change("dcgm", &"x".repeat(40_000))).contains("labels: 400"));
    let mut bytes = change("NVIDIA", "Nv?dia");
    let at = bytes.iter().position(|&byte| byte == b'?').unwrap();
    bytes[at] = 0xff;
    assert_eq!(reason(&bytes), "column modelName: not UTF-8");
}

#[test]
fn a_wide_row_names_the_column() {
    let text = "timestamp,host,gpu,temp\n1752871354,h,0,hot\n1752871354,h,0,60\n";
    let found = rows(text.as_bytes(), &Options::default());
    assert_eq!(reject(&found[0]).reason, "column temp: temperature_celsius: \"hot\" is not a number");
    record(found[1].clone());
}

#[test]
fn a_sentinel_is_a_record_without_a_value() {
    for blank in ["9223372036854775794", "2147483634", "140737488355330", "9.223372036854775808e18", "nan", ""] {
        let text = format!("{LONG}{}", long_row("h", 0, "SM_CLOCK", blank));
        assert_eq!(records(text.as_bytes(), &Options::default())[0].values, [(Metric::named("sm_clock"), None)]);
    }
}

#[test]
fn a_row_torn_within_quotes_does_not_take_the_next_one_along() {
    let whole = long_row("host", 0, "SM_CLOCK", "1980");
    let whole = whole.trim_end().as_bytes();
    // Without a part of the last column, the labels, the row can still be a whole one.
    let labels = whole.windows(10).position(|window| window == b"\"Hostname=").unwrap();
    for cut in 1..whole.len() {
        match cut < labels {
            true => assert!(!reason(&whole[..cut]).is_empty()),
            false => assert_eq!(between_good_rows(&whole[..cut]).line, 3),
        }
    }
}

#[test]
fn an_unterminated_quote_costs_one_line_of_the_file() {
    let good = long_row("h", 0, "SM_CLOCK", "1980");
    let unquoted = "2025-07-18T20:42:34Z,SM_CLOCK,0,,,,h,,,,1980,\n".repeat(2000);
    for rest in [good.repeat(2000), unquoted] {
        let text = format!("{LONG}{good}\"2025-07-18T20:42:34Z,no end\n{rest}");
        let found = rows(text.as_bytes(), &Options { max_row_bytes: 4096, ..Options::default() });
        assert_eq!(found.len(), 2002);
        let rejected: Vec<_> = found.iter().filter(|row| matches!(row.content, Content::Reject(_))).collect();
        assert_eq!(rejected.iter().map(|row| row.line).collect::<Vec<_>>(), [3]);
        assert_eq!(reject(rejected[0]).raw, b"\"2025-07-18T20:42:34Z,no end");
    }
}

#[test]
fn a_field_of_a_mebibyte_is_cut_and_measured() {
    let long = change("1980", &"7".repeat(1024 * 1024));
    let reason = {
        let bytes = [LONG.as_bytes(), &long, b"\r\n", long_row("h", 0, "SM_CLOCK", "1").as_bytes()].concat();
        let found = rows(&bytes, &Options::default());
        record(found[1].clone());
        assert_eq!((found[0].line, found[0].next_line), (2, 3));
        assert_eq!(found[0].end, (LONG.len() + long.len() + 2) as u64);
        reject(&found[0]).clone()
    };
    assert_eq!(reason, Reject::new(reason.reason.clone(), &long));
    assert_eq!((reason.raw.len(), reason.raw_bytes), (MAX_RAW_BYTES, long.len() as u64));
    assert!(reason.reason.contains("1048576 bytes, the limit MAX_ROW_BYTES sets"), "{}", reason.reason);
}

#[test]
fn a_header_repeated_by_rotation_or_concatenation_is_no_row() {
    let row = long_row("h", 0, "SM_CLOCK", "1980");
    let upper = LONG.to_ascii_uppercase();
    let text = format!("{LONG}{row}{LONG}\u{feff}{upper}{row}{LONG}");
    let found = rows(text.as_bytes(), &Options::default());
    assert_eq!(found.len(), 2);
    assert_eq!((found[1].line, found[1].byte), (5, found[0].end));
    record(found[1].clone());
    let other = rows(format!("{LONG}{row}timestamp,host,gpu,temp\n").as_bytes(), &Options::default());
    assert_eq!(reject(&other[1]).reason, "4 fields where the header has 12");
}
