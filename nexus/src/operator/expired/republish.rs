//! `nexus expired republish`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Write, stdout};
use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use nexus_common::books::actions;
use nexus_common::books::expired::{self, Batch};
use nexus_common::books::returns::{self, Kind, Return};
use nexus_common::config::Invalid;
use nexus_common::queue::{Cutter, Draft, Lane};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::shelf::{Place, Shelf};
use super::{Desk, is_of};
use crate::operator::actor::actor;
use crate::operator::done::{Done, say_going_on};
use crate::operator::sending::{self, Manner, Reading, Sending, Sent, failed};
use crate::operator::servers::Servers;
use crate::operator::words;

/// Read expired rows from their files again, and publish them, each once.
#[derive(Debug, Clone, Args)]
pub(super) struct Options {
    #[command(flatten)]
    which: Which,

    /// Look for the files in this folder, under their names
    #[arg(long, value_name = "FOLDER", conflicts_with = "file")]
    dir: Option<PathBuf>,

    #[command(flatten)]
    reading: Reading,

    #[command(flatten)]
    manner: Manner,

    /// Print one JSON document, for scripts
    #[arg(long)]
    json: bool,
}

/// Which batches.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = true)]
struct Which {
    /// All that expired
    #[arg(long, conflicts_with_all = ["file", "lane"])]
    all: bool,

    /// Those of this file, read from it: known by its content, whatever it was called
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,

    /// Those of this lane
    #[arg(long)]
    lane: Option<String>,
}

/// How far a republish got: kept in the cursor of its lane.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Position {
    /// When the return was noted, in microseconds since 1970: a PostgreSQL that was restored gives a number twice.
    begun_us: i64,
    lane: String,
    rows_before: i64,
    run: String,
    n: i64,
    /// Behind the last row of this batch that was published.
    end: u64,
}

/// What cannot be published.
#[derive(Default)]
struct Problems {
    /// By file and reason: batches and rows.
    by_reason: BTreeMap<(String, String), (i64, i64)>,
    /// A batch that a return gave back is chosen once more by the same command.
    noted: BTreeSet<(String, String, i64)>,
}

impl Problems {
    fn note(&mut self, batch: &Batch, reason: String) {
        if self.noted.insert((batch.lane.clone(), batch.run.clone(), batch.n)) {
            let (batches, rows) = self.by_reason.entry((batch.file.clone(), reason)).or_default();
            *batches += 1;
            *rows += i64::from(batch.expired);
        }
    }
}

pub(super) async fn run(mut desk: Desk, servers: &Servers, options: &Options) -> anyhow::Result<()> {
    let mut shelf = Shelf::new(options.place(), options.reading.options());
    let (actor, mut sending) = (actor(), sending::begin(servers, &options.manner).await?);
    let (mut done, mut problems) = (Vec::new(), Problems::default());
    for of in returns::unfinished(&desk.client, desk.cluster, Kind::Republish).await? {
        say_going_on(&of);
        actions::resume(&desk.client, desk.cluster, &actor, &of).await?;
        let rows = send(&desk, &mut sending, &mut shelf, &of, &mut problems).await?;
        done.push(Done { of, rows, resumed: true });
    }
    let chosen = choose(&desk, options, &sending, &mut shelf, &mut problems).await?;
    if !chosen.is_empty()
        && let Some(of) = returns::begin_republish(&mut desk.client, desk.cluster, &chosen, &actor).await?
    {
        let beside: i64 = chosen.iter().map(|batch| i64::from(batch.rows - batch.expired)).sum();
        if beside > 0 {
            eprintln!(
                "nexus: batches are published whole: {} of them had not expired, and merge into what is stored",
                words::rows(beside)
            );
        }
        let rows = send(&desk, &mut sending, &mut shelf, &of, &mut problems).await?;
        done.push(Done { of, rows, resumed: false });
    }
    report(options, &problems, &done)?;
    match problems.by_reason.values().map(|(_, rows)| rows).sum() {
        0 => Ok(()),
        rows => bail!("{} left", words::rows(rows)),
    }
}

impl Options {
    fn place(&self) -> Place {
        match (&self.which.file, &self.dir) {
            (Some(path), _) => Place::File(path.clone()),
            (None, Some(folder)) => Place::Folder(folder.clone()),
            (None, None) => Place::AsBefore,
        }
    }
}

/// The batches that are meant, expired still, and whose source is at hand. Nothing is changed yet.
async fn choose(
    desk: &Desk,
    options: &Options,
    sending: &Sending,
    shelf: &mut Shelf,
    problems: &mut Problems,
) -> anyhow::Result<Vec<Batch>> {
    let mut batches = expired::list(&desk.client, desk.cluster).await?;
    let Which { file, lane, .. } = &options.which;
    if let Some(lane) = lane {
        batches.retain(|batch| batch.lane == *lane || batch.origin == *lane);
        if batches.is_empty() {
            bail!("no rows of lane {lane} expired");
        }
    } else if let Some(path) = file {
        let known = shelf.fingerprint(path).map_err(Invalid)?;
        let name = path.to_string_lossy();
        let same = |batch: &Batch| known.as_deref() == nexus_streamer::fingerprint_of(&batch.origin);
        batches.retain(|batch| is_of(batch, &name) || known.is_some() && same(batch));
    }
    let mut chosen = Vec::new();
    batches.retain(|batch| batch.returned.is_none());
    learn(shelf, sending, &batches).await?;
    for batch in batches {
        match shelf.check(&batch) {
            Ok(()) => chosen.push(batch),
            Err(reason) => problems.note(&batch, reason),
        }
    }
    Ok(chosen)
}

/// Tells the shelf what the cursors of these batches' lanes know of their sources.
async fn learn(shelf: &mut Shelf, sending: &Sending, batches: &[Batch]) -> anyhow::Result<()> {
    let lanes: BTreeSet<_> = batches.iter().map(|batch| batch.origin.as_str()).collect();
    for lane in lanes {
        let position = sending.position(lane).await.map_err(failed)?;
        if let Some(Ok(last)) = position.map(|mut position| serde_json::from_value(position["last"].take())) {
            shelf.mark(lane, last);
        }
    }
    Ok(())
}

/// Publishes what of a return is not published yet. Returns the rows it has published in all.
async fn send(
    desk: &Desk,
    sending: &mut Sending,
    shelf: &mut Shelf,
    of: &Return,
    problems: &mut Problems,
) -> anyhow::Result<i64> {
    let batches = expired::of_return(&desk.client, desk.cluster, of.id).await?;
    learn(shelf, sending, &batches).await?;
    let mut left = Vec::new();
    loop {
        let mut lane = sending.open(of).await.map_err(failed)?;
        left.clear();
        if publish_rest(sending, &mut lane, shelf, of, &batches, &mut left).await? == Sent::Again {
            continue;
        }
        // Those expired still, and can be chosen again once their source is back.
        for (batch, reason) in left {
            returns::give_back(&desk.client, desk.cluster, of, batch).await?;
            problems.note(batch, reason);
        }
        let rows = i64::try_from(lane.cursor().rows).unwrap_or(i64::MAX);
        returns::finish(&desk.client, of, rows).await?;
        return Ok(rows);
    }
}

async fn publish_rest<'a>(
    sending: &mut Sending,
    lane: &mut Lane,
    shelf: &mut Shelf,
    of: &Return,
    batches: &'a [Batch],
    left: &mut Vec<(&'a Batch, String)>,
) -> anyhow::Result<Sent> {
    let position: Position = serde_json::from_value(lane.cursor().position.clone())?;
    let begun_us = of.created_at.0;
    let position = if position.begun_us == begun_us { position } else { Position::default() };
    for batch in batches {
        let Some(from) = position.rest_of(batch) else { continue };
        let rows = match shelf.rows(batch) {
            Ok(rows) => rows,
            Err(reason) => {
                left.push((batch, reason));
                continue;
            }
        };
        let mut cutter = Cutter::new(sending.bounds, &batch.file, batch.pass.unsigned_abs());
        let mut drafts: Vec<Draft> =
            rows.into_iter().filter(|row| row.byte >= from).filter_map(|row| cutter.push(row)).collect();
        drafts.extend(cutter.flush());
        for mut draft in drafts {
            draft.source.shift_us = batch.shift_us;
            let position = Position { begun_us, ..Position::behind(batch, draft.source.bytes[1]) };
            let sent = sending.publish(lane, draft, &serde_json::to_value(position)?).await.map_err(failed)?;
            if sent == Sent::Again {
                return Ok(Sent::Again);
            }
            sending.tell(of, lane.cursor().rows);
        }
    }
    Ok(Sent::Yes)
}

impl Position {
    fn behind(batch: &Batch, end: u64) -> Self {
        let Batch { lane, rows_before, run, n, .. } = batch;
        Position { lane: lane.clone(), rows_before: *rows_before, run: run.clone(), n: *n, end, begun_us: 0 }
    }

    /// From which byte on a batch is still to be published; `None` when it was, whole.
    fn rest_of(&self, batch: &Batch) -> Option<u64> {
        let here = (self.lane.as_str(), self.rows_before, self.run.as_str(), self.n);
        match batch.order().cmp(&here) {
            std::cmp::Ordering::Less => None,
            std::cmp::Ordering::Equal => (self.end < batch.bytes[1].unsigned_abs()).then_some(self.end),
            std::cmp::Ordering::Greater => Some(0),
        }
    }
}

fn report(options: &Options, problems: &Problems, done: &[Done]) -> anyhow::Result<()> {
    let mut out = stdout().lock();
    if options.json {
        let returns = done.iter().map(Done::json);
        let left = problems.by_reason.iter().map(
            |((file, why), (batches, rows))| json!({ "file": file, "batches": batches, "expired": rows, "why": why }),
        );
        let document = json!({ "returns": returns.collect::<Vec<_>>(), "left": left.collect::<Vec<_>>() });
        writeln!(out, "{document}")?;
        return Ok(());
    }
    if done.is_empty() {
        let nothing = match problems.by_reason.is_empty() {
            true => "nothing to do: no expired row is left among these",
            false => "nothing was published",
        };
        writeln!(out, "{nothing}")?;
    }
    for done in done {
        writeln!(out, "{}", done.line())?;
    }
    for ((file, reason), (batches, rows)) in &problems.by_reason {
        let batches = words::counted(batches.unsigned_abs(), "batch");
        writeln!(out, "left: {} expired ({batches}) of {file}: {reason}", words::rows(*rows))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nexus_common::domain::Timestamp;

    fn batch(lane: &str, rows_before: i64) -> Batch {
        Batch {
            lane: lane.into(),
            run: "r".into(),
            n: 1,
            rows_before,
            published_at: Timestamp(0),
            rows: 10,
            expired: 10,
            file: "a".into(),
            pass: 0,
            lines: [2, 11],
            bytes: [100, 200],
            shift_us: 0,
            origin: lane.into(),
            returned: None,
        }
    }

    #[test]
    fn a_position_leaves_what_lies_behind_it() {
        let nowhere = Position::default();
        assert_eq!(nowhere.rest_of(&batch("a", 0)), Some(0));
        let inside = Position::behind(&batch("b", 10), 150);
        assert_eq!(inside.rest_of(&batch("a", 90)), None);
        assert_eq!(inside.rest_of(&batch("b", 0)), None);
        assert_eq!(inside.rest_of(&batch("b", 10)), Some(150));
        assert_eq!(inside.rest_of(&batch("b", 20)), Some(0));
        assert_eq!(inside.rest_of(&batch("c", 0)), Some(0));
        assert_eq!(Position::behind(&batch("b", 10), 200).rest_of(&batch("b", 10)), None);
    }
}
