//! Which file on this machine a lane's source is: by content, not by name.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use nexus_streamer::source::Options;

use super::file::fingerprint;

/// Files, and what their lanes are called.
pub(super) struct Files {
    options: Options,
    /// Named by `--file`: for every lane they are the source of.
    given: Vec<PathBuf>,
    known: HashMap<PathBuf, Result<Option<String>, String>>,
    /// What was wrong, by file.
    troubles: Vec<String>,
}

impl Files {
    pub(super) fn new(options: Options, given: &[PathBuf]) -> Self {
        Files { options, given: given.to_vec(), known: HashMap::new(), troubles: Vec::new() }
    }

    pub(super) fn options(&self) -> &Options {
        &self.options
    }

    /// The file that a lane was published from, if it is here: one of `--file`, or the one of the name its streamer read.
    pub(super) fn of_lane(&mut self, lane: &str, name: &str) -> Option<PathBuf> {
        let given = self.given.clone();
        if let Some(path) = given.into_iter().find(|path| self.is_of(path, lane)) {
            return Some(path);
        }
        if lane.starts_with("stream-") {
            self.trouble(format!("{name} cannot be read again"));
            return None;
        }
        let path = PathBuf::from(name);
        if !path.is_file() {
            self.trouble(format!("{name} is not here; --file PATH says where it is"));
            return None;
        }
        if self.is_of(&path, lane) {
            return Some(path);
        }
        let trouble = match self.fingerprint(&path) {
            Ok(_) => {
                format!("{name} is another file now than the one that was published; --file PATH says where that is")
            }
            Err(error) => error,
        };
        self.trouble(trouble);
        None
    }

    /// What kept files from being read, each once.
    pub(super) fn troubles(&self) -> &[String] {
        &self.troubles
    }

    pub(super) fn trouble(&mut self, text: String) {
        if !self.troubles.contains(&text) {
            self.troubles.push(text);
        }
    }

    /// A lane is named after its source's content. What an operator sent again has a lane of another name: there the
    /// file's name has to do.
    fn is_of(&mut self, path: &Path, lane: &str) -> bool {
        if lane.starts_with("redrive-") || lane.starts_with("republish-") {
            return true;
        }
        matches!(self.fingerprint(path), Ok(Some(name)) if lane.strip_prefix(&name).is_some_and(|rest| rest.starts_with('-')))
    }

    fn fingerprint(&mut self, path: &Path) -> Result<Option<String>, String> {
        let options = &self.options;
        self.known.entry(path.to_owned()).or_insert_with(|| fingerprint(path, options)).clone()
    }
}
