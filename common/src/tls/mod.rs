//! TLS: what is trusted and who we are, from PEM files that are read again when they change.
//!
//! One room for etcd, PostgreSQL, the gateway and its clients. The implementation is rustls with ring, and nothing else
//! in the tree does cryptography of its own. What holds for all:
//!
//! - **Files are read again** at most every [`LOOK_EVERY`], by their content: a link that is turned, a file that is
//!   replaced or rewritten, all are seen ([`Reloaded`]). What cannot be used (half a file, a key that does not fit) is said
//!   once, and what was read before stays in use.
//! - **Every failure is one line** that names the variable, the file and the reason ([`explain`]). Keys and passwords are in
//!   none of them.

mod expiry;
mod file;
mod leaf;
mod reloaded;
mod server;
mod trouble;
mod trust;

pub use expiry::{Expiry, expiries, register};
pub use file::{Contents, File};
pub use leaf::{Algorithm, Leaf};
pub use reloaded::{Edition, LOOK_EVERY, Reloaded};
pub use server::ServerFiles;
pub use trouble::explain;
pub use trust::{ClientFiles, Strictness};

pub use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName};
pub use rustls::{ClientConfig, RootCertStore, ServerConfig};

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

/// The one crypto provider.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
