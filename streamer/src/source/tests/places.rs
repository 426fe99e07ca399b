//! Places: rows tile the file, are those the `csv` crate sees, and do not depend on how the bytes arrive.

use proptest::prelude::*;

use super::*;
use crate::source::Stripe;

const HEADER: &[u8] = b"timestamp,hostname,gpu_id,temperature\n";

/// Pieces of which files fall apart and come together.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let known = [
        "\n",
        "\r",
        "\r\n",
        "\"",
        "\"\"",
        ",",
        "\",\"",
        "1752871354,h,0,60\n",
        "1752871354,h,0,60\r\n",
        "\"1752871354\",\"h\",\"0\",\"60\"\n",
        "\"1752871354\",\"a\nb\",\"0\",\"60\"\n",
        "1752871354,h,0,\n",
        "timestamp,hostname,gpu_id,temperature\n",
        "\u{feff}",
        "x",
        "5\",\",\n",
        "nan",
        "\0",
        "\u{7f}",
    ];
    prop_oneof![
        6 => proptest::sample::select(known.map(str::as_bytes).map(<[u8]>::to_vec).to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..20),
        1 => (0..400_usize).prop_map(|length| vec![b'y'; length]),
    ]
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(piece(), 0..40).prop_map(|pieces| pieces.concat())
}

fn small() -> Options {
    Options { max_row_bytes: 200, ..Options::default() }
}

fn with_header(bytes: &[u8]) -> Vec<u8> {
    [HEADER, bytes].concat()
}

/// Whether these bytes hold nothing but blank lines and the header.
fn no_rows(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes).replace(['\u{feff}', '"', ' '], "");
    text.split(['\n', '\r']).all(|line| line.is_empty() || line.as_bytes() == HEADER.trim_ascii_end())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn rows_tile_any_bytes(bytes in bytes()) {
        let bytes = with_header(&bytes);
        let (found, end) = drain(&mut source(&bytes, &small()));
        prop_assert_eq!(end, Some(End::Complete));
        let mut at = HEADER.len();
        for row in &found {
            prop_assert_eq!(row.byte, at as u64);
            prop_assert!(row.end > row.byte);
            at = usize::try_from(row.end).unwrap();
            let own = &bytes[usize::try_from(row.byte).unwrap()..at];
            let mut crc = flate2::Crc::new();
            crc.update(own);
            prop_assert_eq!(row.crc, crc.sum());
            let lines = |bytes: &[u8]| bytes.iter().filter(|&&byte| byte == b'\n').count() as u64;
            prop_assert_eq!(row.next_line, 1 + lines(&bytes[..at]));
            prop_assert!(row.line <= row.next_line && row.line > lines(&bytes[..usize::try_from(row.byte).unwrap()]));
            if let Content::Reject(reject) = &row.content {
                prop_assert!(reject.raw_bytes as usize <= own.len() && !reject.raw.is_empty());
                prop_assert!(own.windows(reject.raw.len()).any(|window| window == reject.raw));
            }
        }
        prop_assert!(no_rows(&bytes[at..]), "left over: {:?}", String::from_utf8_lossy(&bytes[at..]));
    }

    #[test]
    fn the_same_bytes_give_the_same_rows(bytes in bytes(), sizes in proptest::collection::vec(1..50_usize, 1..8)) {
        let bytes = with_header(&bytes);
        let mut whole = source(&bytes, &small());
        let mut pieces = in_pieces(&bytes, sizes, &small()).unwrap();
        prop_assert_eq!(whole.fingerprint(), pieces.fingerprint());
        prop_assert_eq!(drain(&mut whole), drain(&mut pieces));
    }

    #[test]
    fn rows_are_those_the_csv_crate_sees(
        table in proptest::collection::vec(proptest::collection::vec("[a-c\",\n\r ]{0,6}", 4), 1..20),
        ending in prop_oneof![Just(csv::Terminator::CRLF), Just(csv::Terminator::Any(b'\n'))],
        style in prop_oneof![Just(csv::QuoteStyle::Necessary), Just(csv::QuoteStyle::Always)],
    ) {
        let mut writer =
            csv::WriterBuilder::new().terminator(ending).quote_style(style).has_headers(false).from_writer(Vec::new());
        for record in &table {
            writer.write_record(record).unwrap();
        }
        let bytes = with_header(&writer.into_inner().unwrap());
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(&bytes[..]);
        let want = reader.byte_records().map(Result::unwrap).collect::<Vec<_>>();
        let found = rows(&bytes, &Options::default());
        prop_assert_eq!(found.len(), want.len());
        for (row, want) in found.iter().zip(&want) {
            let own = &bytes[usize::try_from(row.byte).unwrap()..usize::try_from(row.end).unwrap()];
            let mut alone = csv::ReaderBuilder::new().has_headers(false).from_reader(own);
            prop_assert_eq!(&alone.byte_records().map(Result::unwrap).collect::<Vec<_>>(), std::slice::from_ref(want));
            // The crate counts the \n of \r\n with the record behind it.
            if matches!(ending, csv::Terminator::Any(_)) {
                prop_assert_eq!(row.line, want.position().unwrap().line());
            }
        }
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(mut source) = in_pieces(&bytes, vec![7], &small()) {
            drain(&mut source);
        }
    }
}

#[test]
fn stripes_share_the_rows_of_a_file() {
    let row = long_row("host", 0, "SM_CLOCK", "1980");
    let text = format!("{LONG}{}", row.repeat(3 * 1024 * 1024 / row.len()));
    let all = rows(text.as_bytes(), &Options::default());
    let mut shared = Vec::new();
    for index in 0..2 {
        let part = rows(text.as_bytes(), &Options { stripe: Stripe { index, count: 2 }, ..Options::default() });
        assert!(part.len() > all.len() / 4);
        shared.extend(part);
    }
    shared.sort_by_key(|row| row.byte);
    assert!(shared == all);
}

#[test]
fn the_fingerprint_is_of_the_first_row_and_the_header() {
    let print = |text: &str| source(text.as_bytes(), &Options::default()).fingerprint().map(str::to_owned);
    let (one, two) = (long_row("h", 0, "SM_CLOCK", "1"), long_row("h", 0, "SM_CLOCK", "2"));
    let first = print(&format!("{LONG}{one}")).unwrap();
    assert!(first.len() == 16 && first.bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_eq!(print(&format!("{LONG}{one}{two}")), Some(first.clone()));
    assert_eq!(print(&format!("{LONG}{}", one.trim_end())), Some(first.clone()));
    assert_ne!(print(&format!("{LONG}{two}{one}")), Some(first));
    assert_eq!(print(LONG), None);
}
