//! One file against its batches: is every row of it in one, and does each hold what it says?

use std::collections::HashMap;
use std::path::Path;

use anyhow::Context;
use deadpool_postgres::Pool;
use nexus_common::books::{Extent, Extents};
use nexus_common::config::Invalid;
use nexus_common::etcd::Client;
use nexus_common::queue::{Cursor, Keys};
use nexus_streamer::source::{self, Checkpoint, Location, Source, Stripe};
use serde::Serialize;

use super::content::Content;
use super::deep::{self, Comparison};
use super::recount::Header;

/// A file, counted anew.
#[derive(Debug, Default, Serialize)]
pub(super) struct FileAccount {
    pub(super) file: String,
    /// The lanes that read it.
    pub(super) lanes: Vec<String>,
    /// Rows counted in it.
    pub(super) rows: u64,
    /// How often it was begun: passes of LOOP_MODE, or 1.
    pub(super) passes: u64,
    /// Rows that lie before what was read last, in no batch.
    pub(super) skipped: u64,
    /// Rows that were in batches which retention has dropped: those among the skipped and unread ones are none.
    pub(super) dropped: u64,
    /// Rows that lie behind what was read last.
    pub(super) unread: u64,
    /// The last pass is one of a loop: that it is under way is no fault.
    pub(super) looping: bool,
    /// What is wrong, with its place: at most [`FAULTS`] are named.
    pub(super) faults: Vec<String>,
    /// Batches that hold another number of rows than their part of the file.
    pub(super) miscounted: u64,
    /// What comparing the values gave.
    pub(super) deep: Option<Comparison>,
}

/// Faults that are named.
pub(super) const FAULTS: usize = 50;

impl FileAccount {
    /// What is wrong, each in a few words.
    pub(super) fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        if self.skipped > self.dropped {
            wrong.push(format!("{} rows of the file are in no batch", self.skipped - self.dropped));
        }
        if self.miscounted > 0 {
            wrong.push(format!("{} batches count other rows than the file has there", self.miscounted));
        }
        let unread = self.unread.saturating_sub(self.dropped.saturating_sub(self.skipped));
        if unread > 0 && !self.looping {
            wrong.push(format!("{unread} rows at the end of the file were not read (yet)"));
        }
        if let Some(deep) = self.deep.as_ref().filter(|deep| deep.differ > 0) {
            wrong.push(format!("{} rows are stored otherwise than the file has them", deep.differ));
        }
        wrong
    }

    pub(super) fn fault(&mut self, text: impl FnOnce() -> String) {
        if self.faults.len() < FAULTS {
            self.faults.push(text());
        }
    }
}

/// Counts the file's rows, looks for each of them in the batches, and compares values when asked to.
///
/// # Errors
/// Where the file is none of ours, cannot be read, or a server does not answer.
pub(super) async fn account(
    client: &Client,
    keys: &Keys,
    memory: &Pool,
    path: &Path,
    options: &source::Options,
    deep: bool,
) -> anyhow::Result<FileAccount> {
    let name = path.display().to_string();
    let unreadable = |error: std::io::Error| Invalid(format!("--file {name}: {error}"));
    std::fs::File::open(path).map_err(unreadable)?;
    let mut source =
        Source::open(&Location::File(path.to_owned()), options).map_err(|error| Invalid(error.to_string()))?;
    let Some(fingerprint) = source.fingerprint().map(str::to_owned) else {
        return Ok(FileAccount { file: name, ..FileAccount::default() });
    };
    let is_ours = |lane: &str, cursor: &Cursor| lane.starts_with(&fingerprint) && reads(&mut source, cursor);
    let extents = Extents::of(client, keys, memory, is_ours).await?;
    // After the batches: a file that grows has their rows by now.
    let content = Content::open(path).map_err(unreadable)?;
    anyhow::ensure!(
        !extents.cursors.is_empty(),
        "{name}: no lane has read it (its content names the lane {fingerprint}-…)"
    );
    let mut account = FileAccount {
        file: name.clone(),
        lanes: extents.cursors.iter().map(|(lane, _)| lane.clone()).collect(),
        dropped: extents.dropped,
        looping: extents.batches.last().is_some_and(|extent| extent.shift_us != 0),
        ..FileAccount::default()
    };
    let header = Header::of(&content.range([0, 1 << 20])?);
    recount(&mut account, &content, &header, &extents)?;
    if deep {
        let comparison = deep::compare(&mut account, memory, keys, &content, &header, &extents, options).await;
        account.deep = Some(comparison.context("comparing values")?);
    }
    Ok(account)
}

/// Whether a lane's cursor stands in this file: others may begin alike.
fn reads(source: &mut Source, cursor: &Cursor) -> bool {
    checkpoint(cursor).is_none_or(|last| source.resume(&last).unwrap_or(false))
}

fn recount(account: &mut FileAccount, content: &Content, header: &Header, extents: &Extents) -> anyhow::Result<()> {
    let mut counted: HashMap<[u64; 2], u64> = HashMap::new();
    let mut rows_of = |range: [u64; 2]| -> anyhow::Result<u64> {
        Ok(match counted.get(&range) {
            Some(&rows) => rows,
            None => *counted.entry(range).or_insert(header.rows(&content.range(range)?)),
        })
    };
    for batches in extents.batches.chunk_by(|a, b| a.pass == b.pass) {
        account.passes += 1;
        let pass = batches.first().map_or(0, |extent| extent.pass);
        let frontiers = frontiers(extents, batches, pass, content.length());
        let (mut at, mut rows) = (0, 0);
        for extent in batches {
            let found = rows_of(extent.bytes)?;
            if found != extent.rows && !(extent.dead > 0 && header.may_hold(&content.range(extent.bytes)?, extent.rows))
            {
                account.miscounted += 1;
                account.fault(|| {
                    let (batch, [first, last]) = (&extent.batch, extent.lines);
                    format!("batch {batch}, lines {first} to {last}: counts {} rows, the file has {found}", extent.rows)
                });
            }
            // Read again after etcd had gone back: its rows were counted.
            if extent.bytes[1] > at {
                rows += if extent.bytes[0] >= at { found } else { rows_of([at, extent.bytes[1]])? };
            }
            if extent.bytes[0] > at {
                rows += outside(account, content, header, [at, extent.bytes[0]], &frontiers)?;
            }
            at = at.max(extent.bytes[1]);
        }
        rows += outside(account, content, header, [at, content.length()], &frontiers)?;
        account.rows = rows;
    }
    if extents.batches.is_empty() {
        account.rows = header.rows(&content.range([0, content.length()])?);
        account.unread = account.rows;
    }
    Ok(())
}

/// Rows in no batch: skipped where their stripe has read on behind them, unread otherwise. Returns how many.
fn outside(
    account: &mut FileAccount,
    content: &Content,
    header: &Header,
    range: [u64; 2],
    frontiers: &[(Stripe, u64)],
) -> anyhow::Result<u64> {
    let part = content.range(range)?;
    let rows = header.rows(&part);
    if rows == 0 {
        return Ok(0);
    }
    // By stripes row by row: a stretch may hold several blocks.
    let mut skipped = 0;
    for byte in header.starts(&part).map(|start| range[0] + start) {
        skipped += u64::from(frontiers.iter().any(|(stripe, read_to)| stripe.owns(byte) && byte < *read_to));
    }
    account.skipped += skipped;
    account.unread += rows - skipped;
    if skipped > 0 && account.dropped == 0 {
        account.fault(|| format!("bytes {} to {}: {skipped} rows are in no batch", range[0], range[1]));
    }
    Ok(rows)
}

/// How far each stripe has read in a pass; one that is in a later pass has read this one to its end. The stripes of a loop
/// need not be in the same.
fn frontiers(extents: &Extents, batches: &[Extent], pass: u64, length: u64) -> Vec<(Stripe, u64)> {
    let read_to = |lane: &str, cursor: &Cursor| {
        let cursor_pass = cursor.position["pass"].as_u64().unwrap_or(0);
        if cursor_pass > pass {
            return length;
        }
        let ours = batches.iter().filter(|extent| extent.batch.lane == lane);
        // Its batches may be lost; the cursor remembers.
        let stands = checkpoint(cursor).filter(|_| cursor_pass == pass);
        ours.map(|extent| extent.bytes[1]).chain(stands.map(|last| last.end)).max().unwrap_or(0)
    };
    extents.cursors.iter().map(|(lane, cursor)| (stripe_of(lane), read_to(lane, cursor))).collect()
}

/// The last row that a lane published.
fn checkpoint(cursor: &Cursor) -> Option<Checkpoint> {
    serde_json::from_value(cursor.position.get("last")?.clone()).ok()
}

/// Lane names end in `-{index}of{count}`.
fn stripe_of(lane: &str) -> Stripe {
    let division = lane.rsplit('-').next().and_then(|division| division.split_once("of"));
    let parsed = division.and_then(|(index, count)| Some((index.parse().ok()?, count.parse().ok()?)));
    parsed.map_or(Stripe::default(), |(index, count)| Stripe { index, count })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_stripe_that_lags_a_pass_behind_has_skipped_nothing() {
        let cursor = |pass: u64, end: u64| Cursor {
            v: 1,
            run: "r".into(),
            epoch: 1,
            n: 1,
            rows: 1,
            opened_rows: None,
            last_ms: 0,
            position: json!({"pass": pass, "last": {"byte": end - 1, "end": end, "next_line": 2, "crc": 0}}),
        };
        let cursors = vec![("f-0of2".to_owned(), cursor(5, 30)), ("f-1of2".to_owned(), cursor(4, 50))];
        let extents = Extents { cursors, batches: Vec::new(), dropped: 0 };
        let read_to = |pass| frontiers(&extents, &[], pass, 100).into_iter().map(|(_, to)| to).collect::<Vec<_>>();
        assert_eq!((read_to(3), read_to(4), read_to(5)), (vec![100, 100], vec![100, 50], vec![30, 0]));
    }
}
