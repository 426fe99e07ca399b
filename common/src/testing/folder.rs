//! Temporary folders that another user can reach.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::servers::Account;

/// Room a file system in memory must have to be used, in KiB.
const ROOMY_KIB: u64 = 2 << 20;

/// Where temporary folders go: memory where it has much room (a database is a thousand files), else the system's place,
/// or `/tmp` where PostgreSQL's user cannot enter that.
fn place() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    if room_kib(&memory).is_some_and(|room| room >= ROOMY_KIB) {
        return memory;
    }
    let usual = std::env::temp_dir();
    let account = Account::for_postgres().unwrap_or_else(|error| panic!("{error}"));
    if account.barrier(&usual).is_some() { PathBuf::from("/tmp") } else { usual }
}

/// What `df` says is free where `folder` is.
fn room_kib(folder: &Path) -> Option<u64> {
    let writable = fs::metadata(folder).is_ok_and(|folder| folder.permissions().mode() & 0o1777 == 0o1777);
    let output = writable.then(|| Command::new("df").arg("-Pk").arg(folder).output().ok())??;
    String::from_utf8(output.stdout).ok()?.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()
}

/// A new folder in which PostgreSQL's user can have folders of its own; it goes with the value.
pub fn folder() -> tempfile::TempDir {
    let folder = tempfile::Builder::new().prefix("nexus-test-").tempdir_in(place()).expect("a temporary folder");
    let enterable = fs::Permissions::from_mode(0o711);
    fs::set_permissions(folder.path(), enterable).expect("permissions of a temporary folder");
    folder
}
