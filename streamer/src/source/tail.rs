//! What became of a followed file, asked when there is nothing more to read from it.

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

/// A file on disk, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    pub(crate) fn of(meta: &Metadata) -> Self {
        FileId { device: meta.dev(), inode: meta.ino() }
    }
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is where it was and may grow.
    Lives,
    /// It is shorter than what was read of it.
    Truncated,
    /// Its name stands for another file now, or it was deleted.
    Replaced,
}

/// A file that was renamed lives until another one has its old name: until then its writer still writes to it.
pub(crate) fn fate(file: &File, path: &Path, position: u64) -> io::Result<Fate> {
    let own = file.metadata()?;
    if own.len() < position {
        return Ok(Fate::Truncated);
    }
    match std::fs::metadata(path) {
        Ok(named) if FileId::of(&named) != FileId::of(&own) => Ok(Fate::Replaced),
        Ok(_) => Ok(Fate::Lives),
        Err(error) if error.kind() == ErrorKind::NotFound && own.nlink() == 0 => Ok(Fate::Replaced),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Fate::Lives),
        Err(error) => Err(error),
    }
}

/// Whether the file still has the bytes of this checksum there: if not, it was truncated and has grown past the place
/// since.
pub(crate) fn holds(file: &File, byte: u64, end: u64, crc: u32) -> io::Result<bool> {
    let mut sum = flate2::Crc::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut at = byte;
    while at < end {
        let wanted = buffer.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
        match file.read_at(&mut buffer[..wanted], at)? {
            0 => return Ok(false),
            read => {
                sum.update(&buffer[..read]);
                at += read as u64;
            }
        }
    }
    Ok(sum.sum() == crc)
}
