//! Who PostgreSQL runs as, and where that user can reach its files.
//!
//! PostgreSQL refuses to run as root. Started by root it runs as the user `postgres`, or `nobody` where there is none.
//! That user must be able to enter every folder above the data, which is not so below `/root`, for one.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::{User, geteuid};
use sha2::{Digest, Sha256};

use super::Error;

/// The user a server runs as.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    other: Option<Other>,
}

#[derive(Debug, Clone)]
struct Other {
    name: String,
    uid: u32,
    gid: u32,
}

impl Account {
    /// Who we are.
    pub(crate) fn ourselves() -> Account {
        Account { other: None }
    }

    /// Ourselves, or for root somebody else.
    pub(crate) fn for_postgres() -> Result<Account, Error> {
        if !geteuid().is_root() {
            return Ok(Account { other: None });
        }
        for name in ["postgres", "nobody"] {
            if let Ok(Some(user)) = User::from_name(name) {
                let other = Other { name: user.name, uid: user.uid.as_raw(), gid: user.gid.as_raw() };
                return Ok(Account { other: Some(other) });
            }
        }
        let message = "PostgreSQL does not run as root, and this machine has neither a user postgres nor nobody";
        Err(Error::Setup(message.to_owned()))
    }

    /// The ids to switch to, or `None` to stay who we are.
    pub(crate) fn switch(&self) -> Option<(u32, u32)> {
        self.other.as_ref().map(|other| (other.uid, other.gid))
    }

    /// The first folder at or above `folder` that this user may not enter.
    pub(crate) fn barrier<'a>(&self, folder: &'a Path) -> Option<&'a Path> {
        let (uid, gid) = self.switch()?;
        folder.ancestors().filter(|above| above.exists()).find(|above| {
            above.metadata().is_ok_and(|above| {
                let needed = match () {
                    () if above.uid() == uid => 0o100,
                    () if above.gid() == gid => 0o010,
                    () => 0o001,
                };
                above.permissions().mode() & needed == 0
            })
        })
    }

    /// The folder to use instead of `wanted` where the user cannot reach that: one below /var/tmp that is always the
    /// same for `wanted`, so that a second start finds the data of the first.
    pub(crate) fn reachable(&self, wanted: &Path) -> Option<PathBuf> {
        self.barrier(wanted.parent()?)?;
        let digest = Sha256::digest(wanted.as_os_str().as_encoded_bytes());
        let name: String = digest[..6].iter().map(|byte| format!("{byte:02x}")).collect();
        Some(Path::new("/var/tmp").join(format!("nexus-{name}")).join(wanted.file_name()?))
    }

    /// Makes the folder to use for `wanted`. Where it is another one, a link at `wanted` leads there.
    pub(crate) fn home_for(&self, wanted: &Path) -> Result<PathBuf, Error> {
        let folder = self.reachable(wanted).unwrap_or_else(|| wanted.to_owned());
        if let (Some(home), true) = (folder.parent(), folder != wanted) {
            private_home(home)?;
            // Only for people: without the link the data is found all the same.
            let _ = std::os::unix::fs::symlink(&folder, wanted);
            let user = self.other.as_ref().map(|other| other.name.as_str()).unwrap_or_default();
            tracing::warn!("user {user} cannot enter {}: PostgreSQL's data is in {}", wanted.display(), home.display());
        }
        let making = Error::io(format!("making {}", folder.display()));
        fs::DirBuilder::new().recursive(true).mode(0o711).create(&folder).map_err(making)?;
        Ok(folder)
    }
}

/// A folder of ours below one that anybody may write to: made by us, or made by us earlier.
fn private_home(home: &Path) -> Result<(), Error> {
    let doing = || format!("making {}", home.display());
    match fs::DirBuilder::new().mode(0o711).create(home) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(Error::io(doing())(error)),
    }
    let found = fs::symlink_metadata(home).map_err(Error::io(doing()))?;
    if found.is_dir() && found.uid() == geteuid().as_raw() {
        return Ok(());
    }
    Err(Error::Setup(format!("{} is there and is not ours; remove it", home.display())))
}
