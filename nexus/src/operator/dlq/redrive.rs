//! `nexus dlq redrive`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Write, stdout};
use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use nexus_common::books::letters::{self, Payload};
use nexus_common::books::returns::{self, Kind, Return};
use nexus_common::config::Invalid;
use nexus_common::domain::Reject;
use nexus_common::queue::{Body, Lane};
use nexus_streamer::source::{Location, Source};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::pack::{Packed, Packer};
use super::understand::{Header, Obstacle, understand};
use super::{Desk, Which};
use crate::operator::sending::{Manner, Reading, Sending, Sent};
use crate::operator::servers::Servers;
use crate::operator::words;

/// Letters read at once: a message may have a mebibyte.
const PAGE: i64 = 64;

/// Send letters through the queue again, each once.
#[derive(Debug, Clone, Args)]
pub(super) struct Options {
    #[command(flatten)]
    which: Which,

    /// Those that were redriven before, too
    #[arg(long)]
    again: bool,

    /// The header under which rows that were not understood are read once more
    #[arg(long, value_name = "LINE", conflicts_with = "header_from")]
    header: Option<String>,

    /// The same, from a file that has it (gzip too)
    #[arg(long, value_name = "PATH")]
    header_from: Option<PathBuf>,

    #[command(flatten)]
    reading: Reading,

    #[command(flatten)]
    manner: Manner,

    /// Print one JSON document, for scripts
    #[arg(long)]
    json: bool,
}

/// How far a redrive got: kept in the cursor of its lane.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default)]
struct Position {
    /// When the return was noted, in microseconds since 1970: a PostgreSQL that was restored gives a number twice.
    begun_us: i64,
    /// The last letter that was published.
    letter: i64,
}

impl Position {
    /// Where a lane stands in this return; at its start where the cursor speaks of another one.
    fn of(lane: &Lane, of: &Return) -> anyhow::Result<Position> {
        let position: Position = serde_json::from_value(lane.cursor().position.clone())?;
        let begun_us = of.created_at.0;
        Ok(if position.begun_us == begun_us { position } else { Position { begun_us, letter: 0 } })
    }
}

/// What of the selected letters can be sent: each with its rows; and what cannot.
#[derive(Default)]
struct Plan {
    fits: Vec<(i64, i64)>,
    left: BTreeMap<Obstacle, i64>,
}

/// A return that was published.
struct Done {
    of: Return,
    rows: i64,
    resumed: bool,
}

pub(super) async fn run(mut desk: Desk, servers: &Servers, options: &Options) -> anyhow::Result<()> {
    let header = options.header()?;
    let mut sending = Sending::begin(servers, &options.manner).await?;
    let mut done = Vec::new();
    for of in returns::unfinished(&desk.client, desk.cluster, Kind::Redrive).await? {
        eprintln!(
            "nexus: redrive {} ({}, begun {}) is not finished: going on with it",
            of.id,
            words::rows(of.rows),
            words::clock(of.created_at)
        );
        let rows = send(&desk, &mut sending, &of, header.as_ref()).await?;
        done.push(Done { of, rows, resumed: true });
    }
    let plan = plan(&desk, options, header.as_ref(), &done).await?;
    if !plan.fits.is_empty()
        && let Some(of) = returns::begin_redrive(&mut desk.client, desk.cluster, &plan.fits, options.again).await?
    {
        let rows = send(&desk, &mut sending, &of, header.as_ref()).await?;
        done.push(Done { of, rows, resumed: false });
    }
    report(options, &plan, &done)?;
    let undone: i64 = plan.left.iter().filter(|(obstacle, _)| !obstacle.is_settled()).map(|(_, letters)| letters).sum();
    match undone {
        0 => Ok(()),
        _ => bail!("{} left", words::letters(undone)),
    }
}

impl Options {
    fn header(&self) -> anyhow::Result<Option<Header>> {
        let options = self.reading.options();
        let line = match (&self.header, &self.header_from) {
            (Some(line), _) => line.clone().into_bytes(),
            (None, Some(path)) => {
                let source = Source::open(&Location::File(path.clone()), &options);
                source.map_err(|error| Invalid(error.to_string()))?.header().to_owned()
            }
            (None, None) => return Ok(None),
        };
        Ok(Some(Header::new(&line, options).map_err(|error| Invalid(error.to_string()))?))
    }
}

impl Obstacle {
    /// Nothing more is to be done about these.
    fn is_settled(&self) -> bool {
        matches!(self, Obstacle::Redriven | Obstacle::Purged)
    }
}

/// Looks at every selected letter, page by page, and changes nothing. What was `resumed` just now is done, whatever the
/// options say.
async fn plan(desk: &Desk, options: &Options, header: Option<&Header>, resumed: &[Done]) -> anyhow::Result<Plan> {
    let (selection, mut plan, mut after) = (options.which.selection(), Plan::default(), i64::MIN);
    let mut unseen: BTreeSet<i64> = selection.ids.iter().flatten().copied().collect();
    loop {
        let page = letters::payloads(&desk.client, desk.cluster, &selection, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.letter.id;
        for payload in &page {
            unseen.remove(&payload.letter.id);
            if resumed.iter().any(|done| payload.letter.return_id == Some(done.of.id)) {
                continue;
            }
            match understand(payload, header, options.again) {
                Ok(body) => plan.fits.push((payload.letter.id, body.rows() as i64)),
                Err(obstacle) => *plan.left.entry(obstacle).or_default() += 1,
            }
        }
    }
    match unseen.first() {
        Some(id) => bail!("there is no dead letter {id} among those you mean; nothing of them was redriven"),
        None => Ok(plan),
    }
}

/// Publishes the letters of a return that are not published yet. Returns the rows it has published in all.
async fn send(desk: &Desk, sending: &mut Sending, of: &Return, header: Option<&Header>) -> anyhow::Result<i64> {
    loop {
        let mut lane = sending.open(of).await?;
        if publish_rest(desk, sending, &mut lane, of, header).await? == Sent::Again {
            continue;
        }
        let rows = i64::try_from(lane.cursor().rows).unwrap_or(i64::MAX);
        returns::finish(&desk.client, of, rows).await?;
        return Ok(rows);
    }
}

async fn publish_rest(
    desk: &Desk,
    sending: &mut Sending,
    lane: &mut Lane,
    of: &Return,
    header: Option<&Header>,
) -> anyhow::Result<Sent> {
    let position = Position::of(lane, of)?;
    let (mut after, mut packer) = (position.letter, Packer::new(sending.bounds));
    loop {
        let page = letters::of_return(&desk.client, of.id, after, PAGE).await?;
        let mut packed: Vec<Packed> = Vec::new();
        for payload in &page {
            after = payload.letter.id;
            let body = once_more(payload, header)?;
            packed.extend(packer.push(&payload.letter, payload.shift_us.unwrap_or(0), body));
        }
        if page.is_empty() {
            packed.extend(packer.flush());
        }
        for (draft, letter) in packed {
            let position = serde_json::to_value(Position { letter, ..position })?;
            if sending.publish(lane, draft, &position).await? == Sent::Again {
                return Ok(Sent::Again);
            }
            sending.tell(of, lane.cursor().rows);
        }
        if page.is_empty() {
            return Ok(Sent::Yes);
        }
    }
}

/// What is published of a letter that is in a return: nothing of it may be left out. A row that is not understood after
/// all, because the header is another one now, dies once more.
fn once_more(payload: &Payload, header: Option<&Header>) -> anyhow::Result<Body> {
    let letter = &payload.letter;
    match understand(payload, header, true) {
        Ok(body) => Ok(body),
        Err(Obstacle::NotUnderstood(reason)) => {
            let (line, byte) = (letter.line.unwrap_or(0).unsigned_abs(), letter.byte.unwrap_or(0).unsigned_abs());
            let raw_bytes = letter.raw_bytes.unsigned_abs();
            let sha256 = letter.sha256.clone().unwrap_or_default();
            Ok(Body::Dead { line, byte, reject: Reject { reason, raw: payload.raw.clone(), raw_bytes, sha256 } })
        }
        Err(Obstacle::NoHeader) => bail!(
            "redrive {} was begun with a header: the same command with --header or --header-from goes on",
            letter.return_id.unwrap_or_default()
        ),
        Err(obstacle) => bail!("letter {}: {}", letter.id, obstacle.words()),
    }
}

fn report(options: &Options, plan: &Plan, done: &[Done]) -> anyhow::Result<()> {
    let mut out = stdout().lock();
    if options.json {
        let returns = done.iter().map(
            |done| json!({ "id": done.of.id, "lane": done.of.lane(), "rows": done.rows, "resumed": done.resumed }),
        );
        let left = plan.left.iter().map(|(obstacle, letters)| {
            json!({ "letters": letters, "settled": obstacle.is_settled(), "why": obstacle.words() })
        });
        let document = json!({ "returns": returns.collect::<Vec<_>>(), "left": left.collect::<Vec<_>>() });
        writeln!(out, "{document}")?;
        return Ok(());
    }
    if done.is_empty() {
        let nothing = match plan.left.keys().all(Obstacle::is_settled) {
            true => "nothing to do: no dead letter is left among these",
            false => "nothing was redriven",
        };
        writeln!(out, "{nothing}")?;
    }
    for Done { of, rows, .. } in done {
        let lane = of.lane();
        writeln!(
            out,
            "redrive {}: {} in the queue again; nexus audit --lane {lane} tells what became of them",
            of.id,
            words::rows(*rows)
        )?;
    }
    for (obstacle, letters) in &plan.left {
        writeln!(out, "left: {}: {}", words::letters(*letters), obstacle.words())?;
    }
    Ok(())
}
