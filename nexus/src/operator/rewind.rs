//! `nexus rewind`: rows that were lost are read once more.
//!
//! A PostgreSQL that was restored to an earlier point lacks what was acknowledged since, and etcd has forgotten that too: a
//! hole in the lane, which the audit shows. Its rows are still in their source. So the lane's cursor is put back to the end of
//! the last batch before the hole, and whoever streams the source goes on from there, as after a restore of etcd. What lies
//! behind the hole is read again as well, and merges.

use std::io::{Write, stdout};
use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::Args;
use nexus_common::books::rewind::{self, Mark};
use nexus_common::books::{self, LaneAccount, LaneKind, Scope};
use nexus_common::queue::{Cursor, Lane};
use nexus_streamer::fingerprint_of;
use nexus_streamer::source::{self, Checkpoint, Location, Next, Source};
use serde::Serialize;
use serde_json::Value;

use super::actor::actor;
use super::desk::{self, Desk};
use super::sending::Reading;
use super::servers::Servers;
use super::words;

/// Puts the cursors of lanes that lost rows back in front of them, so that their streamers read those rows once more.
///
/// For a PostgreSQL that was restored to an earlier point: `nexus audit` shows what was acknowledged since as LOST. Rows that
/// are read twice merge. A streamer that is publishing goes on from there by itself; start (or restart) the others.
#[derive(Debug, Clone, Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  nexus rewind --all --dry-run            what would be read once more
  nexus rewind --all
  nexus rewind --lane 0123456789abcdef    only this lane, or all whose names begin so
  nexus rewind --all --dir /archive       look for the files in this folder"
)]
pub(crate) struct Options {
    #[command(flatten)]
    which: Which,

    /// Look for the files in this folder, under their names
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,

    #[command(flatten)]
    reading: Reading,

    /// Change nothing
    #[arg(long)]
    dry_run: bool,

    /// Print one JSON document, for scripts
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    servers: Servers,
}

/// Which lanes.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// All that lost rows
    #[arg(long)]
    all: bool,

    /// This lane, or all whose names begin so
    #[arg(long)]
    lane: Option<String>,
}

/// What became of the lanes that lost rows.
#[derive(Debug, Default, Serialize)]
struct Outcome {
    rewound: Vec<Rewound>,
    left: Vec<Left>,
}

/// A lane that is put back.
#[derive(Debug, Serialize)]
struct Rewound {
    lane: String,
    file: String,
    /// Rows that nobody can account for.
    lost: i64,
    /// The row its cursor stands at now.
    row: u64,
    /// The line behind which its source is read on.
    after_line: u64,
    /// Rows that are read once more, lost or not.
    read_again: u64,
}

/// A lane that cannot be put back.
#[derive(Debug, Serialize)]
struct Left {
    lane: String,
    file: String,
    lost: i64,
    why: String,
}

/// Where a lane goes back to.
struct Place {
    mark: Option<Mark>,
    /// The last row before it; `None`: the beginning.
    last: Option<Checkpoint>,
    cursor: Cursor,
}

/// Puts the cursors back; an error where a lane that lost rows has to be left as it is.
///
/// # Errors
/// That, and where a server does not answer.
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let desk = Desk::open(&options.servers).await?;
    let outcome = put_back(&desk, options).await.map_err(desk::explain)?;
    let mut out = stdout().lock();
    words::piped(|| match options.json {
        true => words::json(&mut out, &outcome),
        false => people(&mut out, &outcome, options.dry_run),
    })?;
    match outcome.left.iter().map(|left| left.lost).sum() {
        0 => Ok(()),
        rows => bail!("{} left", words::rows(rows)),
    }
}

async fn put_back(desk: &Desk, options: &Options) -> anyhow::Result<Outcome> {
    let servers = &options.servers;
    let (client, keys) = servers.queue().await?;
    let scope = options.which.lane.clone().map_or(Scope::All, Scope::Beginning);
    let audit = books::audit(&client, &keys, &servers.memory()?, &scope).await?;
    let mut outcome = Outcome::default();
    for account in audit.lanes.iter().filter(|account| !account.holes.is_empty()) {
        let LaneAccount { lane, file, figures, .. } = account;
        let (lane, file, lost) = (lane.clone(), file.clone(), figures.residue);
        let cursor = Lane::look(&client, &keys, &lane).await?;
        let place = match place(desk, options, account, cursor).await? {
            Ok(place) => place,
            Err(why) => {
                outcome.left.push(Left { lane, file, lost, why });
                continue;
            }
        };
        let row = place.mark.map_or(0, |mark| mark.rows);
        let read_again = place.cursor.rows.saturating_sub(row);
        if !options.dry_run && read_again > 0 {
            rewind::note(&desk.client, desk.cluster, &actor(), &lane, row, read_again).await?;
            Lane::rewind(&client, &keys, &lane, row, |position| behind(position, place.last)).await?;
        }
        let after_line = place.mark.map_or(1, |mark| mark.lines[1]);
        outcome.rewound.push(Rewound { lane, file, lost, row, after_line, read_again });
    }
    Ok(outcome)
}

/// Where the lane goes back to, or why it cannot.
async fn place(
    desk: &Desk,
    options: &Options,
    account: &LaneAccount,
    cursor: Option<Cursor>,
) -> anyhow::Result<Result<Place, String>> {
    let Some(cursor) = cursor else {
        return Ok(Err("etcd has no cursor of it: start its streamer, which begins again by itself".to_owned()));
    };
    if let Some(why) = beyond_reach(account, &cursor.position) {
        return Ok(Err(why));
    }
    let first = account.holes.iter().map(|hole| hole.rows[0]).min().unwrap_or(0);
    let mark = rewind::mark(&desk.client, desk.cluster, &account.lane, first).await?;
    let file = Path::new(&account.file);
    let path = options.dir.as_ref().map_or(file.to_owned(), |dir| dir.join(file.file_name().unwrap_or_default()));
    let found =
        tokio::task::block_in_place(|| last_row(&path, &options.reading.options(), &account.lane, &cursor, mark));
    Ok(found.map(|last| Place { mark, last, cursor }))
}

/// Why rows of this lane cannot be read once more.
fn beyond_reach(account: &LaneAccount, position: &Value) -> Option<String> {
    match account.kind {
        LaneKind::Redrive => {
            return Some("these were dead letters: nexus dlq redrive --again sends them once more".to_owned());
        }
        LaneKind::Republish => {
            return Some("these had expired: nexus expired republish reads them once more".to_owned());
        }
        LaneKind::Source => {}
    }
    if fingerprint_of(&account.lane).is_none() {
        return Some("a stream cannot be read again; put its rows into a file, and stream that".to_owned());
    }
    let looped = !position["shift_us"].is_null() || position["pass"].as_u64().unwrap_or(0) > 0;
    looped.then(|| "it was read in a loop (LOOP_MODE): a later pass has other times".to_owned())
}

/// The row that a mark lies behind, as the file has it: it must be the file that the lane was read from, as far as it was read.
fn last_row(
    path: &Path,
    options: &source::Options,
    lane: &str,
    cursor: &Cursor,
    mark: Option<Mark>,
) -> Result<Option<Checkpoint>, String> {
    let name = path.display();
    let mut source = Source::open(&Location::File(path.to_owned()), options).map_err(|error| error.to_string())?;
    if source.fingerprint() != fingerprint_of(lane) {
        return Err(format!(
            "{name} is another file now (its header or first row differ): --dir says where the old one is"
        ));
    }
    let stands: Option<Checkpoint> = serde_json::from_value(cursor.position["last"].clone()).ok();
    if let Some(stands) = stands
        && !source.resume(&stands).map_err(|error| error.to_string())?
    {
        return Err(format!("{name} has changed since: the last row that was published is not where it was"));
    }
    let Some(Mark { lines, bytes, .. }) = mark else { return Ok(None) };
    let changed = || format!("{name} has changed since: no row ends at byte {}", bytes[1]);
    if !source.start_at(bytes[0], lines[0]).map_err(|error| error.to_string())? {
        return Err(changed());
    }
    // Blank lines before the first row lie behind `bytes[0]`, and `lines[0]` has counted them already.
    let mut blank = None;
    loop {
        let Next::Row(row) = source.next().map_err(|error| error.to_string())? else { return Err(changed()) };
        let blank = *blank.get_or_insert(row.line.saturating_sub(lines[0]));
        if row.end >= bytes[1] {
            let mut last = Checkpoint::from(&row);
            last.next_line = last.next_line.saturating_sub(blank);
            return if row.end == bytes[1] { Ok(Some(last)) } else { Err(changed()) };
        }
    }
}

/// A position in the source as its streamer wrote it, put back behind this row.
fn behind(position: &Value, last: Option<Checkpoint>) -> Value {
    let mut position = position.clone();
    if let Some(fields) = position.as_object_mut() {
        match last.and_then(|last| serde_json::to_value(last).ok()) {
            Some(last) => fields.insert("last".to_owned(), last),
            None => fields.remove("last"),
        };
    }
    position
}

fn people(out: &mut impl Write, outcome: &Outcome, dry_run: bool) -> std::io::Result<()> {
    if outcome.rewound.is_empty() && outcome.left.is_empty() {
        return writeln!(out, "no rows are lost");
    }
    for Rewound { lane, file, lost, row, after_line, read_again } in &outcome.rewound {
        let (lost, again) = (words::rows(*lost), words::counted(*read_again, "row"));
        let (is, are) = if dry_run { ("would be", "would be") } else { ("is", "are") };
        match read_again {
            0 => writeln!(out, "{lane}: {lost} of {file} lost: its cursor was put back before; start its streamer")?,
            _ => writeln!(
                out,
                "{lane}: {lost} of {file} lost: its cursor {is} put back to row {row}; {again} behind line {after_line} {are} read once more"
            )?,
        }
    }
    for Left { lane, file, lost, why } in &outcome.left {
        writeln!(out, "left: {lane}: {} of {file}: {why}", words::rows(*lost))?;
    }
    if outcome.rewound.is_empty() || dry_run {
        return Ok(());
    }
    writeln!(out, "a streamer that is publishing goes on from there by itself; start the others. Then: nexus audit")
}
