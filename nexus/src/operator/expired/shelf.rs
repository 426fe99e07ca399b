//! The sources that expired batches came from: found again, known again, read again.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use nexus_common::books::expired::Batch;
use nexus_common::domain::{Content, Row};
use nexus_streamer::fingerprint_of;
use nexus_streamer::source::{Checkpoint, Error, Location, Next, Options, Source};

/// Where sources are looked for.
#[derive(Debug, Clone, Default)]
pub(super) enum Place {
    /// Where they were.
    #[default]
    AsBefore,
    /// In this folder, under their name.
    Folder(PathBuf),
    /// All in this file.
    File(PathBuf),
}

/// Reads batches; one source is open at a time.
pub(super) struct Shelf {
    place: Place,
    options: Options,
    /// What became of opening each source, and its fingerprint.
    known: HashMap<PathBuf, Result<Option<String>, String>>,
    /// The last row that each lane has published, as its cursor in etcd knows it.
    marks: HashMap<String, Checkpoint>,
    /// Whether a file has the last row of a lane where the lane left it.
    marked: HashMap<(PathBuf, String), Result<bool, String>>,
    open: Option<Open>,
}

struct Open {
    path: PathBuf,
    source: Source,
    /// Behind the last row that was read.
    at: u64,
    /// Lines that were counted too many: blank ones before the first row that was read.
    ahead: u64,
}

impl Shelf {
    pub(super) fn new(place: Place, options: Options) -> Self {
        let (known, marks, marked) = (HashMap::new(), HashMap::new(), HashMap::new());
        Shelf { place, options, known, marks, marked, open: None }
    }

    /// What is known of a lane besides its name: with it a file that lost or gained a row is noticed, wherever that was.
    pub(super) fn mark(&mut self, lane: &str, last: Checkpoint) {
        self.marks.insert(lane.to_owned(), last);
    }

    /// The file to read a batch from.
    pub(super) fn path(&self, batch: &Batch) -> PathBuf {
        match &self.place {
            Place::AsBefore => PathBuf::from(&batch.file),
            Place::Folder(folder) => folder.join(Path::new(&batch.file).file_name().unwrap_or_default()),
            Place::File(path) => path.clone(),
        }
    }

    /// Whether the batch's source is there and is the one it was read from.
    ///
    /// # Errors
    /// Why not, and what to do about it.
    pub(super) fn check(&mut self, batch: &Batch) -> Result<(), String> {
        let given = matches!(self.place, Place::File(_));
        match fingerprint_of(&batch.origin) {
            None if batch.origin.starts_with("redrive-") => {
                Err("these were dead letters: nexus dlq redrive --again sends them once more".to_owned())
            }
            None if !given => {
                Err(format!("a stream cannot be read again; with a copy of it: --lane {} --file COPY", batch.origin))
            }
            wanted => {
                let path = self.path(batch);
                let found = self.fingerprint(&path)?;
                match wanted {
                    Some(wanted) if found.as_deref() != Some(wanted) => Err(self.other(&path)),
                    _ if self.has_mark(&path, &batch.origin)? => Ok(()),
                    _ => Err(format!(
                        "{} has changed since: the last row that was published is not where it was",
                        path.display()
                    )),
                }
            }
        }
    }

    /// The rows of a batch as they were published, with the time they had in its pass.
    ///
    /// # Errors
    /// Where its source is not there, or is not what it was.
    pub(super) fn rows(&mut self, batch: &Batch) -> Result<Vec<Row>, String> {
        self.check(batch)?;
        let path = self.path(batch);
        let rows = self.read(&path, batch);
        if rows.is_err() {
            self.open = None;
        }
        rows
    }

    fn read(&mut self, path: &Path, batch: &Batch) -> Result<Vec<Row>, String> {
        let [first, end] = batch.bytes.map(i64::unsigned_abs);
        let [first_line, last_line] = batch.lines.map(i64::unsigned_abs);
        let changed = |how: String| format!("{} has changed since: {how}", path.display());
        // What follows on is read on: a gzip file has to be read from its start for every other place.
        let mut open = match self.open.take().filter(|open| open.path == path && open.at == first) {
            Some(open) => open,
            None => {
                let mut source = self.source(path).map_err(|error| error.to_string())?;
                let placed = source.start_at(first, first_line).map_err(|error| error.to_string())?;
                if !placed {
                    return Err(changed(format!("it ends before byte {first}")));
                }
                Open { path: path.to_owned(), source, at: first, ahead: u64::MAX }
            }
        };
        let mut rows = Vec::new();
        while open.at < end {
            let Next::Row(mut row) = open.source.next().map_err(|error| error.to_string())? else {
                return Err(changed(format!("it ends before byte {end}")));
            };
            if open.ahead == u64::MAX {
                open.ahead = row.line.saturating_sub(first_line);
            }
            row.line -= open.ahead.min(row.line);
            open.at = row.end;
            if let Content::Record(record) = &mut row.content {
                record.timestamp = record.timestamp.shifted(batch.shift_us);
            }
            rows.push(row);
        }
        let line = rows.last().map_or(0, |row| row.line);
        if open.at != end {
            return Err(changed(format!("no row ends at byte {end}")));
        }
        if (rows.len() as u64, line) != (u64::from(batch.rows.unsigned_abs()), last_line) {
            return Err(changed(format!(
                "{} rows up to line {line} where the batch had {} up to line {last_line}",
                rows.len(),
                batch.rows
            )));
        }
        self.open = Some(open);
        Ok(rows)
    }

    /// The fingerprint of a file; `None` where it has no row.
    pub(super) fn fingerprint(&mut self, path: &Path) -> Result<Option<String>, String> {
        if let Some(known) = self.known.get(path) {
            return known.clone();
        }
        let found = match self.source(path) {
            Ok(source) => Ok(source.fingerprint().map(str::to_owned)),
            Err(Error::Read { name, cause }) if cause.kind() == std::io::ErrorKind::NotFound => {
                Err(format!("{name} is not there: --file PATH or --dir FOLDER say where it is now"))
            }
            Err(error @ Error::Header { .. })
                if self.options.source_host.is_none() && error.to_string().contains("SOURCE_HOST") =>
            {
                Err(format!("{}: its rows name no host: --source-host HOST as the streamer had it", path.display()))
            }
            Err(error) => Err(error.to_string()),
        };
        self.known.insert(path.to_owned(), found.clone());
        found
    }

    fn has_mark(&mut self, path: &Path, lane: &str) -> Result<bool, String> {
        let Some(mark) = self.marks.get(lane) else { return Ok(true) };
        let place = (path.to_owned(), lane.to_owned());
        if let Some(known) = self.marked.get(&place) {
            return known.clone();
        }
        let found = self.source(path).and_then(|mut source| source.resume(mark)).map_err(|error| error.to_string());
        self.marked.insert(place, found.clone());
        found
    }

    fn source(&self, path: &Path) -> Result<Source, Error> {
        Source::open(&Location::File(path.to_owned()), &self.options)
    }

    fn other(&self, path: &Path) -> String {
        format!(
            "{} is another file now (its header or first row differ): --file PATH or --dir FOLDER say where the old one is",
            path.display()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nexus_common::domain::Timestamp;

    const HEADER: &str = "timestamp,gpu_id,hostname,temperature\n";

    fn row(index: usize) -> String {
        format!("2026-01-01T00:00:{index:02}Z,0,{},41\n", "h".repeat(index))
    }

    /// Rows 3 to 5 of a file with a blank line before each row.
    fn middle(folder: &Path) -> Batch {
        let rows: String = (1..=8).map(|index| format!("\n{}", row(index))).collect();
        let path = folder.join("a.csv");
        std::fs::write(&path, format!("{HEADER}{rows}")).unwrap();
        let first = HEADER.len() + (1..3).map(|index| row(index).len() + 1).sum::<usize>();
        let end = first + (3..6).map(|index| row(index).len() + 1).sum::<usize>();
        Batch {
            lane: "stream-1".into(),
            run: "r".into(),
            n: 1,
            rows_before: 2,
            published_at: Timestamp(0),
            rows: 3,
            expired: 3,
            file: path.to_str().unwrap().into(),
            pass: 0,
            lines: [7, 11],
            bytes: [first as i64, end as i64],
            shift_us: 1_000_000,
            origin: "stream-1".into(),
            returned: None,
        }
    }

    fn shelf(batch: &Batch) -> Shelf {
        Shelf::new(Place::File(batch.file.clone().into()), Options::default())
    }

    #[test]
    fn a_batch_is_read_with_its_lines_and_times() {
        let folder = tempfile::tempdir().unwrap();
        let batch = middle(folder.path());
        let rows = shelf(&batch).rows(&batch).unwrap();
        let of = |row: &Row| match &row.content {
            Content::Record(record) => (row.line, record.timestamp.to_string()),
            Content::Reject(reject) => panic!("{reject:?}"),
        };
        let expected = [(7, 4), (9, 5), (11, 6)].map(|(line, second)| (line, format!("2026-01-01T00:00:0{second}Z")));
        assert_eq!(rows.iter().map(of).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn another_content_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let batch = middle(folder.path());
        let said = |batch: &Batch| shelf(batch).rows(batch).unwrap_err();
        assert!(said(&Batch { rows: 4, ..batch.clone() }).contains("3 rows up to line 11 where the batch had 4"));
        assert!(said(&Batch { lines: [7, 12], ..batch.clone() }).contains("had 3 up to line 12"));
        let [first, end] = batch.bytes;
        assert!(said(&Batch { bytes: [first, end - 1], ..batch.clone() }).contains("no row ends at byte"));
        assert!(said(&Batch { bytes: [first, 10_000], ..batch.clone() }).contains("it ends before byte 10000"));
        let mut shelf = shelf(&batch);
        shelf.mark("stream-1", Checkpoint { byte: 60, end: 70, next_line: 4, crc: 1 });
        assert!(shelf.rows(&batch).unwrap_err().contains("is not where it was"));
    }
}
