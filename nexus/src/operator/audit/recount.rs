//! Counting a file's rows without the streamer's reader (pure): what it skipped, this does not.
//!
//! Rows are what the `csv` crate takes for records. Where a quote is never closed it takes the rest of what it is given
//! for one record; the streamer gives up the broken line alone. So where a batch holds dead letters a second count, by
//! lines of text, may stand too.

/// What a file's header looks like, so that a repeated one is no row.
#[derive(Debug, Clone)]
pub(super) struct Header {
    record: csv::ByteRecord,
    /// Offset behind it.
    end: u64,
}

impl Header {
    /// The first record of a file.
    pub(super) fn of(start: &[u8]) -> Header {
        let mut reader = reader(start);
        let mut record = csv::ByteRecord::new();
        while reader.read_byte_record(&mut record).unwrap_or(false) && !is_row(&record) {}
        Header { record, end: reader.position().byte() }
    }

    /// Offset behind the header: where the first row begins.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Rows in a part of the file that begins and ends with a record.
    pub(super) fn rows(&self, part: &[u8]) -> u64 {
        records(part).filter(|record| !self.is(record)).count() as u64
    }

    /// Where each of the rows begins.
    pub(super) fn starts(&self, part: &[u8]) -> impl Iterator<Item = u64> {
        records(part).filter(|record| !self.is(record)).map(|record| record.position().map_or(0, csv::Position::byte))
    }

    /// May these bytes hold so many rows, one of them broken by a quote that is not closed? Each row is a line at least.
    pub(super) fn may_hold(&self, part: &[u8], rows: u64) -> bool {
        let lines = part.split(|&byte| byte == b'\n' || byte == b'\r').filter(|line| !line.is_empty()).count() as u64;
        part.contains(&b'"') && (self.rows(part)..=lines).contains(&rows)
    }

    fn is(&self, record: &csv::ByteRecord) -> bool {
        let trimmed = |record: &csv::ByteRecord| -> Vec<Vec<u8>> {
            record.iter().map(|field| without_mark(field).trim_ascii().to_ascii_lowercase()).collect()
        };
        trimmed(&self.record) == trimmed(record)
    }
}

fn reader(bytes: &[u8]) -> csv::Reader<&[u8]> {
    csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(bytes)
}

fn records(bytes: &[u8]) -> impl Iterator<Item = csv::ByteRecord> {
    reader(bytes).into_byte_records().map_while(Result::ok).filter(is_row)
}

/// Whitespace alone is no row.
fn is_row(record: &csv::ByteRecord) -> bool {
    record.len() > 1 || record.iter().any(|field| !field.trim_ascii().is_empty())
}

fn without_mark(field: &[u8]) -> &[u8] {
    field.strip_prefix(b"\xef\xbb\xbf").unwrap_or(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &[u8] = b"\xef\xbb\xbfa,b\n1,2\n\n3,\"x\ny\"\na,b\n5,6";

    #[test]
    fn blank_lines_and_repeated_headers_are_no_rows() {
        let header = Header::of(FILE);
        assert_eq!(header.rows(FILE), 3);
        assert_eq!(header.rows(b"1,2\r\n3,4\r\n"), 2);
        assert_eq!(header.rows(b"a,b\n\n"), 0);
    }

    #[test]
    fn a_quote_that_is_not_closed_may_be_a_row_or_swallow_some() {
        let part = b"1,2\n3,\"4\n5,6\n";
        let header = Header::of(FILE);
        assert_eq!(header.rows(part), 2);
        assert!(header.may_hold(part, 3) && header.may_hold(part, 2));
        assert!(!header.may_hold(part, 4) && !header.may_hold(part, 1));
        assert!(!header.may_hold(b"1,2\n3,4\n", 1));
    }
}
