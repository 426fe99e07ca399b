//! What can be sent of a letter (pure): the message it holds, or its row read once more.

use std::io::Cursor;

use nexus_common::books::letters::{Payload, State};
use nexus_common::domain::{Content, Row, Timestamp};
use nexus_common::queue::{self, Body, Decoded};
use nexus_streamer::source::{self, End, Next, Source};

/// A header, and how rows under it are read.
#[derive(Debug, Clone)]
pub(super) struct Header {
    line: Vec<u8>,
    options: source::Options,
}

/// Why nothing can be sent of a letter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Obstacle {
    /// It was redriven before.
    Redriven,
    /// Its payload was given up.
    Purged,
    /// Of its bytes only the first are kept.
    Cut,
    /// A row that was not understood, and no header to read it under.
    NoHeader,
    /// A row that is not understood under the header either.
    NotUnderstood(String),
    /// A row of a loop whose time stamps cannot be moved as they were: the ledger has its batch no more.
    NoShift,
    /// A message of a newer version.
    Newer(u32),
    /// A message that nobody can read.
    Garbage(String),
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

    /// The streamer's own eyes on one row.
    fn read(&self, row: &[u8]) -> Result<Content, String> {
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

/// What would be published of a letter. `again` takes what was redriven before.
///
/// # Errors
/// Why nothing can.
pub(super) fn understand(payload: &Payload, header: Option<&Header>, again: bool) -> Result<Body, Obstacle> {
    match payload.letter.state {
        State::Purged => return Err(Obstacle::Purged),
        State::Redriven | State::Redriving if !again => return Err(Obstacle::Redriven),
        _ => {}
    }
    if (payload.raw.len() as u64) < payload.letter.raw_bytes.unsigned_abs() {
        return Err(Obstacle::Cut);
    }
    match queue::decode(&payload.raw) {
        Decoded::Body(body) => Ok(body),
        Decoded::Newer(version) => Err(Obstacle::Newer(version)),
        // A row has a checksum, a message has none.
        Decoded::Garbage(reason) if payload.letter.sha256.is_none() => Err(Obstacle::Garbage(reason)),
        Decoded::Garbage(_) => read_again(payload, header),
    }
}

/// A row read under a header, in its place, and with the time it had in its pass.
fn read_again(payload: &Payload, header: Option<&Header>) -> Result<Body, Obstacle> {
    let header = header.ok_or(Obstacle::NoHeader)?;
    let shift_us = payload.shift_us.ok_or(Obstacle::NoShift)?;
    match header.read(&payload.raw).map_err(Obstacle::NotUnderstood)? {
        Content::Reject(reject) => Err(Obstacle::NotUnderstood(reject.reason)),
        Content::Record(mut record) => {
            record.timestamp = Timestamp::shifted(record.timestamp, shift_us);
            let place = |value: Option<i64>| value.unwrap_or(0).unsigned_abs();
            Ok(Body::of(record, place(payload.letter.line), place(payload.letter.byte)))
        }
    }
}

impl Obstacle {
    /// Why `letters` letters are left, and what to do about them.
    pub(super) fn words(&self) -> String {
        match self {
            Obstacle::Redriven => "redriven before; --again sends them once more".to_owned(),
            Obstacle::Purged => "purged: their payload was given up".to_owned(),
            Obstacle::Cut => "longer than the 64 KiB that are kept of a row: only their file has the rest".to_owned(),
            Obstacle::NoHeader => {
                "rows that were not understood; --header-from FILE, or --header 'LINE', reads them once more".to_owned()
            }
            Obstacle::NotUnderstood(reason) => format!("not understood under this header either: {reason}"),
            Obstacle::NoShift => {
                "rows whose batch the ledger does not have any more: what LOOP_MODE added to their time is not known"
                    .to_owned()
            }
            Obstacle::Newer(version) => format!("messages of version {version}: redrive them with a newer nexus"),
            Obstacle::Garbage(reason) => format!("messages that cannot be read: {reason}"),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use nexus_common::books::letters::Letter;

    const LINE: &[u8] = b"timestamp,gpu_id,hostname,temperature\n";
    const ROW: &[u8] = b"2026-01-01T00:00:00Z,0,h,41";

    /// A row, as it is kept.
    pub(in super::super) fn row(raw: &[u8]) -> Payload {
        let letter = Letter {
            id: 1,
            batch: "0000000000001_l.r.1".into(),
            key: String::new(),
            rows: 1,
            file: "a.csv".into(),
            pass: 0,
            line: Some(7),
            byte: Some(70),
            reason: "why".into(),
            raw_bytes: raw.len() as i64,
            sha256: Some("00".into()),
            created_at: Timestamp(0),
            state: State::Dead,
            return_id: None,
            purged_at: None,
        };
        Payload { letter, raw: raw.to_vec(), shift_us: Some(0) }
    }

    fn header() -> Header {
        Header::new(LINE, source::Options::default()).unwrap()
    }

    #[test]
    fn a_row_is_read_again_in_its_place_and_its_time() {
        let payload = Payload { shift_us: Some(1_000_000), ..row(ROW) };
        let Ok(Body::Rows { rows, timestamp, .. }) = understand(&payload, Some(&header()), false) else { panic!() };
        assert_eq!((rows[0].line, rows[0].byte, timestamp.to_string().as_str()), (7, 70, "2026-01-01T00:00:01Z"));
    }

    #[test]
    fn what_cannot_be_sent_says_why() {
        let of = |payload: &Payload, header: Option<&Header>| understand(payload, header, false).unwrap_err();
        assert_eq!(of(&row(ROW), None), Obstacle::NoHeader);
        assert!(matches!(of(&row(b"2026-01-01T00:00:00Z,0,h,warm"), Some(&header())), Obstacle::NotUnderstood(_)));
        assert!(matches!(of(&row(b"2026-01-01T00:00:00Z,0,\"h,41"), Some(&header())), Obstacle::NotUnderstood(_)));
        let two = [ROW, b"\n", ROW].concat();
        assert_eq!(of(&row(&two), Some(&header())), Obstacle::NotUnderstood("more than one row".into()));
        assert_eq!(of(&Payload { shift_us: None, ..row(ROW) }, Some(&header())), Obstacle::NoShift);
        let mut cut = row(ROW);
        cut.letter.raw_bytes += 1;
        assert_eq!(of(&cut, Some(&header())), Obstacle::Cut);
        let mut message = row(br#"{"v":9}"#);
        assert_eq!(of(&message, None), Obstacle::Newer(9));
        message.raw = b"{".to_vec();
        message.letter.sha256 = None;
        message.letter.raw_bytes = 1;
        assert!(matches!(of(&message, Some(&header())), Obstacle::Garbage(_)));
        let mut redriven = row(ROW);
        redriven.letter.state = State::Redriven;
        assert_eq!(of(&redriven, Some(&header())), Obstacle::Redriven);
        assert!(understand(&redriven, Some(&header()), true).is_ok());
        redriven.letter.state = State::Purged;
        assert_eq!(understand(&redriven, Some(&header()), true).unwrap_err(), Obstacle::Purged);
    }

    #[test]
    fn a_header_that_is_none_is_refused() {
        assert!(Header::new(b"a,b,c", source::Options::default()).is_err());
    }
}
