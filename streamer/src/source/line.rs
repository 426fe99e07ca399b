//! A line that is no record, taken in as it streams by: however long it is, only its beginning is kept.

use flate2::Crc;
use memchr::memchr2;
use nexus_common::domain::{MAX_RAW_BYTES, Reject};
use sha2::{Digest, Sha256};

use super::framing::line_end;

/// A physical line on its way to the dead letters.
pub(crate) struct Line {
    reason: String,
    raw: Vec<u8>,
    length: u64,
    digest: Sha256,
}

impl Line {
    pub(crate) fn new(reason: String) -> Self {
        Line { reason, raw: Vec::new(), length: 0, digest: Sha256::new() }
    }

    /// Takes what `bytes` holds of the line: how many bytes that was, and whether the line ended with them.
    pub(crate) fn take(&mut self, bytes: &[u8], last: bool, crc: &mut Crc) -> (usize, bool) {
        let content = memchr2(b'\n', b'\r', bytes).unwrap_or(bytes.len());
        self.keep(&bytes[..content]);
        let ending = line_end(bytes, content, last);
        let taken = content + ending.unwrap_or(0);
        crc.update(&bytes[..taken]);
        (taken, ending.is_some())
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = MAX_RAW_BYTES - self.raw.len();
        self.raw.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.length += bytes.len() as u64;
        self.digest.update(bytes);
    }

    pub(crate) fn reject(self) -> Reject {
        let sha256 = self.digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Reject { reason: self.reason, raw: self.raw, raw_bytes: self.length, sha256 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_cut_but_measured_and_hashed_whole() {
        let bytes = vec![b'x'; 3 * MAX_RAW_BYTES];
        let mut crc = Crc::new();
        let mut line = Line::new("long".to_owned());
        for chunk in bytes.chunks(1000) {
            assert_eq!(line.take(chunk, false, &mut crc), (chunk.len(), false));
        }
        assert_eq!(line.take(b"\r", false, &mut crc), (0, false), "the next byte tells whether it is one line end");
        assert_eq!(line.take(b"\r\nnext", false, &mut crc), (2, true));
        assert_eq!(line.reject(), Reject::new("long", &bytes));
    }
}
