//! The bytes at hand: a buffer that slides over the input.

use std::io;

use super::input::Input;

/// Bytes asked for at once.
const CHUNK: usize = 128 * 1024;

/// The bytes that were read and not consumed.
#[derive(Debug, Default)]
pub(crate) struct Window {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Window {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Bytes already consumed stay readable until the next [`fill`](Self::fill): the last `back` ones of them, from the
    /// first on, `length` of them.
    pub(crate) fn behind(&self, back: usize, length: usize) -> &[u8] {
        let from = self.start - back;
        &self.buffer[from..from + length]
    }

    pub(crate) fn consume(&mut self, bytes: usize) {
        self.start += bytes;
    }

    pub(crate) fn clear(&mut self) {
        self.start = 0;
        self.end = 0;
    }

    /// Reads more; `false` when the input had nothing.
    ///
    /// A read is at least as large as what is at hand, so that a long record is looked at a few times only.
    pub(crate) fn fill(&mut self, input: &mut Input) -> io::Result<bool> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let wanted = self.end + self.end.max(CHUNK);
        if self.buffer.len() < wanted {
            self.buffer.resize(wanted, 0);
        }
        let read = input.read(&mut self.buffer[self.end..wanted])?;
        self.end += read;
        Ok(read > 0)
    }
}
