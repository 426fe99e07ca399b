//! One row of a source with its place in it: the unit that is counted from the first byte to the last table.

use sha2::{Digest, Sha256};

use super::Record;

/// How much of a row that cannot be understood is kept, in bytes.
pub const MAX_RAW_BYTES: usize = 64 * 1024;

/// A row as it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Line the row starts on; the first line of a file is 1.
    pub line: u64,
    /// Offset of the row's first byte in the (decompressed) source.
    pub byte: u64,
    /// Offset just behind the row and its line end: where the next row starts.
    pub end: u64,
    /// Line the next row starts on.
    pub next_line: u64,
    /// CRC-32 of the row's bytes with its line end: a cursor keeps it to know its file again.
    pub crc: u32,
    /// What it says, or why that cannot be told.
    pub content: Content,
}

/// Understood or not; never dropped.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// A row that became a record.
    Record(Record),
    /// A row that will become a dead letter.
    Reject(Reject),
}

/// A row that cannot be understood, as it travels to the dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// One line for the person who looks at it.
    pub reason: String,
    /// The row's bytes, at most [`MAX_RAW_BYTES`].
    pub raw: Vec<u8>,
    /// How long the row was.
    pub raw_bytes: u64,
    /// SHA-256 of the whole row, in hex.
    pub sha256: String,
}

impl Reject {
    /// A rejected row whose bytes are all at hand.
    pub fn new(reason: impl Into<String>, raw: &[u8]) -> Self {
        Reject {
            reason: reason.into(),
            raw: raw[..raw.len().min(MAX_RAW_BYTES)].to_vec(),
            raw_bytes: raw.len() as u64,
            sha256: hex(&Sha256::digest(raw)),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
