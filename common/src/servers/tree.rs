//! Folders as a whole: copied and given to another user.

use std::io;
use std::os::unix::fs::lchown;
use std::path::Path;

use super::account::Account;

/// Copies a file or a folder to `to`, which must not exist yet; the copy belongs to `account`.
#[cfg(feature = "testing")]
pub(crate) fn copy(from: &Path, to: &Path, account: &Account) -> io::Result<()> {
    use std::fs;
    use std::os::unix::fs::DirBuilderExt;
    if !from.is_dir() {
        fs::copy(from, to)?;
        return give(to, account);
    }
    fs::DirBuilder::new().mode(0o700).create(to)?;
    give(to, account)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy(&entry.path(), &to.join(entry.file_name()), account)?;
    }
    Ok(())
}

/// Gives one file or folder to the account, where it is another than ours.
pub(crate) fn give(path: &Path, account: &Account) -> io::Result<()> {
    match account.switch() {
        Some((uid, gid)) => lchown(path, Some(uid), Some(gid)),
        None => Ok(()),
    }
}
