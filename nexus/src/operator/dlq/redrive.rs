//! `nexus dlq redrive`.

use std::io::{Write, stdout};
use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use nexus_common::books::actions;
use nexus_common::books::redrive::{self, Eyes, Obstacle, Plan, Wish};
use nexus_common::books::returns::{self, Kind};
use nexus_common::config::Invalid;
use nexus_streamer::source::{Location, Source};
use serde_json::json;

use super::header::Header;
use super::{Desk, Which};
use crate::operator::actor::actor;
use crate::operator::done::{Done, say_going_on};
use crate::operator::sending::{self, Manner, Reading, failed};
use crate::operator::servers::Servers;
use crate::operator::words;

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

pub(super) async fn run(mut desk: Desk, servers: &Servers, options: &Options) -> anyhow::Result<()> {
    let header = options.header()?;
    let eyes = |row: &[u8]| header.as_ref().map_or_else(|| Err("no header".to_owned()), |header| header.read(row));
    let eyes = header.is_some().then_some(&eyes as Eyes<'_>);
    let (actor, mut sending) = (actor(), sending::begin(servers, &options.manner).await?);
    let mut done = Vec::new();
    for of in returns::unfinished(&desk.client, desk.cluster, Kind::Redrive).await? {
        say_going_on(&of);
        actions::resume(&desk.client, desk.cluster, &actor, &of).await?;
        let rows = redrive::send(&desk.client, &mut sending, &of, eyes).await.map_err(failed)?;
        done.push(Done { of, rows, resumed: true });
    }
    let wish = Wish { selection: options.which.selection(), again: options.again, header: eyes, most: usize::MAX };
    let resumed: Vec<i64> = done.iter().map(|done| done.of.id).collect();
    let plan = redrive::plan(&desk.client, desk.cluster, &wish, &resumed).await.map_err(failed)?;
    let by = (&actor, &wish.selection);
    if !plan.fits.is_empty()
        && let Some(of) = returns::begin_redrive(&mut desk.client, desk.cluster, &plan.fits, options.again, by).await?
    {
        let rows = redrive::send(&desk.client, &mut sending, &of, eyes).await.map_err(failed)?;
        done.push(Done { of, rows, resumed: false });
    }
    report(options, &plan, &done)?;
    match plan.undone() {
        0 => Ok(()),
        undone => bail!("{} left", words::letters(undone)),
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

/// What is the matter with letters that are left, and what to do about them.
pub(super) fn advice(obstacle: &Obstacle) -> String {
    let then = match obstacle {
        Obstacle::Redriven => "; --again sends them once more",
        Obstacle::NoHeader => "; --header-from FILE, or --header 'LINE', reads them once more",
        _ => "",
    };
    obstacle.words() + then
}

fn report(options: &Options, plan: &Plan, done: &[Done]) -> anyhow::Result<()> {
    let mut out = stdout().lock();
    if options.json {
        let returns = done.iter().map(Done::json);
        let left = plan.left.iter().map(|(obstacle, letters)| {
            json!({ "letters": letters, "settled": obstacle.is_settled(), "why": advice(obstacle) })
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
    for done in done {
        writeln!(out, "{}", done.line())?;
    }
    for (obstacle, letters) in &plan.left {
        writeln!(out, "left: {}: {}", words::letters(*letters), advice(obstacle))?;
    }
    Ok(())
}
