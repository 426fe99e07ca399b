use std::time::Duration;

use nexus_common::db;

/// Why a question has no answer. Each protocol maps these once.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It asks for something that is not there.
    #[error("{0}")]
    NotFound(String),
    /// It cannot be answered as it is put; the reason says what would work.
    #[error("{parameter}: {reason}")]
    Invalid {
        /// The parameter at fault.
        parameter: &'static str,
        /// What is wrong with it and what would work.
        reason: String,
    },
    /// It took longer than a statement may.
    #[error("the query took longer than {0:?}")]
    TooSlow(Duration),
    /// As many questions over time ranges run as may, and none ended while this one waited.
    #[error("{most} queries over time ranges run already, and none ended within {waited:?}")]
    Busy {
        /// How many may run at once.
        most: usize,
        /// How long this one waited for its turn.
        waited: Duration,
    },
    /// It takes longer than a request may, and is being worked out beside the requests: later it can be answered.
    #[error("{0}")]
    Underway(String),
    /// PostgreSQL is away, overloaded or not migrated yet: later it can be answered.
    #[error("{0}")]
    Unavailable(db::Error),
    /// A fault of ours.
    #[error("{0}")]
    Internal(db::Error),
}

impl Error {
    pub(super) fn invalid(parameter: &'static str, reason: impl Into<String>) -> Self {
        Error::Invalid { parameter, reason: reason.into() }
    }

    /// By what PostgreSQL said.
    pub(super) fn of(error: db::Error, longest: Duration) -> Self {
        match error.sqlstate().map(|state| state.code()) {
            Some("57014") => Error::TooSlow(longest),
            // The schema is not there yet: somebody is still migrating.
            Some("42P01" | "42703") => Error::Unavailable(error),
            _ if error.is_transient() => Error::Unavailable(error),
            _ => Error::Internal(error),
        }
    }
}
