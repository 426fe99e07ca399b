//! What can be wrong with a source as a whole; what is wrong with one row is a reject instead.

use std::io;

/// A source that cannot be read. Each is one line that says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No file of that name.
    #[error("CSV_FILE={spec}: no such file, folder or pattern")]
    Missing {
        /// CSV_FILE as it was given.
        spec: String,
    },
    /// The glob matches no file.
    #[error("CSV_FILE={spec}: no file matches")]
    NoMatch {
        /// CSV_FILE as it was given.
        spec: String,
    },
    /// The folder holds no CSV file.
    #[error("CSV_FILE={spec}: the folder holds no *.csv or *.csv.gz")]
    NoCsv {
        /// CSV_FILE as it was given.
        spec: String,
    },
    /// The glob cannot be read.
    #[error("CSV_FILE={spec}: not a pattern: {reason}")]
    Pattern {
        /// CSV_FILE as it was given.
        spec: String,
        /// What the pattern's reader says.
        reason: String,
    },
    /// Nothing in it, not even a header.
    #[error("{name}: the file is empty")]
    Empty {
        /// The source.
        name: String,
    },
    /// A followed file whose header is still being written: try again later.
    #[error("{name}: the header is not complete yet")]
    Incomplete {
        /// The source.
        name: String,
    },
    /// Not CSV, or CSV of another kind.
    #[error("{name}: {problem}; expected {expected}", expected = super::header::EXPECTED)]
    Header {
        /// The source.
        name: String,
        /// What is wrong with the first line.
        problem: String,
    },
    /// The operating system refused, or a gzip file is damaged.
    #[error("{name}: cannot be read: {cause}")]
    Read {
        /// The source.
        name: String,
        /// Why.
        cause: io::Error,
    },
}

impl Error {
    pub(crate) fn read(name: &str, cause: io::Error) -> Self {
        Error::Read { name: name.to_owned(), cause }
    }

    pub(crate) fn header(name: &str, problem: impl Into<String>) -> Self {
        Error::Header { name: name.to_owned(), problem: problem.into() }
    }
}
