//! Cutting rows into batches (pure): which rows travel together, and when a batch is full.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::{Body, MessageRow, Source};
use crate::domain::{Content, Described, Record, Row, Timestamp};

/// The most a batch may hold.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Source rows.
    pub rows: usize,
    /// Messages: what the server's transaction limit and a lease's 1,000 keys leave.
    pub messages: usize,
    /// Encoded bytes.
    pub bytes: usize,
}

impl Bounds {
    /// A lease holds at most this many keys.
    pub const LEASE_KEYS: usize = 1_000;
    /// The server takes 1.5 MiB by default; keys and manifest need room too.
    pub const BYTES: usize = 1 << 20;

    /// Bounds for batches of `rows` rows on a server with this `max-txn-ops`.
    pub fn new(rows: usize, max_txn_ops: u32) -> Self {
        let messages = (max_txn_ops as usize).saturating_sub(8).clamp(1, Self::LEASE_KEYS);
        Bounds { rows: rows.max(1), messages, bytes: Self::BYTES }
    }
}

/// A batch that is ready to be published.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// The messages, in order of their first row.
    pub messages: Vec<Body>,
    /// How many rows they stand for.
    pub rows: u64,
    /// The part of the source they cover, without gaps.
    pub source: Source,
    /// The step that publishes it, where it is traced.
    pub traceparent: Option<String>,
}

/// Fills batches row by row. Rows of one GPU and one time join one message.
#[derive(Debug)]
pub struct Cutter {
    bounds: Bounds,
    file: String,
    pass: u64,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    draft: Draft,
    bytes: usize,
    joined: HashMap<Joint, usize, RandomState>,
    /// The message of the row before: most rows follow their like.
    newest: Option<(Joint, usize)>,
}

/// What the rows of one message have in common: GPU and time. What else is said of the GPU may differ.
#[derive(Debug, Clone)]
struct Joint(Arc<Described>, Timestamp);

impl Joint {
    fn of(record: &Record) -> Self {
        Joint(record.described.clone(), record.timestamp)
    }
}

impl PartialEq for Joint {
    fn eq(&self, other: &Self) -> bool {
        self.1 == other.1 && (Arc::ptr_eq(&self.0, &other.0) || self.0.gpu == other.0.gpu)
    }
}

impl Eq for Joint {}

impl Hash for Joint {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.gpu.hash(state);
        self.1.0.hash(state);
    }
}

impl Open {
    /// The message that a row of this GPU and time joins.
    fn message_for(&self, joint: &Joint) -> Option<usize> {
        match &self.newest {
            Some((newest, index)) if newest == joint => Some(*index),
            _ => self.joined.get(joint).copied(),
        }
    }
}

/// About what a message costs besides its texts and numbers: keys, JSON, protobuf.
const MESSAGE_OVERHEAD: usize = 300;

impl Cutter {
    /// Batches of this file and pass.
    pub fn new(bounds: Bounds, file: impl Into<String>, pass: u64) -> Self {
        Cutter { bounds, file: file.into(), pass, open: None }
    }

    /// Takes a row in. Returns the batch before it, if the row no longer fits or does not follow on.
    pub fn push(&mut self, row: Row) -> Option<Draft> {
        let size = size_of(&row);
        let full = self.open.as_ref().is_some_and(|open| {
            let joins = || match &row.content {
                Content::Record(record) => open.message_for(&Joint::of(record)).is_some(),
                Content::Reject(_) => false,
            };
            open.draft.rows as usize >= self.bounds.rows
                || (open.draft.messages.len() >= self.bounds.messages && !joins())
                || open.bytes + size > self.bounds.bytes
                || open.draft.source.bytes[1] != row.byte
        });
        let done = if full { self.flush() } else { None };
        self.add(row, size);
        done
    }

    /// Is the open batch at its row limit, so that waiting for another row gains nothing?
    pub fn is_full(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.draft.rows as usize >= self.bounds.rows)
    }

    /// The open batch as it is.
    pub fn flush(&mut self) -> Option<Draft> {
        self.open.take().map(|open| open.draft)
    }

    fn add(&mut self, row: Row, size: usize) {
        let open = self.open.get_or_insert_with(|| Open {
            draft: Draft {
                messages: Vec::new(),
                rows: 0,
                source: Source {
                    file: self.file.clone(),
                    pass: self.pass,
                    lines: [row.line, row.line],
                    bytes: [row.byte, row.end],
                    shift_us: 0,
                },
                traceparent: None,
            },
            bytes: 0,
            joined: HashMap::default(),
            newest: None,
        });
        open.bytes += size;
        open.draft.rows += 1;
        open.draft.source.lines[1] = row.line;
        open.draft.source.bytes[1] = row.end;
        match row.content {
            Content::Reject(reject) => {
                open.draft.messages.push(Body::Dead { line: row.line, byte: row.byte, reject });
            }
            Content::Record(record) => {
                let joint = Joint::of(&record);
                let known = open.message_for(&joint);
                let index = known.unwrap_or(open.draft.messages.len());
                match known.and_then(|index| open.draft.messages.get_mut(index)) {
                    Some(Body::Rows { rows, described, .. }) => {
                        if !Arc::ptr_eq(described, &record.described) {
                            let labels = record.described.labels.iter();
                            Arc::make_mut(described)
                                .labels
                                .extend(labels.map(|(name, value)| (name.clone(), value.clone())));
                        }
                        rows.push(MessageRow { line: row.line, byte: row.byte, values: record.values });
                    }
                    _ => {
                        open.joined.insert(joint.clone(), index);
                        open.draft.messages.push(Body::of(record, row.line, row.byte));
                    }
                }
                open.newest = Some((joint, index));
            }
        }
    }
}

/// About how many bytes the row adds to its batch, from above.
fn size_of(row: &Row) -> usize {
    MESSAGE_OVERHEAD
        + match &row.content {
            // Base64 and JSON escapes at their worst.
            Content::Reject(reject) => reject.reason.len() * 2 + reject.raw.len() * 6,
            Content::Record(record) => {
                let Described { gpu, model, device, labels } = &*record.described;
                let names = gpu.host.len() * 4 + gpu.gpu.len() * 4 + gpu.uuid.as_ref().map_or(0, String::len);
                let labels: usize = labels.iter().map(|(name, value)| name.len() + value.len() * 2 + 8).sum();
                let values: usize = record.values.iter().map(|(metric, _)| metric.name().len() + 30).sum();
                let rest = model.as_ref().map_or(0, String::len) + device.as_ref().map_or(0, String::len);
                names + labels + values + rest
            }
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{GpuIdentity, Metric, Record, Reject};
    use proptest::prelude::*;

    fn row(index: u64, gpu: u8, ts: i64, good: bool) -> Row {
        let content = if good {
            Content::Record(Record {
                described: Arc::new(
                    GpuIdentity { host: "h".into(), gpu: gpu.to_string(), uuid: None, mig: None }.into(),
                ),
                timestamp: Timestamp(ts),
                values: vec![(Metric::named("xid"), Some(1.0))],
            })
        } else {
            Content::Reject(Reject::new("broken", b"x"))
        };
        Row { line: index + 2, byte: index * 10, end: index * 10 + 10, next_line: index + 3, crc: 0, content }
    }

    proptest! {
        #[test]
        fn batches_keep_every_row_once_within_bounds(
            rows in prop::collection::vec((0u8..4, 0i64..3, prop::bool::weighted(0.9)), 1..200),
            most_rows in 1usize..50,
            most_messages in 1usize..20,
        ) {
            let bounds = Bounds { rows: most_rows, messages: most_messages, bytes: 5_000 };
            let mut cutter = Cutter::new(bounds, "f", 0);
            let mut drafts = Vec::new();
            let count = rows.len() as u64;
            for (index, (gpu, ts, good)) in rows.into_iter().enumerate() {
                drafts.extend(cutter.push(row(index as u64, gpu, ts, good)));
            }
            drafts.extend(cutter.flush());
            let mut byte = 0;
            for draft in &drafts {
                prop_assert!(draft.rows as usize <= most_rows && draft.messages.len() <= most_messages);
                prop_assert_eq!(draft.rows as usize, draft.messages.iter().map(Body::rows).sum::<usize>());
                prop_assert_eq!(draft.source.bytes[0], byte);
                byte = draft.source.bytes[1];
                let encoded: usize = draft.messages.iter().map(|body| body.encode().len()).sum();
                prop_assert!(encoded <= bounds.bytes);
            }
            prop_assert_eq!(drafts.iter().map(|draft| draft.rows).sum::<u64>(), count);
        }
    }

    #[test]
    fn a_scrape_is_one_message_per_gpu() {
        let mut cutter = Cutter::new(Bounds::new(100, 128), "f", 0);
        for index in 0..10 {
            assert_eq!(cutter.push(row(index, (index % 2) as u8, 7, true)), None);
        }
        let draft = cutter.flush().unwrap();
        assert_eq!((draft.messages.len(), draft.rows), (2, 10));
    }

    #[test]
    fn a_gap_in_the_source_starts_a_new_batch() {
        let mut cutter = Cutter::new(Bounds::new(100, 128), "f", 0);
        assert_eq!(cutter.push(row(0, 0, 1, true)), None);
        assert_eq!(cutter.push(row(5, 0, 1, true)).map(|draft| draft.rows), Some(1));
    }
}
