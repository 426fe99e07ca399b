//! A name for a source's content that survives growing, renaming and compression.

use nexus_common::domain::MAX_RAW_BYTES;
use sha2::{Digest, Sha256};

/// 16 hex digits of the SHA-256 over the header and the first row, without their line ends: a row that is the file's
/// last and ends without one is the same row once the file grows. Of a row too long for one, its beginning counts.
pub(crate) fn fingerprint(header: &[u8], first_row: &[u8]) -> String {
    let mut digest = Sha256::new();
    digest.update(header);
    digest.update(b"\n");
    digest.update(&first_row[..first_row.len().min(MAX_RAW_BYTES)]);
    digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
