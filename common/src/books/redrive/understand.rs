//! What can be sent of a letter (pure): the message it holds, or its row read once more.

use crate::books::letters::{Payload, State};
use crate::domain::{Content, Timestamp};
use crate::queue::{self, Body, Decoded};

/// Reads the bytes of one row under some header: the streamer's own eyes, where they are at hand. An error says why it is
/// no row.
pub type Eyes<'a> = &'a (dyn Fn(&[u8]) -> Result<Content, String> + Send + Sync);

/// Why nothing can be sent of a letter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Obstacle {
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

/// What would be published of a letter. `again` takes what was redriven before.
///
/// # Errors
/// Why nothing can.
pub fn understand(payload: &Payload, header: Option<Eyes<'_>>, again: bool) -> Result<Body, Obstacle> {
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
fn read_again(payload: &Payload, header: Option<Eyes<'_>>) -> Result<Body, Obstacle> {
    let header = header.ok_or(Obstacle::NoHeader)?;
    let shift_us = payload.shift_us.ok_or(Obstacle::NoShift)?;
    match header(&payload.raw).map_err(Obstacle::NotUnderstood)? {
        Content::Reject(reject) => Err(Obstacle::NotUnderstood(reject.reason)),
        Content::Record(mut record) => {
            record.timestamp = Timestamp::shifted(record.timestamp, shift_us);
            let place = |value: Option<i64>| value.unwrap_or(0).unsigned_abs();
            Ok(Body::of(record, place(payload.letter.line), place(payload.letter.byte)))
        }
    }
}

impl Obstacle {
    /// What a program tells them apart by.
    pub fn code(&self) -> &'static str {
        match self {
            Obstacle::Redriven => "redriven",
            Obstacle::Purged => "purged",
            Obstacle::Cut => "cut",
            Obstacle::NoHeader => "no_header",
            Obstacle::NotUnderstood(_) => "not_understood",
            Obstacle::NoShift => "no_shift",
            Obstacle::Newer(_) => "newer",
            Obstacle::Garbage(_) => "garbage",
        }
    }

    /// Nothing more is to be done about these.
    pub fn is_settled(&self) -> bool {
        matches!(self, Obstacle::Redriven | Obstacle::Purged)
    }

    /// Why letters are left.
    pub fn words(&self) -> String {
        match self {
            Obstacle::Redriven => "redriven before".to_owned(),
            Obstacle::Purged => "purged: their payload was given up".to_owned(),
            Obstacle::Cut => {
                "longer than what is kept of a row, 64 KiB or what etcd takes: only their file has the rest".to_owned()
            }
            Obstacle::NoHeader => "rows that were not understood".to_owned(),
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
pub(crate) mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::books::letters::Letter;
    use crate::domain::{GpuIdentity, Metric, Record, Reject};

    const ROW: &[u8] = b"0,41";

    /// A row, as it is kept.
    pub(crate) fn row(raw: &[u8]) -> Payload {
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

    /// GPU and temperature; the time is always the same.
    fn eyes(row: &[u8]) -> Result<Content, String> {
        let text = std::str::from_utf8(row).map_err(|error| error.to_string())?;
        let (gpu, celsius) = text.split_once(',').ok_or("no row")?;
        let Ok(celsius) = celsius.parse() else { return Ok(Content::Reject(Reject::new("no number", row))) };
        let gpu = GpuIdentity { host: "h".into(), gpu: gpu.into(), ..GpuIdentity::default() };
        let values = vec![(Metric::named("temperature_celsius"), Some(celsius))];
        let timestamp = Timestamp::from_millis(1_767_225_600_000);
        Ok(Content::Record(Record { described: Arc::new(gpu.into()), timestamp, values }))
    }

    #[test]
    fn a_row_is_read_again_in_its_place_and_its_time() {
        let payload = Payload { shift_us: Some(1_000_000), ..row(ROW) };
        let Ok(Body::Rows { rows, timestamp, .. }) = understand(&payload, Some(&eyes), false) else { panic!() };
        assert_eq!((rows[0].line, rows[0].byte, timestamp.to_string().as_str()), (7, 70, "2026-01-01T00:00:01Z"));
    }

    #[test]
    fn what_cannot_be_sent_says_why() {
        let of = |payload: &Payload, header: Option<Eyes<'_>>| understand(payload, header, false).unwrap_err();
        assert_eq!(of(&row(ROW), None), Obstacle::NoHeader);
        assert_eq!(of(&row(b"0,warm"), Some(&eyes)), Obstacle::NotUnderstood("no number".into()));
        assert_eq!(of(&row(b"0"), Some(&eyes)), Obstacle::NotUnderstood("no row".into()));
        assert_eq!(of(&Payload { shift_us: None, ..row(ROW) }, Some(&eyes)), Obstacle::NoShift);
        let mut cut = row(ROW);
        cut.letter.raw_bytes += 1;
        assert_eq!(of(&cut, Some(&eyes)), Obstacle::Cut);
        let mut message = row(br#"{"v":9}"#);
        assert_eq!(of(&message, None), Obstacle::Newer(9));
        message.raw = b"{".to_vec();
        message.letter.sha256 = None;
        message.letter.raw_bytes = 1;
        assert!(matches!(of(&message, Some(&eyes)), Obstacle::Garbage(_)));
        let mut redriven = row(ROW);
        redriven.letter.state = State::Redriven;
        assert_eq!(of(&redriven, Some(&eyes)), Obstacle::Redriven);
        assert!(understand(&redriven, Some(&eyes), true).is_ok());
        redriven.letter.state = State::Purged;
        assert_eq!(understand(&redriven, Some(&eyes), true).unwrap_err(), Obstacle::Purged);
    }
}
