//! Servers that were started to stay: a note in their folder says so, and on which port they are.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Error, leftover};

fn file(folder: &Path) -> PathBuf {
    folder.join("detached.port")
}

pub(super) fn note(folder: &Path, port: u16) -> Result<(), Error> {
    fs::write(file(folder), port.to_string()).map_err(Error::io(format!("writing {}", file(folder).display())))
}

pub(super) fn forget(folder: &Path) {
    // Mostly there is none.
    let _ = fs::remove_file(file(folder));
}

pub(super) fn port(folder: &Path, pid_file: &Path, data: &Path) -> Option<u16> {
    let port = fs::read_to_string(file(folder)).ok()?.trim().parse().ok()?;
    leftover::is_left(pid_file, &data.display().to_string()).then_some(port)
}
