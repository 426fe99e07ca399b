//! Every value of a file against what is stored of it.

use std::collections::HashMap;

use deadpool_postgres::Pool;
use nexus_common::books::{DeadLines, Extent, Extents, Registered, StoredSample, dead_lines, samples};
use nexus_common::domain::{Content as Said, Record, Timestamp};
use nexus_common::queue::Keys;
use nexus_streamer::source::{self, Next, Source};
use serde::Serialize;

use super::content::Content;
use super::file::FileAccount;
use super::recount::Header;

/// What comparing gave, in rows and values.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Comparison {
    /// Rows whose values are all stored as the file has them.
    pub(super) rows: u64,
    /// Values of these rows.
    pub(super) values: u64,
    /// Rows that are stored otherwise, or not at all.
    pub(super) differ: u64,
    /// Rows whose value gave way to a later one for the same GPU, time and metric; PostgreSQL counted a conflict.
    pub(super) overruled: u64,
    /// Rows that cannot be compared: they wait, are dead, or expired.
    pub(super) not_stored: u64,
}

/// A row of the file that should be stored.
struct Expected {
    line: u64,
    record: Record,
}

/// Compares batch by batch.
///
/// # Errors
/// Where the file or PostgreSQL cannot be read.
pub(super) async fn compare(
    account: &mut FileAccount,
    memory: &Pool,
    keys: &Keys,
    content: &Content,
    header: &Header,
    extents: &Extents,
    options: &source::Options,
) -> anyhow::Result<Comparison> {
    let registered = Registered::read(memory, keys.cluster_id()).await?;
    let header = content.range([0, header.end()])?;
    let mut comparison = Comparison::default();
    for extent in &extents.batches {
        if !extent.stored {
            comparison.not_stored += extent.rows;
            continue;
        }
        let dead = match extent.dead {
            0 => DeadLines::default(),
            _ => dead_lines(memory, keys.cluster_id(), &extent.batch).await?,
        };
        let expected = rows_of(content, &header, extent, options)?;
        let places = expected.iter().filter_map(|row| place(&registered, &row.record));
        let mut places: Vec<_> = places.collect();
        places.sort_unstable();
        places.dedup();
        let stored = samples(memory, &places).await?;
        judge(account, &mut comparison, extent, &dead, &expected, |record| stored.get(&place(&registered, record)?));
    }
    Ok(comparison)
}

fn place(registered: &Registered, record: &Record) -> Option<(i32, Timestamp)> {
    Some((registered.id(&record.described.gpu)?, record.timestamp))
}

/// The rows of a batch as the streamer's reader understands them.
fn rows_of(
    content: &Content,
    header: &[u8],
    extent: &Extent,
    options: &source::Options,
) -> anyhow::Result<Vec<Expected>> {
    let part = [header, &content.range(extent.bytes)?].concat();
    let mut source = Source::from_reader(extent.batch.to_string(), std::io::Cursor::new(part), options)?;
    let (mut expected, mut first_line) = (Vec::new(), None);
    while let Next::Row(row) = source.next()? {
        let first_line = *first_line.get_or_insert(row.line);
        if let Said::Record(mut record) = row.content {
            record.timestamp = record.timestamp.shifted(extent.shift_us);
            let line = row.line - first_line + extent.lines[0];
            expected.push(Expected { line, record });
        }
    }
    Ok(expected)
}

/// Judges the rows of one batch.
fn judge<'a>(
    account: &mut FileAccount,
    comparison: &mut Comparison,
    extent: &Extent,
    dead: &DeadLines,
    expected: &[Expected],
    stored: impl Fn(&Record) -> Option<&'a StoredSample>,
) {
    // Rows of one GPU and time may give one metric several values: any of them may stand.
    let mut said: HashMap<_, Vec<f64>> = HashMap::new();
    for Expected { record, .. } in expected {
        for (metric, value) in &record.values {
            let key = (&record.described.gpu, record.timestamp, metric.name());
            said.entry(key).or_default().extend(value);
        }
    }
    // Rows that are not stored by the ledger's own word, wherever in the batch they lie.
    let expired = if extent.brought_back { 0 } else { extent.expired };
    let mut excused = expired + dead.elsewhere;
    let rejected = extent.rows.saturating_sub(expected.len() as u64);
    comparison.not_stored += rejected;
    for Expected { line, record } in expected {
        if dead.lines.contains(line) {
            comparison.not_stored += 1;
            continue;
        }
        let sample = stored(record);
        let mut overruled = false;
        let wrong = record.values.iter().find_map(|(metric, value)| {
            let value = (*value)?;
            let found = sample.and_then(|sample| sample.values.get(metric.name()).copied());
            let also_said = &said[&(&record.described.gpu, record.timestamp, metric.name())];
            match found {
                Some(found) if found == value => None,
                Some(found) if also_said.contains(&found) || sample.is_some_and(|sample| sample.conflicts > 0) => {
                    overruled = true;
                    None
                }
                found => Some((metric.name(), value, found)),
            }
        });
        match wrong {
            None if overruled => comparison.overruled += 1,
            None => {
                comparison.rows += 1;
                comparison.values += record.values.iter().filter(|(_, value)| value.is_some()).count() as u64;
            }
            Some(_) if excused > 0 => {
                excused -= 1;
                comparison.not_stored += 1;
            }
            Some((metric, value, found)) => {
                comparison.differ += 1;
                account.fault(|| {
                    let found = found.map_or_else(|| "nothing".to_owned(), |found| found.to_string());
                    let (host, gpu) = (&record.described.gpu.host, &record.described.gpu.gpu);
                    format!(
                        "line {line}: {host} GPU {gpu} at {}: {metric} is {value}, stored is {found}",
                        record.timestamp
                    )
                });
            }
        }
    }
}
