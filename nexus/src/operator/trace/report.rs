//! What a trace found, and what it means (pure).

use std::collections::BTreeMap;

use nexus_common::books::trace::{Booked, DeadLetter, StoredSample};
use nexus_common::domain::Timestamp;
use nexus_common::queue::{BatchId, Manifest};
use serde::Serialize;

use super::question::Asked;
use crate::operator::words::Time;

/// Where something is now. In this order the best is told first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    Stored,
    InFlight,
    Queued,
    DeadLetter,
    Expired,
    Lost,
    Unknown,
}

/// Everything that is printed.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) question: Asked,
    pub(super) state: State,
    pub(super) meaning: String,
    /// What PostgreSQL has of the GPU at that time.
    pub(super) samples: Vec<Sample>,
    /// Batch by batch.
    pub(super) trails: Vec<Trail>,
    /// Dead letters that name the host and the time: perhaps it.
    pub(super) perhaps: Vec<Letter>,
    /// What was looked at, what could not be, and what to do about it.
    pub(super) notes: Vec<String>,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Sample {
    pub(super) gpu_id: i32,
    pub(super) timestamp: Time,
    pub(super) conflicts: i32,
    pub(super) values: BTreeMap<String, f64>,
}

/// A batch, and what of it was asked for.
#[derive(Debug, Serialize)]
pub(super) struct Trail {
    pub(super) state: State,
    pub(super) batch: Batch,
    pub(super) queue: Option<Queue>,
    pub(super) ledger: Option<Ledger>,
    pub(super) rows: Vec<Row>,
    pub(super) dead_letters: Vec<Letter>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Batch {
    pub(super) id: String,
    pub(super) published_at: Time,
    pub(super) lane: String,
    pub(super) run: String,
    pub(super) n: u64,
    #[serde(flatten)]
    pub(super) source: Option<Place>,
}

/// Where a batch came from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Place {
    pub(super) file: String,
    pub(super) pass: u64,
    pub(super) shift_us: i64,
    pub(super) lines: [u64; 2],
    pub(super) bytes: [u64; 2],
    pub(super) row_count: u64,
}

/// A batch that is not acknowledged.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Queue {
    pub(super) claimed_by: Option<String>,
    pub(super) claimer_is_alive: bool,
    pub(super) attempts: u32,
    pub(super) messages: usize,
    pub(super) messages_there: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Ledger {
    pub(super) stored_at: Time,
    pub(super) collector: String,
    /// `None` where etcd cannot say.
    pub(super) collector_is_alive: Option<bool>,
    pub(super) stored: u64,
    pub(super) dead: u64,
    pub(super) expired: u64,
}

/// A row of the source.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Row {
    pub(super) state: State,
    pub(super) line: u64,
    pub(super) byte: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) end_byte: Option<u64>,
    /// The time in the source, before a loop moved it.
    pub(super) source_timestamp: Option<Time>,
    pub(super) values: BTreeMap<String, Option<f64>>,
    /// Whether the sample has every value of the row; `None` where there is no sample to compare.
    pub(super) is_as_stored: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<String>,
    /// The message's key, where it is still in etcd.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Letter {
    pub(super) id: i64,
    pub(super) batch: String,
    pub(super) file: String,
    pub(super) line: Option<i64>,
    pub(super) byte: Option<i64>,
    pub(super) row_count: i32,
    pub(super) reason: String,
    pub(super) raw: String,
}

impl Batch {
    pub(super) fn of(batch: &BatchId, source: Option<Place>) -> Batch {
        Batch {
            id: batch.to_string(),
            published_at: Time(Timestamp::from_millis(batch.published_ms)),
            lane: batch.lane.clone(),
            run: batch.run.clone(),
            n: batch.n,
            source,
        }
    }
}

impl From<&Booked> for Place {
    fn from(booked: &Booked) -> Place {
        let Booked { file, pass, shift_us, lines, bytes, rows, .. } = booked.clone();
        Place { file, pass, shift_us, lines, bytes, row_count: rows }
    }
}

impl From<&Manifest> for Place {
    fn from(manifest: &Manifest) -> Place {
        let source = manifest.source.clone();
        Place {
            file: source.file,
            pass: source.pass,
            shift_us: source.shift_us,
            lines: source.lines,
            bytes: source.bytes,
            row_count: manifest.rows,
        }
    }
}

impl From<StoredSample> for Sample {
    fn from(sample: StoredSample) -> Sample {
        let StoredSample { gpu_id, timestamp, conflicts, values } = sample;
        Sample { gpu_id, timestamp: Time(timestamp), conflicts, values }
    }
}

impl From<DeadLetter> for Letter {
    fn from(letter: DeadLetter) -> Letter {
        let DeadLetter { id, batch, key: _, rows, file, line, byte, reason, raw } = letter;
        Letter { id, batch, file, line, byte, row_count: rows, reason, raw }
    }
}

/// Whether a sample has every value that a row reports.
pub(super) fn as_stored(values: &BTreeMap<String, Option<f64>>, samples: &[Sample]) -> Option<bool> {
    if samples.is_empty() {
        return None;
    }
    let has = |(name, value): (&String, &Option<f64>)| {
        value.is_none_or(|value| samples.iter().any(|sample| sample.values.get(name) == Some(&value)))
    };
    Some(values.iter().all(has))
}

impl Trail {
    /// What became of one of the batch's rows.
    pub(super) fn fate(&self, byte: u64, key: Option<&str>, is_as_stored: Option<bool>) -> State {
        let place = i64::try_from(byte).ok();
        if self.dead_letters.iter().any(|letter| letter.byte.is_some() && letter.byte == place) {
            return State::DeadLetter;
        }
        let rows = self.batch.source.as_ref().map_or(0, |source| source.row_count);
        match (&self.ledger, &self.queue) {
            (Some(ledger), _) if ledger.expired == rows => State::Expired,
            (Some(ledger), _) if ledger.dead == rows => State::DeadLetter,
            (Some(ledger), _) if ledger.expired == 0 => State::Stored,
            // Some of the batch has expired: what is in the sample did not.
            (Some(_), _) => match is_as_stored {
                Some(true) => State::Stored,
                Some(false) | None => State::Expired,
            },
            (None, Some(queue)) if key.is_some() => queue.state(),
            (None, Some(_)) => State::Expired,
            (None, None) => State::Unknown,
        }
    }

    /// What became of the batch as a whole. `n` is how far its lane's run got, where that is known.
    pub(super) fn settle(&mut self, lane: Option<(&str, u64)>) {
        let rows = self.batch.source.as_ref().map_or(0, |source| source.row_count);
        self.state = match (&self.ledger, &self.queue) {
            (Some(ledger), _) if ledger.expired == rows => State::Expired,
            (Some(ledger), _) if ledger.dead == rows => State::DeadLetter,
            (Some(_), _) => State::Stored,
            (None, Some(queue)) if queue.messages_there == 0 && queue.messages > 0 => State::Expired,
            (None, Some(queue)) => queue.state(),
            (None, None) => match lane {
                Some((run, n)) if run == self.batch.run && self.batch.n <= n => State::Lost,
                _ => State::Unknown,
            },
        };
        if let Some(best) = self.rows.iter().map(|row| row.state).min() {
            self.state = best;
        }
    }
}

impl Queue {
    fn state(&self) -> State {
        if self.claimed_by.is_some() { State::InFlight } else { State::Queued }
    }
}

impl Report {
    /// Says where it is, and what that means.
    pub(super) fn conclude(&mut self, is_value: bool) {
        let best = self.trails.iter().map(|trail| trail.state).min();
        let stored = is_value && !self.samples.is_empty();
        self.state = if stored { State::Stored } else { best.unwrap_or(State::Unknown) };
        let meaning = match self.state {
            State::Stored if self.trails.is_empty() => {
                "it is in PostgreSQL; which row it came from cannot be said, because no source that can be read has it"
            }
            State::Stored => "it is in PostgreSQL, and the ledger has its batch",
            State::InFlight => "a collector holds its batch and is about to store it",
            State::Queued => "it waits in etcd for a collector",
            State::DeadLetter => {
                "it could not be stored and is kept as a dead letter: nexus dlq show ID, nexus dlq redrive ID"
            }
            State::Expired => {
                "nobody stored it before its MESSAGE_TTL was over: nexus expired list, nexus expired republish"
            }
            State::Lost => {
                "its lane published it, but it is neither in etcd nor in the ledger: PostgreSQL was restored to an earlier \
                 point, or somebody deleted it; nexus audit shows the gap"
            }
            State::Unknown => {
                "neither etcd nor PostgreSQL knows it, and no source that can be read has it: it was never read, or it says \
                 another host, GPU or time, or its file is not here (--file says where)"
            }
        };
        meaning.clone_into(&mut self.meaning);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trail(ledger: Option<[u64; 3]>, queue: Option<(bool, usize)>) -> Trail {
        let id = BatchId { published_ms: 5, lane: "l".into(), run: "r".into(), n: 7 };
        let place = Place { file: "f".into(), pass: 0, shift_us: 0, lines: [2, 11], bytes: [9, 99], row_count: 10 };
        let stored_at = Time(Timestamp(0));
        Trail {
            state: State::Unknown,
            batch: Batch::of(&id, Some(place)),
            queue: queue.map(|(held, messages_there)| Queue {
                claimed_by: held.then(|| "c1".to_owned()),
                claimer_is_alive: true,
                attempts: 1,
                messages: 10,
                messages_there,
            }),
            ledger: ledger.map(|[stored, dead, expired]| Ledger {
                stored_at,
                collector: "c1".into(),
                collector_is_alive: None,
                stored,
                dead,
                expired,
            }),
            rows: Vec::new(),
            dead_letters: Vec::new(),
        }
    }

    #[test]
    fn a_batch_is_where_its_traces_say() {
        let state = |ledger, queue, lane: Option<(&str, u64)>| {
            let mut trail = trail(ledger, queue);
            trail.settle(lane);
            trail.state
        };
        assert_eq!(state(Some([9, 1, 0]), None, None), State::Stored);
        assert_eq!(state(Some([0, 0, 10]), None, None), State::Expired);
        assert_eq!(state(Some([0, 10, 0]), None, None), State::DeadLetter);
        assert_eq!(state(Some([10, 0, 0]), Some((true, 10)), None), State::Stored, "stored, not acknowledged yet");
        assert_eq!(state(None, Some((true, 10)), None), State::InFlight);
        assert_eq!(state(None, Some((false, 10)), None), State::Queued);
        assert_eq!(state(None, Some((false, 0)), None), State::Expired, "to be recorded by the next claim");
        assert_eq!(state(None, None, Some(("r", 7))), State::Lost);
        assert_eq!(state(None, None, Some(("r", 6))), State::Unknown, "not published yet");
        assert_eq!(
            state(None, None, Some(("other", 9))),
            State::Unknown,
            "an older run: the ledger may have dropped it"
        );
    }

    #[test]
    fn a_row_is_where_its_batch_and_its_sample_say() {
        let key = Some("/k");
        assert_eq!(trail(Some([9, 1, 0]), None).fate(50, None, None), State::Stored);
        assert_eq!(trail(Some([5, 0, 5]), None).fate(50, None, Some(true)), State::Stored);
        assert_eq!(trail(Some([5, 0, 5]), None).fate(50, None, Some(false)), State::Expired);
        assert_eq!(trail(None, Some((false, 3))).fate(50, key, None), State::Queued);
        assert_eq!(trail(None, Some((true, 3))).fate(50, key, None), State::InFlight);
        assert_eq!(trail(None, Some((true, 3))).fate(50, None, None), State::Expired);
        let mut dead = trail(Some([9, 1, 0]), None);
        let (batch, file, reason, raw) = (String::new(), String::new(), String::new(), String::new());
        dead.dead_letters.push(Letter { id: 1, batch, file, line: Some(5), byte: Some(50), row_count: 1, reason, raw });
        assert_eq!((dead.fate(50, None, None), dead.fate(60, None, None)), (State::DeadLetter, State::Stored));
    }

    #[test]
    fn a_row_is_compared_with_what_is_stored() {
        let values: BTreeMap<_, _> = [("a".to_owned(), Some(1.0)), ("b".to_owned(), None)].into();
        let sample = |a: f64| Sample {
            gpu_id: 1,
            timestamp: Time(Timestamp(0)),
            conflicts: 0,
            values: [("a".to_owned(), a)].into(),
        };
        assert_eq!(as_stored(&values, &[]), None);
        assert_eq!(as_stored(&values, &[sample(1.0)]), Some(true));
        assert_eq!(as_stored(&values, &[sample(2.0)]), Some(false));
    }
}
