//! Going on behind any row, with the rows that are left and no others.

use std::fs;

use proptest::prelude::*;

use super::*;
use crate::source::{Checkpoint, Stripe};

fn sample() -> String {
    let (row, torn) = (long_row("h", 0, "SM_CLOCK", "1980"), "\"2025-07-18T20:42:34Z\",\"SM_\n");
    let noted = row.replace("dcgm", "a\nb");
    format!("{LONG}{row}\r\n{row}{LONG}{torn}{row}{noted}{}{row}\n", "x".repeat(5000) + "\n")
}

#[test]
fn a_source_goes_on_behind_any_row() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { max_row_bytes: 4096, ..Options::default() };
    for (name, bytes) in [("a.csv", sample().into_bytes()), ("a.csv.gz", gzip(sample().as_bytes()))] {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        let all = drain(&mut open(&path, &options)).0;
        assert_eq!(all.len(), 7);
        for (done, row) in all.iter().enumerate() {
            let mut source = open(&path, &options);
            let fingerprint = source.fingerprint().map(str::to_owned);
            assert!(source.resume(&Checkpoint::from(row)).unwrap());
            assert_eq!(source.fingerprint(), fingerprint.as_deref());
            assert_eq!(drain(&mut source).0, all[done + 1..], "{name} behind row {done}");
        }
    }
}

#[test]
fn a_source_starts_at_any_row() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { max_row_bytes: 4096, ..Options::default() };
    for (name, bytes) in [("a.csv", sample().into_bytes()), ("a.csv.gz", gzip(sample().as_bytes()))] {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        let all = drain(&mut open(&path, &options)).0;
        let mut source = open(&path, &options);
        for (index, row) in all.iter().enumerate().rev() {
            let line = if index == 0 { 2 } else { all[index - 1].next_line };
            assert!(source.start_at(row.byte, line).unwrap());
            assert_eq!(drain(&mut source).0, all[index..], "{name} from row {index}");
        }
        let beyond = all.last().unwrap().end + 1;
        let read = if source.start_at(beyond, 1).unwrap() { drain(&mut source).0 } else { Vec::new() };
        assert_eq!(read, [], "{name}: nothing behind its end");
        assert!(source.start_at(all[3].byte, 1).unwrap());
        assert_eq!(drain(&mut source).0.len(), 4);
        assert_eq!(source.header(), LONG.trim_end().as_bytes());
    }
}

#[test]
fn another_content_is_noticed_and_read_from_its_start() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in [("a.csv", sample().into_bytes()), ("a.csv.gz", gzip(sample().as_bytes()))] {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        let all = drain(&mut open(&path, &Options::default())).0;
        let good = Checkpoint::from(&all[2]);
        for wrong in [
            Checkpoint { crc: good.crc ^ 1, ..good },
            Checkpoint { byte: good.byte + 1, ..good },
            Checkpoint { end: 1 << 40, ..good },
            Checkpoint { byte: 1 << 40, end: (1 << 40) + 1, ..good },
            Checkpoint { byte: good.end, end: good.byte, ..good },
            Checkpoint::default(),
        ] {
            let mut source = open(&path, &Options::default());
            assert!(!source.resume(&wrong).unwrap(), "{wrong:?}");
            assert_eq!(drain(&mut source).0, all);
        }
    }
}

#[test]
fn a_checkpoint_survives_growth_and_renaming() {
    let folder = tempfile::tempdir().unwrap();
    let (path, moved) = (folder.path().join("a.csv"), folder.path().join("b.csv"));
    let row = long_row("h", 0, "SM_CLOCK", "1980");
    fs::write(&path, format!("{LONG}{row}{row}")).unwrap();
    let mut source = open(&path, &Options::default());
    let fingerprint = source.fingerprint().map(str::to_owned);
    let read = drain(&mut source).0;
    fs::write(&moved, format!("{LONG}{row}{row}{row}")).unwrap();
    let mut source = open(&moved, &Options::default());
    assert_eq!(source.fingerprint(), fingerprint.as_deref());
    assert!(source.resume(&Checkpoint::from(&read[1])).unwrap());
    assert_eq!(drain(&mut source).0.len(), 1);
}

#[test]
fn a_stream_cannot_go_on() {
    let mut source = source(sample().as_bytes(), &Options::default());
    assert!(!source.is_resumable());
    let all = rows(sample().as_bytes(), &Options::default());
    assert!(!source.resume(&Checkpoint::from(&all[0])).unwrap());
    assert_eq!(drain(&mut source).0, all);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_row_of_any_stripe_is_a_place_to_go_on(
        lines in proptest::collection::vec("[\",a-c\r]{0,12}|1752871354,h,0,6[0-9]", 1..12),
        stripe in 0..2_u64,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        fs::write(&path, format!("timestamp,hostname,gpu_id,temperature\n{}", lines.join("\n"))).unwrap();
        let options = Options { stripe: Stripe { index: stripe, count: 2 }, ..Options::default() };
        let all = drain(&mut open(&path, &options)).0;
        for (done, row) in all.iter().enumerate() {
            let mut source = open(&path, &options);
            prop_assert!(source.resume(&Checkpoint::from(row)).unwrap());
            prop_assert_eq!(&drain(&mut source).0, &all[done + 1..]);
        }
    }
}
