//! A source, read again: the rows of one GPU, with their exact places.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use nexus_common::domain::{Content, Metric, Timestamp};
use nexus_streamer::source::{Checkpoint, Location, Next, Options, Source};

/// Which rows.
#[derive(Debug, Clone, Default)]
pub(super) struct Wanted {
    pub(super) host: String,
    /// An index or a UUID.
    pub(super) gpu: String,
    /// The rows' own times; every time where it is `None`.
    pub(super) times: Option<HashSet<i64>>,
    pub(super) metric: Option<Metric>,
}

/// Where to look: a batch's part of the source, or all of it up to the last byte that was published.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    /// Offset and line of the first row; `None`: from the start.
    pub(super) first: Option<(u64, u64)>,
    /// Offset behind the last row.
    pub(super) end: u64,
}

/// A row that is wanted.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Found {
    pub(super) line: u64,
    pub(super) byte: u64,
    pub(super) end: u64,
    /// The time in the source.
    pub(super) timestamp: Timestamp,
    pub(super) values: BTreeMap<String, Option<f64>>,
    /// The row as it stands there; not of compressed files.
    pub(super) text: Option<String>,
}

/// What a look into a file showed.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) rows: Vec<Found>,
    /// Rows that were read.
    pub(super) read: u64,
}

/// The name of the lanes of a file.
pub(super) fn fingerprint(path: &Path, options: &Options) -> Result<Option<String>, String> {
    let source = Source::open(&Location::File(path.to_owned()), options).map_err(|error| error.to_string())?;
    Ok(source.fingerprint().map(str::to_owned))
}

/// Reads a part of a file for the rows that are wanted.
pub(super) fn look(path: &Path, options: &Options, part: Part, wanted: &Wanted) -> Result<Look, String> {
    let mut source = Source::open(&Location::File(path.to_owned()), options).map_err(|error| error.to_string())?;
    let plain = source.total_bytes().is_some().then(|| File::open(path).ok()).flatten();
    let skipped = part.first.filter(|(byte, _)| plain.as_ref().is_some_and(|file| skip(&mut source, file, *byte)));
    let mut shift = None;
    let (mut rows, mut read) = (Vec::new(), 0);
    loop {
        let row = match source.next() {
            Ok(Next::Row(row)) if row.byte < part.end => row,
            Ok(_) => break,
            Err(error) => return Err(error.to_string()),
        };
        read += 1;
        // Behind a skip lines are counted from 1; the batch's first row says what is missing.
        let missing = *shift.get_or_insert_with(|| skipped.map_or(0, |(_, line)| line.saturating_sub(row.line)));
        if part.first.is_some_and(|(byte, _)| row.byte < byte) {
            continue;
        }
        let Content::Record(record) = row.content else { continue };
        let gpu = &record.described.gpu;
        let is_gpu = gpu.gpu == wanted.gpu || gpu.uuid.as_deref() == Some(wanted.gpu.as_str());
        let is_time = wanted.times.as_ref().is_none_or(|times| times.contains(&record.timestamp.0));
        if gpu.host != wanted.host || !is_gpu || !is_time {
            continue;
        }
        let of_metric =
            record.values.into_iter().filter(|(m, _)| wanted.metric.as_ref().is_none_or(|metric| metric == m));
        let values: BTreeMap<_, _> = of_metric.map(|(metric, value)| (metric.name().to_owned(), value)).collect();
        if wanted.metric.is_some() && values.is_empty() {
            continue;
        }
        rows.push(Found {
            line: row.line + missing,
            byte: row.byte,
            end: row.end,
            timestamp: record.timestamp,
            values,
            text: plain.as_ref().and_then(|file| text(file, row.byte, row.end)),
        });
    }
    Ok(Look { rows, read })
}

/// Goes on at an offset between two rows, without reading what lies before it: a checkpoint of the one byte before it is
/// enough to say that we were there.
fn skip(source: &mut Source, file: &File, byte: u64) -> bool {
    let Some(before) = byte.checked_sub(1) else { return false };
    let mut last = [0];
    if file.read_exact_at(&mut last, before).is_err() {
        return false;
    }
    let checkpoint = Checkpoint { byte: before, end: byte, next_line: 1, crc: crc32(last[0]) };
    source.resume(&checkpoint).unwrap_or(false)
}

/// CRC-32 of one byte.
fn crc32(byte: u8) -> u32 {
    let shifted = (0..8).fold(0xffff_ffff ^ u32::from(byte), |crc, _| match crc & 1 {
        1 => (crc >> 1) ^ 0xedb8_8320,
        _ => crc >> 1,
    });
    !shifted
}

/// Most of a row that is shown, in bytes.
const SHOWN: u64 = 1_000;

fn text(file: &File, byte: u64, end: u64) -> Option<String> {
    let mut bytes = vec![0; usize::try_from((end - byte).min(SHOWN)).ok()?];
    file.read_exact_at(&mut bytes, byte).ok()?;
    Some(String::from_utf8_lossy(&bytes).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    const HEADER: &str = "timestamp,hostname,gpu_id,power_draw\n";

    fn file(rows: u64) -> (tempfile::TempDir, std::path::PathBuf, Vec<u64>) {
        let folder = tempfile::tempdir().unwrap();
        let (mut content, mut starts) = (HEADER.to_owned(), Vec::new());
        for row in 0..rows {
            starts.push(content.len() as u64);
            // A blank line before every third row: its byte is that row's.
            let blank = if row % 3 == 2 { "\n" } else { "" };
            writeln!(content, "{blank}2026-01-01T00:00:{:02}Z,h{},0,{row}", row / 2, row % 2).unwrap();
        }
        starts.push(content.len() as u64);
        let path = folder.path().join("x.csv");
        std::fs::write(&path, content).unwrap();
        (folder, path, starts)
    }

    fn wanted(times: Option<HashSet<i64>>) -> Wanted {
        Wanted { host: "h1".into(), gpu: "0".into(), times, metric: None }
    }

    #[test]
    fn a_part_of_a_file_gives_the_same_places_as_all_of_it() {
        let (_folder, path, starts) = file(50);
        let options = Options::default();
        let all = look(&path, &options, Part { first: None, end: u64::MAX }, &wanted(None)).unwrap();
        assert_eq!((all.rows.len(), all.read), (25, 50));
        let line = |row: usize| all.rows.iter().find(|found| found.byte == starts[row]).unwrap().line;
        for first in [1, 3, 5, 9, 11, 41] {
            let part = Part { first: Some((starts[first], line(first))), end: starts[first + 6] };
            let some = look(&path, &options, part, &wanted(None)).unwrap();
            assert_eq!(some.read, 6, "what lies before is not read");
            let expected: Vec<_> =
                all.rows.iter().filter(|row| (starts[first]..starts[first + 6]).contains(&row.byte)).collect();
            assert_eq!(some.rows.iter().collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn only_rows_of_the_gpu_and_the_time_are_found() {
        let (_folder, path, _) = file(50);
        let at: jiff::Timestamp = "2026-01-01T00:00:07Z".parse().unwrap();
        let times = Some([at.as_microsecond()].into());
        let look = look(&path, &Options::default(), Part { first: None, end: u64::MAX }, &wanted(times)).unwrap();
        let [row] = look.rows.as_slice() else { panic!("{:?}", look.rows) };
        assert_eq!(row.values["power_watts"], Some(15.0));
        assert_eq!(row.text.as_deref(), Some("2026-01-01T00:00:07Z,h1,0,15"));
        assert_eq!(fingerprint(&path, &Options::default()).unwrap().map(|name| name.len()), Some(16));
    }

    #[test]
    fn the_checksum_of_one_byte_is_the_usual_one() {
        assert_eq!((crc32(b'\n'), crc32(b'a')), (0x32d7_0693, 0xe8b7_be43));
    }
}
