//! The sources that expired batches came from: found again, known again, read again.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use nexus_common::books::expired::Batch;
use nexus_common::domain::{Content, Row};
use nexus_streamer::fingerprint_of;
use nexus_streamer::source::{Error, Location, Next, Options, Source};

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
        Shelf { place, options, known: HashMap::new(), open: None }
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
                    _ => Ok(()),
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
