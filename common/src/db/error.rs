use std::error::Error as StdError;
use std::fmt;

use deadpool_postgres::PoolError;
use tokio_postgres::error::SqlState;

use crate::tls;

/// What a caller can do about an error. Decided here, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The server is away, restarting, full, overloaded or had to choose a victim: the same work can succeed later.
    Transient,
    /// The server does not take this data (out of range, a broken constraint): trying again changes nothing, another
    /// row may well pass.
    Refused,
    /// A wrong password, a missing table, a mistake in a query: a person has to act.
    Permanent,
}

/// An error of PostgreSQL, of the pool or of a migration; shown with its causes in one line.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    cause: Box<dyn StdError + Send + Sync>,
}

impl Error {
    pub(super) fn other(cause: impl StdError + Send + Sync + 'static) -> Self {
        Error { kind: Kind::Permanent, cause: Box::new(cause) }
    }

    /// Something that passes, found out on this side.
    pub fn transient(reason: &str) -> Self {
        Error { kind: Kind::Transient, cause: reason.into() }
    }

    /// What can be done about it.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The same work can succeed later.
    pub fn is_transient(&self) -> bool {
        self.kind == Kind::Transient
    }

    /// The server does not take this data.
    pub fn is_refusal(&self) -> bool {
        self.kind == Kind::Refused
    }

    /// The server's code, where the server answered at all.
    pub fn sqlstate(&self) -> Option<&SqlState> {
        driver_error(self.cause.as_ref())?.code()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = tls::explain(self.cause.as_ref(), "DB_CA_FILE", "DB_CERT_FILE") {
            return f.write_str(&line);
        }
        write!(f, "{}", self.cause)?;
        let (mut shown, mut next) = (self.cause.to_string(), self.cause.source());
        while let Some(cause) = next {
            let text = cause.to_string();
            if !shown.contains(&text) {
                write!(f, ": {text}")?;
            }
            shown = text;
            next = cause.source();
        }
        if shown == "server does not support TLS" {
            f.write_str("; DB_SSLMODE asks for it")?;
        }
        Ok(())
    }
}

impl StdError for Error {}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        Error { kind: kind(&error), cause: Box::new(error) }
    }
}

impl From<PoolError> for Error {
    fn from(error: PoolError) -> Self {
        let kind = match &error {
            PoolError::Timeout(_) => Kind::Transient,
            PoolError::Backend(error) => kind(error),
            _ => Kind::Permanent,
        };
        Error { kind, cause: Box::new(error) }
    }
}

impl From<refinery::Error> for Error {
    fn from(error: refinery::Error) -> Self {
        Error { kind: driver_error(&error).map_or(Kind::Permanent, kind), cause: Box::new(error) }
    }
}

/// What can be done about an error of the driver.
pub fn kind(error: &tokio_postgres::Error) -> Kind {
    if let Some(refused) = error.as_db_error() {
        return of_state(refused.code(), refused.constraint());
    }
    match error.source().and_then(|cause| cause.downcast_ref::<std::io::Error>()) {
        // Not a broken connection: the driver could not put the value on the wire.
        Some(io) if io.kind() == std::io::ErrorKind::InvalidInput => Kind::Refused,
        Some(_) => Kind::Transient,
        None if error.is_closed() => Kind::Transient,
        None => Kind::Permanent,
    }
}

/// By SQLSTATE. A row that no partition takes is a check violation that names no constraint: the partition can be made,
/// so the row is not at fault.
fn of_state(state: &SqlState, constraint: Option<&str>) -> Kind {
    let code = state.code();
    match code {
        "40001" | "40P01" | "55P03" | "57014" | "25P03" | "25P04" | "25006" | "58030" => Kind::Transient,
        "23514" if constraint.is_none() => Kind::Transient,
        _ => match code.get(..2) {
            Some("08" | "53") => Kind::Transient,
            // 57P04 is a dropped database: nothing to wait for.
            Some("57") if code.starts_with("57P0") && code != "57P04" => Kind::Transient,
            // 54: a value that is too long for an index, among others.
            Some("22" | "23" | "54") => Kind::Refused,
            _ => Kind::Permanent,
        },
    }
}

fn driver_error<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a tokio_postgres::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_tells_what_can_be_done() {
        let of = |code: &str| of_state(&SqlState::from_code(code), Some("a_constraint"));
        for code in ["40001", "40P01", "55P03", "57014", "57P01", "57P02", "57P03", "53100", "53300", "08006", "25006"]
        {
            assert_eq!(of(code), Kind::Transient, "{code}");
        }
        for code in ["22003", "22021", "22P02", "23502", "23505", "23514", "54000"] {
            assert_eq!(of(code), Kind::Refused, "{code}");
        }
        for code in ["28P01", "3D000", "42P01", "42601", "57P04", "XX000", "0A000"] {
            assert_eq!(of(code), Kind::Permanent, "{code}");
        }
        assert_eq!(of_state(&SqlState::CHECK_VIOLATION, None), Kind::Transient);
    }
}
