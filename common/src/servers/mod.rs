//! etcd and PostgreSQL of one's own: the servers of the local stack and of the tests.
//!
//! Real servers, started from the binaries of this machine, listening on 127.0.0.1 only, with everything they write in
//! one folder. What holds for both:
//!
//! - **Nothing is left running** unless asked for ([`OnDrop::Leave`]). Each server has a [`Guard`]: a small process that
//!   ends the server, and removes a folder that was to be temporary, once the owner is gone, whether it returned,
//!   panicked or was killed.
//! - **Ended by id, never by name.** A server that an earlier run left in the same folder is recognised by its pid and
//!   its command line, and stopped before the new one starts.
//! - **Ready means answering.** `start` returns after a real query was answered by this very server.
//! - **Ctrl-C does not reach them.** They run in process groups of their own; the owner stops them after its clients.

mod account;
mod binaries;
mod detached;
mod etcd;
mod guard;
mod initdb;
mod leftover;
mod port;
mod postgres;
mod process;
mod tls;
mod tree;

pub use self::binaries::missing;
pub use self::etcd::{Etcd, EtcdOptions, Membership};
pub use self::guard::Guard;
pub use self::port::{free as free_port, taken as port_taken};
pub use self::postgres::{Postgres, PostgresOptions};
pub use self::tls::Papers;

#[cfg(feature = "testing")]
pub(crate) use self::account::Account;
#[cfg(feature = "testing")]
pub(crate) use self::binaries::postgres_version;
#[cfg(feature = "testing")]
pub(crate) use self::tree::copy as copy_tree;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// What becomes of a server when its value is dropped or its owner dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDrop {
    /// It ends.
    Stop,
    /// It ends and its folder goes: for tests.
    Remove,
    /// It stays, without a guard, until somebody stops it by its folder (`stop_detached`).
    Leave,
}

/// How long a server may take until it answers.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Why a server did not start or stop. Each is one line a person can act on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program is not on this machine.
    #[error("{program} was not found (looked in {looked}); install it: {install}")]
    Missing {
        /// The program.
        program: &'static str,
        /// Where it was looked for.
        looked: String,
        /// The command that installs it on Debian and Ubuntu.
        install: &'static str,
    },
    /// Somebody else listens on the port.
    #[error("port {port} on 127.0.0.1 is taken")]
    PortTaken {
        /// The port.
        port: u16,
    },
    /// The server ended, or did not answer in time.
    #[error("{name} {what}; its log {} ends with: {tail}", log.display())]
    NotReady {
        /// Which server.
        name: &'static str,
        /// What it did instead.
        what: String,
        /// Its log.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
    },
    /// A step before the start failed.
    #[error("{0}")]
    Setup(String),
    /// A file or a process.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// The system's answer.
        source: io::Error,
    },
}

impl Error {
    fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
        let doing = doing.into();
        move |source| Error::Io { doing, source }
    }
}
