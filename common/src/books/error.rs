use crate::{db, etcd};

/// Why the books could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The queue's side.
    #[error(transparent)]
    Queue(#[from] etcd::Error),
    /// The memory's side.
    #[error("PostgreSQL: {0}")]
    Memory(#[from] db::Error),
    /// A standby may lag behind what was acknowledged: rows would seem lost that are not.
    #[error("PostgreSQL at {0} is a standby; the audit needs the primary (DB_HOST)")]
    Standby(String),
    /// Both sides changed under every attempt.
    #[error("the lanes do not stand still: {0} attempts; streamers are being restarted again and again")]
    Restless(u32),
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        Error::Memory(error.into())
    }
}

impl From<deadpool_postgres::PoolError> for Error {
    fn from(error: deadpool_postgres::PoolError) -> Self {
        Error::Memory(error.into())
    }
}
