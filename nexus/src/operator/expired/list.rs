//! `nexus expired list`.

use std::io::{Write, stdout};
use std::time::Duration;

use clap::Args;
use nexus_common::books::expired::{self, Batch};
use nexus_common::queue::Manifest;
use serde_json::{Value, json};

use super::{Desk, is_of};
use crate::operator::servers::Servers;
use crate::operator::table::{self, Align};
use crate::operator::words;

/// Manifests that are looked at for rows that expired and are not recorded yet.
const MANIFESTS: usize = 200_000;
/// How long etcd may take to tell of them.
const ETCD_PATIENCE: Duration = Duration::from_secs(5);

/// Which lines of which file expired.
#[derive(Debug, Clone, Args)]
pub(super) struct Options {
    /// Only those of this file: its path, or the end of it
    #[arg(long, value_name = "FILE")]
    file: Option<String>,

    /// Print one JSON document, for scripts: every batch by itself
    #[arg(long)]
    json: bool,
}

/// Batches that follow on from each other, for people.
struct Stretch<'a> {
    first: &'a Batch,
    last: &'a Batch,
    rows: i64,
    expired: i64,
}

pub(super) async fn run(desk: &Desk, servers: &Servers, options: &Options) -> anyhow::Result<()> {
    let mut batches = expired::list(&desk.client, desk.cluster).await?;
    batches.retain(|batch| options.file.as_ref().is_none_or(|file| is_of(batch, file)));
    let dropped = expired::dropped(&desk.client, desk.cluster).await?;
    let unrecorded = tokio::time::timeout(ETCD_PATIENCE, unrecorded(servers)).await;
    let unrecorded = unrecorded.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer")));
    let mut out = stdout().lock();
    let written = match options.json {
        true => writeln!(
            out,
            "{}",
            json!({
                "batches": batches.iter().map(fields).collect::<Vec<_>>(),
                "rows_dropped_by_retention": dropped,
                "unrecorded_messages": unrecorded.as_ref().ok().copied().flatten(),
            })
        ),
        false => people(&mut out, &batches, dropped, &unrecorded),
    };
    match written {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// Messages that expired while their batch still waits: no collector came to record them. `None` where there are too
/// many batches to tell.
async fn unrecorded(servers: &Servers) -> anyhow::Result<Option<u64>> {
    let (client, keys) = servers.queue().await?;
    let manifests = client.list(&keys.manifests(), MANIFESTS).await?;
    if manifests.kvs.len() >= MANIFESTS {
        return Ok(None);
    }
    let there = client.count_at(&keys.messages(), manifests.revision).await?;
    let promised: usize = manifests.kvs.iter().filter_map(|kv| Manifest::decode(kv.value())).map(|m| m.messages).sum();
    Ok(Some((promised as u64).saturating_sub(there.unsigned_abs())))
}

fn people(
    out: &mut impl Write,
    batches: &[Batch],
    dropped: i64,
    unrecorded: &anyhow::Result<Option<u64>>,
) -> std::io::Result<()> {
    let heading = [
        ("PUBLISHED (UTC)", Align::Left),
        ("LINES", Align::Left),
        ("EXPIRED", Align::Right),
        ("OF ROWS", Align::Right),
        ("STATE", Align::Left),
        ("FILE", Align::Left),
    ];
    let stretches = stretches(batches);
    let rows: Vec<_> = stretches
        .iter()
        .map(|stretch| {
            let Stretch { first, last, rows, expired } = stretch;
            let pass = if first.pass > 0 { format!(" (pass {})", first.pass) } else { String::new() };
            [
                words::clock(first.published_at),
                format!("{}–{}", first.lines[0], last.lines[1]),
                table::count(expired.unsigned_abs()),
                table::count(rows.unsigned_abs()),
                state(first),
                format!("{}{pass}", words::cut(&first.file, usize::MAX)),
            ]
        })
        .collect();
    match rows.is_empty() {
        true => writeln!(out, "no expired rows are recorded")?,
        false => table::write(out, heading, &rows)?,
    }
    let left: i64 = stretches.iter().filter(|s| s.first.returned.is_none()).map(|s| s.expired).sum();
    if left > 0 {
        writeln!(out, "\n{} to bring back: nexus expired republish --all (or --file PATH)", words::rows(left))?;
    } else if !rows.is_empty() {
        writeln!(out, "\nnothing waits for you: all were published again")?;
    }
    if dropped > 0 {
        writeln!(out, "{} more expired in days that retention has dropped; which, is not known", words::rows(dropped))?;
    }
    match unrecorded {
        Ok(Some(0) | None) => Ok(()),
        Ok(Some(messages)) => writeln!(
            out,
            "{} expired in batches that still wait in the queue: a collector records them, with their lines, when it runs",
            words::counted(*messages, "message")
        ),
        Err(error) => writeln!(out, "what expired and is not recorded yet is not known: {error:#}"),
    }
}

/// Neighbours of one fate are one line.
fn stretches(batches: &[Batch]) -> Vec<Stretch<'_>> {
    let mut stretches: Vec<Stretch<'_>> = Vec::new();
    for batch in batches {
        match stretches.last_mut() {
            Some(open) if follows(open.last, batch) => {
                open.last = batch;
                open.rows += i64::from(batch.rows);
                open.expired += i64::from(batch.expired);
            }
            _ => {
                let (rows, expired) = (i64::from(batch.rows), i64::from(batch.expired));
                stretches.push(Stretch { first: batch, last: batch, rows, expired });
            }
        }
    }
    stretches
}

fn follows(before: &Batch, batch: &Batch) -> bool {
    before.lane == batch.lane
        && before.file == batch.file
        && before.pass == batch.pass
        && before.bytes[1] == batch.bytes[0]
        && before.returned == batch.returned
        && (before.expired == before.rows) == (batch.expired == batch.rows)
}

fn state(batch: &Batch) -> String {
    match batch.returned {
        None => "expired".to_owned(),
        Some((id, false)) => format!("republishing ({id})"),
        Some((id, true)) => format!("republished ({id})"),
    }
}

fn fields(batch: &Batch) -> Value {
    let state = match batch.returned {
        None => "expired",
        Some((_, false)) => "republishing",
        Some((_, true)) => "republished",
    };
    json!({
        "lane": batch.lane, "run": batch.run, "n": batch.n, "file": batch.file, "pass": batch.pass,
        "first_line": batch.lines[0], "last_line": batch.lines[1], "first_byte": batch.bytes[0],
        "end_byte": batch.bytes[1], "rows": batch.rows, "expired": batch.expired, "shift_us": batch.shift_us,
        "published_at": batch.published_at.to_string(), "state": state,
        "republish": batch.returned.map(|(id, _)| id),
    })
}
