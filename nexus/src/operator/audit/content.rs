//! A file's bytes by their place, compressed or not.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use flate2::read::MultiGzDecoder;

/// A file that can be read anywhere. A compressed one is unpacked into a temporary file first.
#[derive(Debug)]
pub(super) struct Content {
    file: File,
    length: u64,
}

impl Content {
    /// Opens it.
    ///
    /// # Errors
    /// As reading it says.
    pub(super) fn open(path: &Path) -> io::Result<Content> {
        let mut file = File::open(path)?;
        let mut magic = Vec::new();
        file.by_ref().take(2).read_to_end(&mut magic)?;
        file.seek(SeekFrom::Start(0))?;
        if magic == [0x1f, 0x8b] {
            let mut unpacked = tempfile::tempfile()?;
            io::copy(&mut MultiGzDecoder::new(file), &mut unpacked)?;
            file = unpacked;
        }
        let length = file.metadata()?.len();
        Ok(Content { file, length })
    }

    /// Its length in bytes, unpacked.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// The bytes of a range, as far as there are any.
    ///
    /// # Errors
    /// As reading says.
    pub(super) fn range(&self, [from, to]: [u64; 2]) -> io::Result<Vec<u8>> {
        let (from, to) = (from.min(self.length), to.min(self.length));
        let mut bytes = vec![0; usize::try_from(to.saturating_sub(from)).unwrap_or(0)];
        self.file.read_exact_at(&mut bytes, from)?;
        Ok(bytes)
    }
}
