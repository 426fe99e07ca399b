//! Temporary folders that another user can reach.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::servers::Account;

/// Where temporary folders go: the system's place, or `/tmp` where PostgreSQL's user cannot enter that.
fn place() -> PathBuf {
    let usual = std::env::temp_dir();
    let account = Account::for_postgres().unwrap_or_else(|error| panic!("{error}"));
    if account.barrier(&usual).is_some() { PathBuf::from("/tmp") } else { usual }
}

/// A new folder in which PostgreSQL's user can have folders of its own; it goes with the value.
pub fn folder() -> tempfile::TempDir {
    let folder = tempfile::Builder::new().prefix("nexus-test-").tempdir_in(place()).expect("a temporary folder");
    open(folder.path());
    folder
}

/// The same without an owner: for a server, whose guard removes it.
pub(super) fn unowned() -> PathBuf {
    folder().keep()
}

fn open(folder: &Path) {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o711)).expect("permissions of a temporary folder");
}
