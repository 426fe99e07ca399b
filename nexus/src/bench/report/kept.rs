//! What is kept of a part: the figures of its runs as they were printed, and where and when.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::machine::Machine;
use super::today;

/// One part.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) part: String,
    /// What repeats it.
    pub(super) command: String,
    pub(super) date: String,
    pub(super) machine: Machine,
    /// What each run printed.
    pub(super) runs: Vec<Value>,
    /// Why runs are missing.
    pub(super) failures: Vec<String>,
}

impl Kept {
    pub(super) fn new(part: &str, arguments: &[&str], machine: &Machine) -> Kept {
        Kept {
            part: part.to_owned(),
            command: format!("nexus bench {}", arguments.join(" ")),
            date: today(),
            machine: machine.clone(),
            runs: Vec::new(),
            failures: Vec::new(),
        }
    }

    /// `None` where it was never measured.
    pub(super) fn read(folder: &Path, part: &str) -> anyhow::Result<Option<Kept>> {
        let path = path(folder, part);
        match std::fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            read => {
                let doing = || format!("reading {}", path.display());
                Ok(Some(serde_json::from_slice(&read.with_context(doing)?).with_context(doing)?))
            }
        }
    }

    pub(super) fn write(&self, folder: &Path) -> anyhow::Result<()> {
        let path = path(folder, &self.part);
        let text = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
    }
}

fn path(folder: &Path, part: &str) -> PathBuf {
    folder.join(format!("{part}.json"))
}
