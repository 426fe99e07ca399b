//! What a server shows over TLS, as files in its own folder.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::Error;
use super::account::Account;
use super::tree::give;
use crate::config::EtcdAccess;

/// A server's certificate with its key, and the authority that its clients' certificates must be of. All in PEM.
///
/// The certificate has to serve for a client too: by it we see whether the server answers.
#[derive(Clone)]
pub struct Papers {
    /// The authorities of clients.
    pub ca: String,
    /// The certificate.
    pub cert: String,
    /// Its key.
    pub key: String,
}

/// Without the key.
impl std::fmt::Debug for Papers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Papers").finish_non_exhaustive()
    }
}

/// Where they lie in a server's folder.
pub(super) fn place(folder: &Path) -> [PathBuf; 3] {
    ["ca.pem", "cert.pem", "key.pem"].map(|name| folder.join(name))
}

/// Lays them down, each at once: who reads meanwhile sees the old one or the new one.
pub(super) fn lay(papers: &Papers, folder: &Path, account: &Account) -> Result<(), Error> {
    for (path, content) in place(folder).iter().zip([&papers.ca, &papers.cert, &papers.key]) {
        let fresh = path.with_extension("new");
        let doing = || format!("writing {}", path.display());
        let _ = fs::remove_file(&fresh);
        let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh);
        file.and_then(|mut file| file.write_all(content.as_bytes())).map_err(Error::io(doing()))?;
        give(&fresh, account).map_err(Error::io(doing()))?;
        fs::rename(&fresh, path).map_err(Error::io(doing()))?;
    }
    Ok(())
}

/// How we ask an etcd that has papers in this folder.
pub(super) fn access(folder: &Path) -> EtcdAccess {
    let [ca, cert, key] = place(folder).map(Some);
    EtcdAccess { etcd_ca_file: ca, etcd_cert_file: cert, etcd_key_file: key, ..EtcdAccess::default() }
}
