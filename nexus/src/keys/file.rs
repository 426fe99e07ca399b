//! The file of keys, changed so that a gateway sees it whole, before or after: written beside itself, and moved into place.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use anyhow::Context;
use nexus_common::config::Invalid;
use nexus_common::identity::{self, Holder};

/// A file that could be understood.
pub(super) struct File {
    path: PathBuf,
    text: String,
    pub(super) holders: Vec<Holder>,
}

impl File {
    /// As it is; empty where there is none yet.
    pub(super) fn of(path: &Path) -> Result<File, Invalid> {
        let wrong = |reason: String| Invalid(format!("{}: {reason}", path.display()));
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => return Err(wrong(error.to_string())),
        };
        let holders = identity::read(&text).map_err(|error| wrong(error.to_string()))?;
        Ok(File { path: path.to_owned(), text, holders })
    }

    /// Adds a line.
    pub(super) fn add(self, holder: &Holder) -> anyhow::Result<()> {
        if self.holders.iter().any(|known| known.name == holder.name) {
            let (path, name) = (self.path.display(), &holder.name);
            return Err(
                Invalid(format!("{path}: {name} has a key already; take another name, or revoke it first")).into()
            );
        }
        let end = if self.text.is_empty() || self.text.ends_with('\n') { "" } else { "\n" };
        self.replace(&format!("{}{end}{holder}\n", self.text))
    }

    /// Takes the line of this name out.
    pub(super) fn remove(self, name: &str) -> anyhow::Result<()> {
        if !self.holders.iter().any(|known| known.name == name) {
            return Err(Invalid(format!("{}: {name} has no key there", self.path.display())).into());
        }
        let kept = self.text.split_inclusive('\n').filter(|line| line.split_whitespace().next() != Some(name));
        self.replace(&kept.collect::<String>())
    }

    /// Under the owner and with the permissions that the file has; a new one is its owner's alone.
    fn replace(&self, text: &str) -> anyhow::Result<()> {
        let mut beside = self.path.clone().into_os_string();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        let writing = || format!("writing {}", beside.display());
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside);
        let mut file = match opened {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let beside = beside.display();
                return Err(
                    Invalid(format!("{beside} is there: somebody changes the keys now, or was killed at it")).into()
                );
            }
            opened => opened.with_context(writing)?,
        };
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).and_then(|()| {
            if let Ok(before) = fs::metadata(&self.path) {
                fs::set_permissions(&beside, Permissions::from_mode(before.mode() & 0o7777))?;
                chown(&beside, Some(before.uid()), Some(before.gid()))?;
            }
            fs::rename(&beside, &self.path)
        });
        if written.is_err() {
            // What is half done is nobody's; that it stays is told by the error, too.
            let _ = fs::remove_file(&beside);
        }
        written.with_context(writing)
    }
}
