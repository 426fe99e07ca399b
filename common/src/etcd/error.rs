//! What went wrong in a call to etcd, by what the caller may do about it.

use crate::tls;

/// Decided here once, from the status code and the server's words.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No answer, or none that can be trusted: connection, deadline, leader change. A write may have been committed.
    #[error("etcd does not answer: {0}")]
    Unavailable(String),
    /// The quota is used up: puts and lease grants fail until space is made. A write may have been committed (#16659).
    #[error("etcd's space quota is used up")]
    NoSpace,
    /// The request is over the server's size or operation limit. It was not carried out, and never will be as it is.
    #[error("etcd refuses the request's size: {0}")]
    TooLarge(String),
    /// The lease named in a put does not exist (any more). The request was not carried out.
    #[error("the lease has expired")]
    LeaseGone,
    /// The revision asked for is compacted.
    #[error("the revision asked for is compacted")]
    Compacted,
    /// The call needs a user, or another token than ours. It was not carried out. Who has a user logs in again.
    #[error("etcd asks who we are: ETCD_USER and ETCD_PASSWORD say it")]
    LoggedOut,
    /// Anything else etcd says; trying again as it is will not help.
    #[error("etcd refuses: {0}")]
    Refused(String),
}

impl Error {
    /// What [`Error::kind`] can be.
    pub const KINDS: [&str; 7] =
        ["unavailable", "no_space", "too_large", "lease_gone", "compacted", "logged_out", "refused"];

    /// One word for it, in metrics.
    pub fn kind(&self) -> &'static str {
        let [unavailable, no_space, too_large, lease_gone, compacted, logged_out, refused] = Error::KINDS;
        match self {
            Error::Unavailable(_) => unavailable,
            Error::NoSpace => no_space,
            Error::TooLarge(_) => too_large,
            Error::LeaseGone => lease_gone,
            Error::Compacted => compacted,
            Error::LoggedOut => logged_out,
            Error::Refused(_) => refused,
        }
    }

    /// May the same call succeed later, unchanged?
    pub fn is_transient(&self) -> bool {
        matches!(self, Error::Unavailable(_) | Error::NoSpace)
    }
}

/// gRPC status codes, by number: the crate's status type is not ours to name.
mod code {
    pub(super) const NOT_FOUND: i32 = 5;
    pub(super) const RESOURCE_EXHAUSTED: i32 = 8;
    pub(super) const OUT_OF_RANGE: i32 = 11;
    pub(super) const INVALID_ARGUMENT: i32 = 3;
    pub(super) const UNAUTHENTICATED: i32 = 16;
    pub(super) const PERMISSION_DENIED: i32 = 7;
    pub(super) const UNIMPLEMENTED: i32 = 12;
}

impl From<etcd_client::Error> for Error {
    fn from(error: etcd_client::Error) -> Self {
        let etcd_client::Error::GRpcStatus(status) = &error else {
            return match error {
                etcd_client::Error::InvalidArgs(_) | etcd_client::Error::InvalidUri(_) => {
                    Error::Refused(error.to_string())
                }
                etcd_client::Error::TransportError(cause) => {
                    Error::Unavailable(explained(&cause).unwrap_or_else(|| cause.to_string()))
                }
                _ => Error::Unavailable(error.to_string()),
            };
        };
        if let Some(line) = explained(status) {
            return Error::Unavailable(line);
        }
        let text = status.message();
        match i32::from(status.code()) {
            code::RESOURCE_EXHAUSTED if text.contains("database space exceeded") => Error::NoSpace,
            // "too many requests" is back-pressure of raft, and passes.
            code::RESOURCE_EXHAUSTED if text.contains("too many requests") => Error::Unavailable(text.to_owned()),
            code::RESOURCE_EXHAUSTED => Error::TooLarge(text.to_owned()),
            code::INVALID_ARGUMENT if text.contains("too large") || text.contains("too many operations") => {
                Error::TooLarge(text.to_owned())
            }
            // Whoever waits for the password to be put right need not be started again.
            code::INVALID_ARGUMENT if text.contains("authentication failed") => {
                Error::Unavailable(format!("{text}; ETCD_USER and ETCD_PASSWORD say who we are"))
            }
            code::INVALID_ARGUMENT if text.contains("user name is empty") || text.contains("auth store is old") => {
                Error::LoggedOut
            }
            code::UNAUTHENTICATED => Error::LoggedOut,
            code::NOT_FOUND if text.contains("lease") => Error::LeaseGone,
            code::OUT_OF_RANGE if text.contains("compacted") => Error::Compacted,
            code::INVALID_ARGUMENT
            | code::PERMISSION_DENIED
            | code::UNIMPLEMENTED
            | code::NOT_FOUND
            | code::OUT_OF_RANGE => Error::Refused(text.to_owned()),
            _ => Error::Unavailable(text.to_owned()),
        }
    }
}

/// What TLS has to do with it.
pub(super) fn explained(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    tls::explain(error, "ETCD_CA_FILE", "ETCD_CERT_FILE")
}
