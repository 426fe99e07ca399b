//! Which bytes of a source lie in which batch.

use std::collections::HashMap;

use deadpool_postgres::Pool;
use tokio_postgres::Row;

use super::Error;
use super::ledger::{batch_of, has_tables, number};
use super::promise::Promise;
use crate::etcd::Client;
use crate::queue::{BatchId, Cursor, Keys};

/// The part of a source that one batch holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extent {
    /// The batch.
    pub batch: BatchId,
    /// Pass of a loop.
    pub pass: u64,
    /// Rows it counts.
    pub rows: u64,
    /// Rows of it that are dead letters; 0 while it waits.
    pub dead: u64,
    /// Rows of it that expired; 0 while it waits.
    pub expired: u64,
    /// First and last line.
    pub lines: [u64; 2],
    /// Offset of the first byte, and the one behind the last.
    pub bytes: [u64; 2],
    /// What was added to the rows' time stamps, in microseconds.
    pub shift_us: i64,
    /// It is in the ledger; otherwise in the queue.
    pub stored: bool,
    /// What of it expired was published again, and nothing of that waits any more.
    pub brought_back: bool,
}

/// What is known of some lanes' source: the cursors by lane, and their batches in the order of passes and bytes.
#[derive(Debug, Default)]
pub struct Extents {
    /// The cursors of the lanes that have one.
    pub cursors: Vec<(String, Cursor)>,
    /// The batches of ledger and queue.
    pub batches: Vec<Extent>,
    /// Rows in batches that retention has dropped: which part of the source they were nobody knows any more.
    pub dropped: u64,
}

impl Extents {
    /// The lanes named so, as far as `is_ours` takes them; each batch once, however often it was looked at.
    ///
    /// # Errors
    /// Where one of the sides cannot be read.
    pub async fn of(
        client: &Client,
        keys: &Keys,
        memory: &Pool,
        mut is_ours: impl FnMut(&str, &Cursor) -> bool,
    ) -> Result<Extents, Error> {
        let promise = Promise::read(client, keys).await?;
        let cursors: Vec<_> = promise.lanes.into_iter().filter(|(lane, cursor)| is_ours(lane, cursor)).collect();
        let lanes: Vec<_> = cursors.iter().map(|(lane, _)| lane.as_str()).collect();
        let mut batches = HashMap::new();
        for waiting in promise.waiting.iter().filter(|waiting| lanes.contains(&waiting.batch.lane.as_str())) {
            let source = &waiting.source;
            let extent = Extent {
                batch: waiting.batch.clone(),
                pass: source.pass,
                rows: waiting.rows,
                dead: 0,
                expired: 0,
                lines: source.lines,
                bytes: source.bytes,
                shift_us: source.shift_us,
                stored: false,
                brought_back: false,
            };
            batches.insert(waiting.batch.clone(), extent);
        }
        let connection = memory.get().await?;
        let mut dropped = 0;
        if has_tables(&connection).await? {
            let row = connection.query_one(include_str!("sql/dropped_rows.sql"), &[&keys.cluster_id(), &lanes]).await?;
            dropped = number(&row, "rows");
            let rows = connection.query(include_str!("sql/extents.sql"), &[&keys.cluster_id(), &lanes]).await?;
            let known: HashMap<_, _> = cursors.iter().map(|(lane, cursor)| (lane.as_str(), cursor)).collect();
            // Stored since the cursors were read: batches before it may be in neither look.
            let is_later = |batch: &BatchId| {
                known.get(batch.lane.as_str()).is_some_and(|cursor| cursor.run == batch.run && cursor.n < batch.n)
            };
            let stored = rows.iter().map(Extent::of).filter(|extent| !is_later(&extent.batch));
            batches.extend(stored.map(|extent| (extent.batch.clone(), extent)));
            // Of returns that are over, down to the last message.
            let busy: Vec<_> = promise.waiting.iter().map(|waiting| waiting.batch.lane.as_str()).collect();
            for row in
                connection.query(include_str!("sql/brought_back.sql"), &[&keys.cluster_id(), &lanes, &busy]).await?
            {
                if let Some(extent) = batches.get_mut(&batch_of(&row)) {
                    extent.brought_back = true;
                }
            }
        }
        let mut batches: Vec<_> = batches.into_values().collect();
        batches.sort_by_key(|extent| (extent.pass, extent.bytes, extent.batch.published_ms));
        Ok(Extents { cursors, batches, dropped })
    }
}

impl Extent {
    fn of(row: &Row) -> Extent {
        Extent {
            batch: batch_of(row),
            pass: number(row, "pass"),
            rows: row.get::<_, i32>("row_count").unsigned_abs().into(),
            dead: row.get::<_, i32>("dead").unsigned_abs().into(),
            expired: row.get::<_, i32>("expired").unsigned_abs().into(),
            lines: [number(row, "first_line"), number(row, "last_line")],
            bytes: [number(row, "first_byte"), number(row, "end_byte")],
            shift_us: row.get("shift_us"),
            stored: true,
            brought_back: false,
        }
    }
}
