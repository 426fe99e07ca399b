//! A claimed batch, decoded and accounted for (pure): what will be stored, what is dead, what has expired.

use nexus_common::domain::{Described, Timestamp};
use nexus_common::failpoint;
use nexus_common::queue::{Body, Claimed, Decoded, Decoder, MessageRow, Source};
use std::sync::Arc;

/// A batch on its way into PostgreSQL. `row_count = stored + dead + expired`, always.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    pub(crate) claimed: Claimed,
    pub(crate) readings: Vec<Reading>,
    pub(crate) letters: Vec<Letter>,
    pub(crate) expired: u64,
}

/// The rows of one message: what one GPU reported for one time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reading {
    /// Which of the batch's messages it was.
    pub(crate) message: usize,
    pub(crate) described: Arc<Described>,
    pub(crate) timestamp: Timestamp,
    pub(crate) rows: Vec<MessageRow>,
}

/// A row, or a message nobody can read, on its way to the dead letters.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Letter {
    pub(crate) key: String,
    pub(crate) rows: u64,
    pub(crate) line: Option<u64>,
    pub(crate) byte: Option<u64>,
    pub(crate) reason: String,
    pub(crate) raw: Vec<u8>,
    pub(crate) raw_bytes: u64,
    pub(crate) sha256: Option<String>,
}

/// Why a batch is not worked on here.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Newer(pub(crate) u32);

impl Work {
    /// Decodes a batch; the messages' values are dropped, their keys kept for the acknowledgement. `Err`: a newer version
    /// wrote it, and a newer collector has to take it.
    pub(crate) fn decode(mut claimed: Claimed, decoder: &mut Decoder) -> Result<Work, Box<(Claimed, Newer)>> {
        let (mut readings, mut letters, mut unreadable) = (Vec::new(), Vec::new(), Vec::new());
        for (message, (key, value)) in claimed.messages.iter().enumerate() {
            match decoder.decode(value) {
                Decoded::Newer(version) => return Err(Box::new((claimed, Newer(version)))),
                Decoded::Garbage(reason) => unreadable.push(Letter::of_message(key, value, reason)),
                Decoded::Body(Body::Dead { line, byte, reject }) => letters.push(Letter {
                    key: key.clone(),
                    rows: 1,
                    line: Some(line),
                    byte: Some(byte),
                    reason: reject.reason,
                    raw: reject.raw,
                    raw_bytes: reject.raw_bytes,
                    sha256: Some(reject.sha256),
                }),
                Decoded::Body(Body::Rows { described, timestamp, rows }) => {
                    failpoint::about("work.decoded", &described.gpu.host);
                    let reading = Reading { message, described, timestamp, rows };
                    match reading.flaw() {
                        None => readings.push(reading),
                        Some(flaw) => letters.extend(reading.into_letters(key, flaw)),
                    }
                }
            }
        }
        let understood = rows_of(&readings) + letters.iter().map(|letter| letter.rows).sum::<u64>();
        let expired = share_out(&claimed, understood, &mut unreadable);
        letters.extend(unreadable);
        claimed.messages.iter_mut().for_each(|(_, value)| *value = Vec::new());
        Ok(Work { claimed, readings, letters, expired })
    }

    /// A batch that killed its collectors too often: every message a dead letter as it is, nothing decoded.
    pub(crate) fn bury(claimed: Claimed, attempts: u32) -> Work {
        let reason = format!("claimed {attempts} times without being stored: the batch may kill its collectors");
        let mut letters: Vec<_> =
            claimed.messages.iter().map(|(key, value)| Letter::of_message(key, value, reason.clone())).collect();
        let expired = share_out(&claimed, 0, &mut letters);
        Work { claimed, readings: Vec::new(), letters, expired }
    }

    pub(crate) fn stored(&self) -> u64 {
        rows_of(&self.readings)
    }

    pub(crate) fn dead(&self) -> u64 {
        self.letters.iter().map(|letter| letter.rows).sum()
    }

    /// Rows the batch accounts for: what its manifest promised, unless its messages hold more.
    #[cfg(test)]
    fn rows(&self) -> u64 {
        self.stored() + self.dead() + self.expired
    }

    pub(crate) fn source(&self) -> &Source {
        &self.claimed.manifest.source
    }

    /// Turns the readings that match into dead letters, row by row.
    pub(crate) fn refuse(&mut self, mut reason: impl FnMut(&Reading) -> Option<String>) {
        for reading in std::mem::take(&mut self.readings) {
            match reason(&reading) {
                None => self.readings.push(reading),
                Some(reason) => {
                    let key = self.claimed.messages.get(reading.message).map_or("", |(key, _)| key.as_str());
                    self.letters.extend(reading.into_letters(key, reason));
                }
            }
        }
    }
}

/// How many rows the unreadable messages stand for, and how many have expired. Nobody can look into an unreadable
/// message: if no message is missing, they hold what the manifest promised and the others lack; if some are missing,
/// one row each.
fn share_out(claimed: &Claimed, understood: u64, unreadable: &mut [Letter]) -> u64 {
    let rest = claimed.manifest.rows.saturating_sub(understood);
    let one_each = unreadable.len() as u64;
    let all_there = claimed.messages.len() >= claimed.manifest.messages;
    match unreadable.last_mut() {
        Some(last) if all_there => {
            last.rows += rest.saturating_sub(one_each);
            0
        }
        _ => rest.saturating_sub(one_each),
    }
}

fn rows_of(readings: &[Reading]) -> u64 {
    readings.iter().map(|reading| reading.rows.len() as u64).sum()
}

/// Days with a date of four digits, the next day too: 0001-01-01 to 9999-12-30.
const DAYS: std::ops::RangeInclusive<i32> = -719_162..=2_932_895;

impl Reading {
    /// What PostgreSQL could not take in any row: its text knows no NUL, and a partition needs a day with a date.
    fn flaw(&self) -> Option<String> {
        if !DAYS.contains(&self.timestamp.day()) {
            return Some(format!("the time {} is beyond the calendar (years 1 to 9999)", self.timestamp));
        }
        let Described { gpu, model, device, labels } = &*self.described;
        let mut texts = [Some(&gpu.host), Some(&gpu.gpu), gpu.uuid.as_ref(), gpu.mig.as_ref()]
            .into_iter()
            .chain([model.as_ref(), device.as_ref()])
            .flatten()
            .chain(labels.keys())
            .chain(labels.values());
        let metrics = || self.rows.iter().flat_map(|row| &row.values).map(|(metric, _)| metric.name());
        (texts.any(|text| text.contains('\0')) || metrics().any(|name| name.contains('\0')))
            .then(|| "a name holds a NUL character".to_owned())
    }

    /// A letter for each row; `key` is its message's.
    fn into_letters(self, key: &str, reason: String) -> impl Iterator<Item = Letter> {
        let Reading { described, timestamp, rows, .. } = self;
        rows.into_iter().map(move |row| {
            let (line, byte) = (row.line, row.byte);
            let body = Body::Rows { described: described.clone(), timestamp, rows: vec![row] };
            Letter { line: Some(line), byte: Some(byte), ..Letter::of_message(key, &body.encode(), reason.clone()) }
        })
    }
}

impl Letter {
    fn of_message(key: &str, value: &[u8], reason: String) -> Letter {
        Letter {
            key: key.to_owned(),
            rows: 1,
            line: None,
            byte: None,
            reason,
            raw: value.to_vec(),
            raw_bytes: value.len() as u64,
            sha256: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nexus_common::domain::{GpuIdentity, Metric, Reject};
    use nexus_common::queue::{BatchId, Manifest};
    use proptest::prelude::*;

    fn claimed(rows: u64, messages: usize, values: Vec<Vec<u8>>) -> Claimed {
        let source = Source { file: "f".into(), pass: 0, lines: [2, 9], bytes: [0, 9], shift_us: 0 };
        Claimed {
            batch: BatchId { published_ms: 1, lane: "l".into(), run: "r".into(), n: 1 },
            manifest: Manifest {
                v: 1,
                first: String::new(),
                last: String::new(),
                messages,
                rows,
                rows_before: 0,
                lease: 1,
                source,
                traceparent: None,
            },
            revision: 1,
            messages: values.into_iter().enumerate().map(|(n, value)| (n.to_string(), value)).collect(),
            attempt: 1,
        }
    }

    fn rows(count: usize) -> Vec<u8> {
        Body::Rows {
            described: Arc::new(GpuIdentity { host: "h".into(), gpu: "0".into(), uuid: None, mig: None }.into()),
            timestamp: Timestamp(1),
            rows: vec![MessageRow { line: 2, byte: 0, values: vec![(Metric::named("xid"), None)] }; count],
        }
        .encode()
    }

    fn dead() -> Vec<u8> {
        Body::Dead { line: 3, byte: 1, reject: Reject::new("no", b"x") }.encode()
    }

    proptest! {
        /// Whatever is garbage and whatever is gone: the promise is accounted for, row by row.
        #[test]
        fn every_promised_row_is_stored_dead_or_expired(
            messages in prop::collection::vec((0u8..3, 1usize..5, any::<bool>(), any::<bool>()), 1..20),
        ) {
            let promised: usize = messages.iter().map(|(kind, count, ..)| if *kind == 1 { 1 } else { *count }).sum();
            let total = messages.len();
            let left: Vec<_> = messages
                .iter()
                .filter(|(.., gone, _)| !gone)
                .map(|(kind, count, _, broken)| match (kind, broken) {
                    (_, true) => b"garbage".to_vec(),
                    (1, _) => dead(),
                    _ => rows(*count),
                })
                .collect();
            let complete = left.len() == total;
            for work in [
                Work::decode(claimed(promised as u64, total, left.clone()), &mut Decoder::default()).unwrap(),
                Work::bury(claimed(promised as u64, total, left), 6),
            ] {
                prop_assert_eq!(work.rows(), promised as u64);
                prop_assert!(!complete || work.expired == 0);
            }
        }
    }

    #[test]
    fn a_newer_message_leaves_the_batch_alone() {
        let work = Work::decode(claimed(1, 1, vec![br#"{"v":9}"#.to_vec()]), &mut Decoder::default());
        assert_eq!(work.err().map(|refused| refused.1), Some(Newer(9)));
    }

    #[test]
    fn a_refused_reading_becomes_one_letter_a_row() {
        let mut work = Work::decode(claimed(5, 2, vec![rows(3), rows(2)]), &mut Decoder::default()).unwrap();
        work.refuse(|reading| (reading.message == 0).then(|| "refused".to_owned()));
        assert_eq!((work.stored(), work.dead(), work.expired), (2, 3, 0));
        assert!(
            work.letters.iter().all(|letter| letter.line == Some(2) && letter.key == "0" && letter.reason == "refused")
        );
    }
}
