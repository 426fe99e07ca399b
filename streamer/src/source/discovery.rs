//! FOLLOW=true: the files CSV_FILE names, as they appear.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use super::locate::candidates;
use super::tail::FileId;
use super::{Error, Location, Options, Source};

/// A file that appeared.
#[derive(Debug)]
pub struct Found {
    /// Its path.
    pub name: String,
    /// It, with its first row complete; or why it cannot be read, which is told once.
    pub source: Result<Source, Error>,
}

/// Finds files as they appear.
///
/// A file is found when its first row is complete, and not again while its [`Source`] exists: whatever its name is by
/// then. When the source is dropped, the file is found again if it still has a name that CSV_FILE covers (a cut file has
/// new content, a renamed one goes on from its checkpoint), unless it was read to its end and did not change.
pub struct Discovery {
    spec: String,
    options: Options,
    known: HashMap<FileId, Known>,
    /// Standard input was handed out.
    stdin: bool,
    trouble: Option<String>,
}

struct Known {
    size: Size,
    state: State,
}

type Size = (u64, Option<SystemTime>);

enum State {
    /// A source reads it; the flag says whether it came to the end.
    Open(Arc<AtomicBool>),
    /// Read to its end, or not readable: of interest once it changes.
    Done,
    /// No source of ours: of interest once it is cut.
    Bad,
}

impl Discovery {
    /// Watches what CSV_FILE names. Nothing there yet is fine, a pattern that is none is not.
    pub fn new(spec: impl Into<String>, options: Options) -> Result<Self, Error> {
        let spec = spec.into();
        candidates(&spec)?;
        let options = Options { follow: true, ..options };
        Ok(Discovery { spec, options, known: HashMap::new(), stdin: false, trouble: None })
    }

    /// The files that appeared since the last call.
    pub fn poll(&mut self) -> Vec<Found> {
        if self.spec == "-" {
            let first = !std::mem::replace(&mut self.stdin, true);
            return first.then(|| self.open(&Location::Stdin)).into_iter().collect();
        }
        let paths = match candidates(&self.spec) {
            Ok(paths) => paths,
            Err(error) => return self.tell_once(error),
        };
        self.trouble = None;
        self.notice_dropped();
        let mut present = HashSet::new();
        let found = paths.into_iter().filter_map(|path| self.look(&path, &mut present)).collect();
        self.known.retain(|id, known| matches!(known.state, State::Open(_)) || present.contains(id));
        found
    }

    /// Sources that were dropped make room for their files' next content.
    fn notice_dropped(&mut self) {
        self.known.retain(|_, known| match &known.state {
            State::Open(complete) if Arc::strong_count(complete) > 1 => true,
            State::Open(complete) if complete.load(Ordering::Relaxed) => {
                known.state = State::Done;
                true
            }
            State::Open(_) => false,
            State::Done | State::Bad => true,
        });
    }

    fn look(&mut self, path: &Path, present: &mut HashSet<FileId>) -> Option<Found> {
        // Gone since it was listed: the next poll tells.
        let meta = fs::metadata(path).ok()?;
        let (id, size) = (FileId::of(&meta), (meta.len(), meta.modified().ok()));
        present.insert(id);
        let of_interest = match self.known.get(&id) {
            None => true,
            Some(Known { state: State::Open(_), .. }) => false,
            Some(Known { state: State::Done, size: before }) => size != *before,
            Some(Known { state: State::Bad, size: before }) => size.0 < before.0,
        };
        if !of_interest {
            return None;
        }
        // Cut for good: whatever it held is no longer what it holds.
        self.known.remove(&id);
        if meta.is_file() && meta.len() == 0 {
            return None;
        }
        let found = self.open(&Location::File(PathBuf::from(path)));
        let state = match &found.source {
            Ok(source) if source.fingerprint().is_none() => return None,
            Err(Error::Incomplete { .. } | Error::Empty { .. }) => return None,
            Err(Error::Read { cause, .. }) if cause.kind() == ErrorKind::NotFound => return None,
            Ok(source) => State::Open(source.complete()),
            // A file that is still being compressed, say.
            Err(Error::Read { .. }) => State::Done,
            Err(_) => State::Bad,
        };
        // The name may stand for another file by now: the open one counts.
        let id = found.source.as_ref().ok().and_then(Source::id).unwrap_or(id);
        present.insert(id);
        self.known.insert(id, Known { size, state });
        Some(found)
    }

    fn open(&self, location: &Location) -> Found {
        Found { name: location.to_string(), source: Source::open(location, &self.options) }
    }

    fn tell_once(&mut self, error: Error) -> Vec<Found> {
        let message = error.to_string();
        if self.trouble.replace(message.clone()).is_some_and(|before| before == message) {
            return Vec::new();
        }
        vec![Found { name: self.spec.clone(), source: Err(error) }]
    }
}
