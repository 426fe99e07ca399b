use std::time::Duration;

use nexus_common::{books, db};

/// What PostgreSQL says to a statement that took longer than it may.
const TOOK_TOO_LONG: &str = "57014";

/// Why there is nothing to see.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A statement took longer than it may: the ledger is long.
    #[error("the ledger takes longer to sum up than a statement may run")]
    TooLong,
    /// Also for who looks beside the requests, with so much time.
    #[error("the ledger takes longer to sum up than AUDIT_TIMEOUT ({0:?}): a longer one would do")]
    FarTooLong(Duration),
    /// etcd or PostgreSQL cannot be read.
    #[error(transparent)]
    Blind(books::Error),
}

impl From<books::Error> for Error {
    fn from(error: books::Error) -> Self {
        match &error {
            books::Error::Memory(said) if said.sqlstate().is_some_and(|state| state.code() == TOOK_TOO_LONG) => {
                Error::TooLong
            }
            _ => Error::Blind(error),
        }
    }
}

impl Error {
    /// The same for those who only waited for the look: of what a server said they get the words.
    pub(super) fn told(&self) -> Self {
        match self {
            Error::TooLong => Error::TooLong,
            Error::FarTooLong(time) => Error::FarTooLong(*time),
            Error::Blind(error) => Error::Blind(books::Error::Memory(db::Error::transient(&error.to_string()))),
        }
    }
}
