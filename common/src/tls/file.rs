//! Files that variables name, and what they held when they were read.

use std::fmt;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};

use crate::config::Invalid;

/// More than any bundle of certificates has.
const LONGEST: u64 = 4 << 20;

/// A file, and the variable that names it. Shown as `ETCD_CA_FILE=/etc/nexus/ca.pem`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// The variable.
    pub variable: &'static str,
    /// Where it is.
    pub path: PathBuf,
}

impl File {
    /// The file that this variable names.
    pub fn new(variable: &'static str, path: impl Into<PathBuf>) -> File {
        File { variable, path: path.into() }
    }

    /// The same, where the variable is set.
    pub fn named(variable: &'static str, path: Option<&Path>) -> Option<File> {
        path.map(|path| File::new(variable, path))
    }

    /// What is wrong with it.
    pub(super) fn wrong(&self, reason: impl fmt::Display) -> Invalid {
        Invalid(format!("{self}: {reason}"))
    }

    fn read(&self) -> Result<Vec<u8>, Invalid> {
        let mut bytes = Vec::new();
        let read = fs::File::open(&self.path).and_then(|file| file.take(LONGEST).read_to_end(&mut bytes));
        read.map(|_| bytes).map_err(|error| self.wrong(error))
    }
}

impl fmt::Display for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.variable, self.path.display())
    }
}

/// What several files held at one look. Not to be shown: keys and passwords are in it.
pub struct Contents(Vec<(File, Vec<u8>)>);

impl Contents {
    /// Reads all of them.
    ///
    /// # Errors
    /// The first that cannot be read.
    pub fn read(files: &[File]) -> Result<Contents, Invalid> {
        let read = files.iter().map(|file| Ok((file.clone(), file.read()?)));
        Ok(Contents(read.collect::<Result<_, Invalid>>()?))
    }

    /// Tells one state of the files from another.
    pub(super) fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        for (_, bytes) in &self.0 {
            digest.update(bytes.len().to_le_bytes());
            digest.update(bytes);
        }
        digest.finalize().into()
    }

    /// The file as it is: for those that read PEM themselves.
    pub fn bytes(&self, file: &File) -> &[u8] {
        self.0.iter().find(|(known, _)| known == file).map_or(&[], |(_, bytes)| bytes)
    }

    /// The one line of a password's file, without its end.
    ///
    /// # Errors
    /// Where it is empty or no text.
    pub fn secret(&self, file: &File) -> Result<String, Invalid> {
        let text = std::str::from_utf8(self.bytes(file)).map_err(|_| file.wrong("holds no text"))?;
        match text.trim_end_matches(['\r', '\n']) {
            "" => Err(file.wrong("is empty")),
            secret => Ok(secret.to_owned()),
        }
    }

    /// The certificates in a file, at least one.
    pub(super) fn certificates(&self, file: &File) -> Result<Vec<CertificateDer<'static>>, Invalid> {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(self.bytes(file)).collect();
        match found {
            Ok(found) if !found.is_empty() => Ok(found),
            _ => Err(file.wrong("holds no certificate in PEM form, or half of one")),
        }
    }

    /// The private key in a file. What the parser says stays here: it may quote the file.
    pub(super) fn key(&self, file: &File) -> Result<PrivateKeyDer<'static>, Invalid> {
        PrivateKeyDer::from_pem_slice(self.bytes(file))
            .map_err(|_| file.wrong("holds no private key in PEM form that is readable without a passphrase"))
    }
}
