//! Cutting rows into batches (pure): which rows travel together, and when a batch is full.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::{Body, FEED_LIMIT_BYTES, MessageRow, Source};
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
    /// Bytes of the live feed's value that tells of the batch: what has no room there is not seen live.
    pub feed: usize,
}

impl Bounds {
    /// A lease holds at most this many keys.
    pub const LEASE_KEYS: usize = 1_000;
    /// The server takes 1.5 MiB by default; keys and manifest need room too.
    pub const BYTES: usize = 1 << 20;

    /// Bounds for batches of `rows` rows on a server with this `max-txn-ops`.
    pub fn new(rows: usize, max_txn_ops: u32) -> Self {
        let messages = (max_txn_ops as usize).saturating_sub(8).clamp(1, Self::LEASE_KEYS);
        Bounds { rows: rows.max(1), messages, bytes: Self::BYTES, feed: FEED_LIMIT_BYTES }
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
    size: Size,
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

    /// Nothing yet; the first row will be this one.
    fn at(first: &Row, file: &str, pass: u64) -> Open {
        let source = Source {
            file: file.to_owned(),
            pass,
            lines: [first.line, first.line],
            bytes: [first.byte, first.byte],
            shift_us: 0,
        };
        Open {
            draft: Draft { messages: Vec::new(), rows: 0, source, traceparent: None },
            size: Size::of(first, None),
            joined: HashMap::default(),
            newest: None,
        }
    }

    /// Takes a row in; `known` is the message it joins, if that is there.
    fn add(&mut self, row: Row, known: Option<usize>) {
        self.draft.rows += 1;
        self.draft.source.lines[1] = row.line;
        self.draft.source.bytes[1] = row.end;
        let record = match row.content {
            Content::Record(record) => record,
            Content::Reject(reject) => {
                self.draft.messages.push(Body::Dead { line: row.line, byte: row.byte, reject });
                return;
            }
        };
        let joint = Joint::of(&record);
        let index = known.unwrap_or(self.draft.messages.len());
        match known.and_then(|index| self.draft.messages.get_mut(index)) {
            Some(Body::Rows { rows, described, .. }) => {
                if !Arc::ptr_eq(described, &record.described) {
                    let labels = record.described.labels.iter();
                    Arc::make_mut(described).labels.extend(labels.map(|(name, value)| (name.clone(), value.clone())));
                }
                rows.push(MessageRow { line: row.line, byte: row.byte, values: record.values });
            }
            _ => {
                self.joined.insert(joint.clone(), index);
                self.draft.messages.push(Body::of(record, row.line, row.byte));
            }
        }
        self.newest = Some((joint, index));
    }

    /// What is said in that message of its GPU.
    fn described(&self, index: usize) -> Option<&Arc<Described>> {
        match self.draft.messages.get(index)? {
            Body::Rows { described, .. } => Some(described),
            Body::Dead { .. } => None,
        }
    }
}

impl Cutter {
    /// Batches of this file and pass.
    pub fn new(bounds: Bounds, file: impl Into<String>, pass: u64) -> Self {
        Cutter { bounds, file: file.into(), pass, open: None }
    }

    /// What a batch may hold from the next row on.
    pub fn bound(&mut self, bounds: Bounds) {
        self.bounds = bounds;
    }

    /// Takes a row in. Returns the batch before it, if the row no longer fits or does not follow on.
    pub fn push(&mut self, row: Row) -> Option<Draft> {
        if let Some(open) = &mut self.open {
            let known = match &row.content {
                Content::Record(record) => open.message_for(&Joint::of(record)),
                Content::Reject(_) => None,
            };
            let size = open.size + Size::of(&row, known.and_then(|index| open.described(index)));
            let fits = (open.draft.rows as usize) < self.bounds.rows
                && (open.draft.messages.len() < self.bounds.messages || known.is_some())
                && size.batch <= self.bounds.bytes
                && size.feed <= self.bounds.feed
                && open.draft.source.bytes[1] == row.byte;
            if fits {
                open.size = size;
                open.add(row, known);
                return None;
            }
        }
        let done = self.flush();
        let mut open = Open::at(&row, &self.file, self.pass);
        open.add(row, None);
        self.open = Some(open);
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
}

/// About how many bytes rows come to, from above.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    /// Of their batch.
    batch: usize,
    /// Of the value that tells of it live.
    feed: usize,
}

impl std::ops::Add for Size {
    type Output = Size;

    fn add(self, more: Size) -> Size {
        Size { batch: self.batch + more.batch, feed: self.feed + more.feed }
    }
}

impl Size {
    /// A message: its key, JSON's punctuation, protobuf.
    const MESSAGE: usize = 300;
    /// A row in a message: line, byte, punctuation.
    const ROW: usize = 50;
    /// A value besides the metric's name: the longest number, punctuation.
    const VALUE: usize = 30;
    /// A GPU and time in the feed, besides the GPU's names.
    const TOLD: usize = 100;

    /// What a row adds, where `into` is what its message says of the GPU so far; without it the row is a message.
    fn of(row: &Row, into: Option<&Arc<Described>>) -> Size {
        let record = match &row.content {
            // Base64 and JSON escapes at their worst. Nothing of it is told live.
            Content::Reject(reject) => {
                let batch = Self::MESSAGE + Self::ROW + reject.reason.len() * 2 + reject.raw.len() * 6;
                return Size { batch, feed: 0 };
            }
            Content::Record(record) => record,
        };
        let Described { gpu, model, device, labels } = &*record.described;
        let values: usize = record.values.iter().map(|(metric, _)| metric.name().len() + Self::VALUE).sum();
        let labels = || labels.iter().map(|(name, value)| name.len() + value.len() * 2 + 8).sum::<usize>();
        let uuid = gpu.uuid.as_ref().map_or(0, String::len);
        match into {
            Some(said) if Arc::ptr_eq(said, &record.described) => Size { batch: Self::ROW + values, feed: values },
            Some(_) => Size { batch: Self::ROW + values + labels(), feed: values },
            None => {
                let names = (gpu.host.len() + gpu.gpu.len()) * 2 + uuid;
                let rest = model.as_ref().map_or(0, String::len) + device.as_ref().map_or(0, String::len);
                // Twice: the GPU's name is in its message's key, too.
                let batch = Self::MESSAGE + Self::ROW + 2 * names + rest + labels() + values;
                Size { batch, feed: Self::TOLD + names + values }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{CATALOGUE, GpuIdentity, Metric, Record, Reject, Sample};
    use crate::queue::{Feed, FeedEntry};
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

    /// What the live feed tells of a batch.
    fn told(draft: &Draft) -> Vec<u8> {
        let samples = draft.messages.iter().filter_map(|message| match message {
            Body::Rows { described, timestamp, rows } => {
                let mut data = Sample::new(*timestamp);
                for (metric, value) in rows.iter().flat_map(|row| &row.values) {
                    let _ = data.set(metric, *value);
                }
                let (gpu, uuid) = (&described.gpu, described.gpu.uuid.as_deref());
                Some(FeedEntry { host_id: &gpu.host, gpu_id: &gpu.gpu, uuid, timestamp_us: timestamp.0, data })
            }
            Body::Dead { .. } => None,
        });
        Feed::encode("0001020304050607-00000000000000ff", samples, 0)
    }

    proptest! {
        #[test]
        fn batches_keep_every_row_once_within_bounds(
            rows in prop::collection::vec((0u8..4, 0i64..3, prop::bool::weighted(0.9)), 1..200),
            most_rows in 1usize..50,
            most_messages in 1usize..20,
        ) {
            let bounds = Bounds { rows: most_rows, messages: most_messages, bytes: 5_000, feed: 1_500 };
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
                prop_assert!(encoded <= bounds.bytes && told(draft).len() <= bounds.feed);
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

    /// A fleet's scrape: GPUs as large as they come, ten metrics of each, a row a metric.
    #[test]
    fn a_large_batch_is_cut_where_the_feed_is_full_and_not_long_before() {
        let mut cutter = Cutter::new(Bounds::new(10_000, 1_024), "f", 0);
        let metrics: Vec<_> = CATALOGUE.iter().take(10).map(|metric| Metric::named(metric.name)).collect();
        let mut drafts = Vec::new();
        for gpu in 0..999_u64 {
            let identity = GpuIdentity {
                host: format!("gpu-host-{:03}", gpu / 8),
                gpu: (gpu % 8).to_string(),
                uuid: Some(format!("GPU-{gpu:08x}-4b3b-7e33-1cf3-8a51a82265f3")),
                mig: None,
            };
            let described = Arc::new(Described::from(identity));
            for (nth, metric) in (gpu * 10..).zip(&metrics) {
                let values = vec![(metric.clone(), Some(1_234.5))];
                let content = Content::Record(Record { described: described.clone(), timestamp: Timestamp(7), values });
                let (line, byte) = (nth + 2, nth * 300);
                drafts.extend(cutter.push(Row { line, byte, end: byte + 300, next_line: line + 1, crc: 0, content }));
            }
        }
        drafts.extend(cutter.flush());
        for draft in &drafts {
            let feed: Feed = serde_json::from_slice(&told(draft)).unwrap();
            assert_eq!((feed.left_out, feed.samples.len()), (0, draft.messages.len()));
        }
        let rows: Vec<u64> = drafts.iter().map(|draft| draft.rows).collect();
        assert!(rows[0] > 4_000, "{rows:?}: half of the room is left");
        assert_eq!(rows.iter().sum::<u64>(), 9_990);
    }

    #[test]
    fn a_gap_in_the_source_starts_a_new_batch() {
        let mut cutter = Cutter::new(Bounds::new(100, 128), "f", 0);
        assert_eq!(cutter.push(row(0, 0, 1, true)), None);
        assert_eq!(cutter.push(row(5, 0, 1, true)).map(|draft| draft.rows), Some(1));
    }
}
