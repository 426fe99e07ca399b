//! Why nothing was done, or not all, and what sort of answer that is in every protocol.

use nexus_common::books::letters::Tally;
use nexus_common::books::sending;
use nexus_common::db;

/// The most letters of one purge: its transaction is as long.
pub(super) const MOST_PURGED: i64 = 100_000;

/// Why nothing was done, or not all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Sending(#[from] sending::Error),
    /// ENABLE_OPERATOR_ROUTES does not say that there is a desk.
    #[error("what operators do over HTTP is switched off on this gateway (ENABLE_OPERATOR_ROUTES=false)")]
    SwitchedOff,
    /// The request does not say what is wanted.
    #[error("{parameter}: {reason}")]
    Wrong { parameter: &'static str, reason: String },
    /// Nothing of this cluster was ever stored.
    #[error("nothing of this gateway's cluster was ever stored")]
    NoCluster,
    /// Somebody redrives here.
    #[error("a redrive is under way on this gateway; ask again once it has ended")]
    UnderWay,
    /// They are not those that somebody saw.
    #[error("{expected} letters were expected, and now there are {}: nothing was changed", .found.letters)]
    Otherwise { expected: i64, found: Tally },
    /// More than one transaction should change.
    #[error("these are {0} letters, and at most {MOST_PURGED} are purged at once: select fewer")]
    TooMany(i64),
}

/// What a client is told of an [`Error`]: the words, and the sort of answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    /// There is no desk here.
    SwitchedOff,
    /// The request is at fault, here.
    Wrong(&'static str, String),
    /// What is asked for is not there.
    Missing(String),
    /// Something is under way, or not as somebody saw it.
    Conflict(String),
    /// A server does not answer now, or takes nothing.
    Unavailable(&'static str),
    /// A fault of ours: nothing but that is told.
    Fault,
}

impl From<db::Error> for Error {
    fn from(error: db::Error) -> Self {
        Error::Sending(error.into())
    }
}

impl Error {
    /// What sort of answer it is.
    pub(crate) fn sort(&self) -> Sort {
        match self {
            Error::SwitchedOff => Sort::SwitchedOff,
            Error::Wrong { parameter, reason } => Sort::Wrong(parameter, reason.clone()),
            Error::TooMany(_) => Sort::Wrong("expect", self.to_string()),
            Error::NoCluster => Sort::Missing(self.to_string()),
            Error::UnderWay | Error::Otherwise { .. } => Sort::Conflict(self.to_string()),
            Error::Sending(error) => of_sending(error),
        }
    }
}

fn of_sending(error: &sending::Error) -> Sort {
    use sending::Error;
    match error {
        Error::Fenced(_) => Sort::Conflict("somebody else redrives now; ask again once they are done".to_owned()),
        Error::NoLetter(id) => Sort::Missing(format!("there is no dead letter {id}; nothing was redriven")),
        Error::NeedsHeader(id) => Sort::Conflict(needs_header(*id)),
        Error::Full => Sort::Unavailable("etcd is out of space; what was not sent goes on with the same request"),
        Error::Silent => Sort::Unavailable("etcd does not answer; the same request goes on later"),
        Error::Queue(error) if error.is_transient() => {
            Sort::Unavailable("etcd does not answer; the same request goes on later")
        }
        Error::Memory(error) if error.is_transient() => {
            Sort::Unavailable("the database does not answer now; the same request goes on later")
        }
        _ => Sort::Fault,
    }
}

/// What keeps one return where it is, and no other one; `None`: what failed concerns them all.
pub(super) fn of_one(error: &sending::Error) -> Option<String> {
    use sending::Error;
    match error {
        Error::Fenced(_) => Some("somebody else goes on with it".to_owned()),
        Error::NeedsHeader(id) => Some(needs_header(*id)),
        Error::Stuck { .. } | Error::TooLarge(_) => Some(error.to_string()),
        _ => None,
    }
}

fn needs_header(id: i64) -> String {
    format!("redrive {id} was begun with a header: nexus dlq redrive goes on with it")
}
