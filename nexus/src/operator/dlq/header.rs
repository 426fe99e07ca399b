//! A header under which rows that were not understood are read once more: with the streamer's own eyes.

use std::io::Cursor;

use nexus_common::domain::{Content, Row};
use nexus_streamer::source::{self, End, Next, Source};

/// A header, and how rows under it are read.
#[derive(Debug, Clone)]
pub(super) struct Header {
    line: Vec<u8>,
    options: source::Options,
}

impl Header {
    /// Takes a header that can be understood.
    ///
    /// # Errors
    /// Where it cannot, in one line.
    pub(super) fn new(line: &[u8], options: source::Options) -> Result<Header, source::Error> {
        let line = line.strip_suffix(b"\n").unwrap_or(line).to_owned();
        let header = Header { line, options };
        header.open(Vec::new())?;
        Ok(header)
    }

    /// What one row says under it.
    pub(super) fn read(&self, row: &[u8]) -> Result<Content, String> {
        let mut source = self.open(row.to_owned()).map_err(|error| error.to_string())?;
        let mut next = || source.next().map_err(|error| error.to_string());
        let Next::Row(Row { content, .. }) = next()? else { return Err("no row".to_owned()) };
        match next()? {
            Next::End(End::Complete) => Ok(content),
            _ => Err("more than one row".to_owned()),
        }
    }

    fn open(&self, row: Vec<u8>) -> Result<Source, source::Error> {
        let mut text = self.line.clone();
        text.push(b'\n');
        text.extend(row);
        Source::from_reader("the header", Cursor::new(text), &self.options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &[u8] = b"timestamp,gpu_id,hostname,temperature\n";
    const ROW: &[u8] = b"2026-01-01T00:00:00Z,0,h,41";

    #[test]
    fn one_row_is_read_and_no_more() {
        let header = Header::new(LINE, source::Options::default()).unwrap();
        assert!(matches!(header.read(ROW), Ok(Content::Record(_))));
        assert!(matches!(header.read(b"2026-01-01T00:00:00Z,0,h,warm"), Ok(Content::Reject(_)) | Err(_)));
        assert!(!matches!(header.read(b"2026-01-01T00:00:00Z,0,\"h,41"), Ok(Content::Record(_))));
        assert_eq!(header.read(&[ROW, b"\n", ROW].concat()), Err("more than one row".to_owned()));
    }

    #[test]
    fn a_header_that_is_none_is_refused() {
        assert!(Header::new(b"a,b,c", source::Options::default()).is_err());
    }
}
