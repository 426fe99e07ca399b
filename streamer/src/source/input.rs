//! Where bytes come from: a plain file, a gzip file, or a stream that can only be read once.

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek};
use std::os::unix::fs::FileExt;

use flate2::Crc;
use flate2::read::MultiGzDecoder;

/// The two bytes a gzip file starts with.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// An open input and how far it was read.
pub(crate) enum Input {
    /// Read by position: nothing moves when something else reads the same file.
    Plain { file: File, at: u64 },
    /// Positions are those of the decompressed bytes.
    Gzip { decoder: Box<MultiGzDecoder<File>> },
    /// Standard input, a pipe.
    Stream { reader: Box<dyn Read + Send> },
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Input::Plain { .. } => "plain file",
            Input::Gzip { .. } => "gzip file",
            Input::Stream { .. } => "stream",
        })
    }
}

impl Input {
    /// A file on disk; its first bytes tell whether it is compressed.
    pub(crate) fn file(file: File) -> io::Result<Self> {
        if !file.metadata()?.is_file() {
            return Input::stream(file);
        }
        let mut magic = [0; 2];
        match file.read_at(&mut magic, 0)? {
            2 if magic == GZIP => Ok(Input::Gzip { decoder: Box::new(MultiGzDecoder::new(file)) }),
            _ => Ok(Input::Plain { file, at: 0 }),
        }
    }

    /// Anything that can be read once, compressed or not.
    pub(crate) fn stream(mut reader: impl Read + Send + 'static) -> io::Result<Self> {
        let mut magic = Vec::new();
        reader.by_ref().take(2).read_to_end(&mut magic)?;
        let compressed = magic == GZIP;
        let reader = io::Cursor::new(magic).chain(reader);
        let reader: Box<dyn Read + Send> =
            if compressed { Box::new(MultiGzDecoder::new(reader)) } else { Box::new(reader) };
        Ok(Input::Stream { reader })
    }

    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = match self {
                Input::Plain { file, at } => file.read_at(buffer, *at).inspect(|&read| *at += read as u64),
                Input::Gzip { decoder } => decoder.read(buffer),
                Input::Stream { reader } => reader.read(buffer),
            };
            match read {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }

    /// Continues at this offset; `false` when the input ends before it, or cannot go back.
    pub(crate) fn restart_at(&mut self, offset: u64) -> io::Result<bool> {
        match self {
            Input::Plain { at, .. } => {
                *at = offset;
                Ok(true)
            }
            Input::Gzip { decoder } => {
                let mut file = decoder.get_ref().try_clone()?;
                file.rewind()?;
                **decoder = MultiGzDecoder::new(file);
                Ok(self.checksum(offset)?.is_some())
            }
            Input::Stream { .. } => Ok(false),
        }
    }

    /// Reads this many bytes for their CRC-32 alone; `None` when there are fewer.
    pub(crate) fn checksum(&mut self, bytes: u64) -> io::Result<Option<u32>> {
        let mut crc = Crc::new();
        let mut buffer = vec![0; 64 * 1024];
        let mut left = bytes;
        while left > 0 {
            let wanted = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            match self.read(&mut buffer[..wanted])? {
                0 => return Ok(None),
                read => {
                    crc.update(&buffer[..read]);
                    left -= read as u64;
                }
            }
        }
        Ok(Some(crc.sum()))
    }

    /// The file itself, where bytes are read from it as they are.
    pub(crate) fn plain(&self) -> Option<&File> {
        match self {
            Input::Plain { file, .. } => Some(file),
            _ => None,
        }
    }

    pub(crate) fn is_stream(&self) -> bool {
        matches!(self, Input::Stream { .. })
    }
}
