//! What holds of any file. Panics where it does not: for `testing::fuzz`, and for `fuzz/`.

use std::io::{self, Cursor, Read, Write};

use nexus_common::domain::{Content, Row};
use nexus_common::queue::{Body, Decoded, decode};
use nexus_streamer::source::{Checkpoint, End, Location, Next, Options, Source};

/// Rows are longer than this often enough to be torn.
const MAX_ROW_BYTES: usize = 300;
/// The two bytes that a zipped file starts with.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// The rows of a file, and how it ended; or why it is refused.
type Rows = Result<(Vec<Row>, End), String>;

/// A file's rows tile it, are the same however its bytes arrive, and travel through the queue unchanged.
pub(crate) fn csv(bytes: &[u8]) {
    if bytes.starts_with(&GZIP) {
        return gzip(bytes);
    }
    let rows = read(Cursor::new(bytes.to_vec()));
    // Sizes that the bytes choose, so that a failure can be repeated.
    let sizes = bytes.iter().rev().take(5).map(|byte| usize::from(*byte % 40) + 1).collect();
    assert_eq!(read(Pieces { bytes: Cursor::new(bytes.to_vec()), sizes, turn: 0 }), rows, "in pieces");
    assert_eq!(read(Cursor::new(zipped(bytes))), rows, "zipped");
    let Ok((rows, end)) = rows else { return };
    assert_eq!(end, End::Complete);
    tile(bytes, &rows);
    for row in &rows {
        travels(row);
    }
    goes_on(bytes, &rows);
}

/// Anything zipped, well or not, is read or refused. How many rows come before a place that is broken depends on how the
/// bytes arrive, what they are does not.
pub(crate) fn gzip(bytes: &[u8]) {
    let (whole, end) = read_until_broken(Cursor::new(bytes.to_vec()));
    let sizes = vec![usize::from(bytes.last().copied().unwrap_or_default()) + 1];
    let (pieces, other) = read_until_broken(Pieces { bytes: Cursor::new(bytes.to_vec()), sizes, turn: 0 });
    match (end, other) {
        (Ok(_), Ok(_)) => assert_eq!(whole, pieces),
        (Err(_), Err(_)) => assert!(whole.iter().zip(&pieces).all(|(row, other)| row == other)),
        (end, other) => panic!("{end:?} when it comes at once, {other:?} in pieces"),
    }
}

/// Each row begins where the one before ended, says what its bytes are, and nothing but headers and blank lines is left.
fn tile(bytes: &[u8], rows: &[Row]) {
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return };
    let at = |offset: u64| usize::try_from(offset).unwrap();
    let mut next = first.byte;
    for row in rows {
        assert_eq!(row.byte, next, "line {}", row.line);
        assert!(row.end > row.byte && at(row.end) <= bytes.len());
        next = row.end;
        let own = &bytes[at(row.byte)..at(row.end)];
        let mut crc = flate2::Crc::new();
        crc.update(own);
        assert_eq!(row.crc, crc.sum());
        if let Content::Reject(reject) = &row.content {
            assert!(!reject.raw.is_empty() && reject.raw.len() as u64 == reject.raw_bytes);
            assert!(own.windows(reject.raw.len()).any(|part| part == reject.raw));
            assert!(!reject.reason.is_empty() && reject.reason.len() < 1_000, "{}", reject.reason);
            assert!(!reject.reason.contains(char::is_control), "{:?}", reject.reason);
        }
    }
    let around = [&bytes[..at(first.byte)], b"\n", &bytes[at(last.end)..]].concat();
    let (left, _) = read(Cursor::new(around)).unwrap();
    assert!(left.is_empty(), "{left:?} lies outside of every row");
}

/// What a row says arrives as it was said.
fn travels(row: &Row) {
    let body = match &row.content {
        Content::Record(record) => {
            assert!(!record.described.gpu.host.is_empty() && !record.described.gpu.gpu.is_empty());
            let names = [
                Some(&record.described.gpu.host),
                Some(&record.described.gpu.gpu),
                record.described.gpu.uuid.as_ref(),
                record.described.gpu.mig.as_ref(),
            ];
            assert!(names.into_iter().flatten().all(|name| !name.contains(char::is_control)));
            assert!(record.described.labels.values().all(|value| !value.is_empty() && !value.contains('\0')));
            for (metric, value) in &record.values {
                let value = value.unwrap_or_default();
                assert!(value.is_finite() && metric.refusal(value).is_none(), "{metric:?}: {value}");
            }
            Body::of(record.clone(), row.line, row.byte)
        }
        Content::Reject(reject) => Body::Dead { line: row.line, byte: row.byte, reject: reject.clone() },
    };
    match decode(&body.encode()) {
        Decoded::Body(read) => assert_eq!(read, body),
        other => panic!("{body:?} became {other:?}"),
    }
}

/// A file goes on behind any of its rows with those that are left.
fn goes_on(bytes: &[u8], rows: &[Row]) {
    // One of them, chosen by the bytes: a file is written for it.
    let Some(done) = bytes.len().checked_rem(rows.len() * 4).filter(|done| *done < rows.len()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.csv");
    std::fs::write(&path, bytes).unwrap();
    let mut source = Source::open(&Location::File(path), &options()).unwrap();
    assert!(source.resume(&Checkpoint::from(&rows[done])).unwrap());
    assert_eq!(drain(&mut source), Ok((rows[done + 1..].to_vec(), End::Complete)));
}

fn options() -> Options {
    Options { max_row_bytes: MAX_ROW_BYTES, source_host: Some("here".to_owned()), ..Options::default() }
}

fn read(reader: impl Read + Send + 'static) -> Rows {
    let mut source = Source::from_reader("test", reader, &options()).map_err(|error| error.to_string())?;
    drain(&mut source)
}

fn drain(source: &mut Source) -> Rows {
    let (rows, end) = drain_until_broken(source);
    Ok((rows, end?))
}

fn read_until_broken(reader: impl Read + Send + 'static) -> (Vec<Row>, Result<End, String>) {
    match Source::from_reader("test", reader, &options()) {
        Ok(mut source) => drain_until_broken(&mut source),
        Err(error) => (Vec::new(), Err(error.to_string())),
    }
}

fn drain_until_broken(source: &mut Source) -> (Vec<Row>, Result<End, String>) {
    let mut rows = Vec::new();
    loop {
        match source.next() {
            Ok(Next::Row(row)) => rows.push(row),
            Ok(Next::Pending) => panic!("nobody follows this file"),
            Ok(Next::End(end)) => return (rows, Ok(end)),
            Err(error) => return (rows, Err(error.to_string())),
        }
    }
}

fn zipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Gives its bytes in pieces of these sizes, over and over.
struct Pieces {
    bytes: Cursor<Vec<u8>>,
    sizes: Vec<usize>,
    turn: usize,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let size = self.sizes.get(self.turn % self.sizes.len().max(1)).copied().unwrap_or(1).min(buffer.len());
        self.turn += 1;
        self.bytes.read(&mut buffer[..size])
    }
}
