//! `nexus dlq list`.

use std::io::{Write, stdout};

use clap::{Args, ValueEnum};
use nexus_common::books::letters::{self, Group, Letter, Selection};
use nexus_common::domain::Timestamp;
use serde_json::{Value, json};

use super::Desk;
use crate::operator::table::{self, Align};
use crate::operator::words::{self, moment};

/// What is dead, by reason, and the newest letters.
#[derive(Debug, Clone, Args)]
pub(super) struct Options {
    /// Only those whose reason holds this text
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,

    /// Only those of this file: its path, or the end of it
    #[arg(long, value_name = "FILE")]
    file: Option<String>,

    /// Only those written since: 2h (ago), 2026-01-31 or 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Timestamp>,

    /// Only those in this state
    #[arg(long, value_enum)]
    state: Option<State>,

    /// How many letters are listed; the figures by reason are always of all
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    limit: u32,

    /// Print one JSON document, for scripts
    #[arg(long)]
    json: bool,
}

/// What became of a letter.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum State {
    /// Nothing yet
    Dead,
    /// A redrive that is not finished has it
    Redriving,
    /// Sent through the queue again
    Redriven,
    /// Its payload was given up
    Purged,
}

pub(super) async fn run(desk: &Desk, options: &Options) -> anyhow::Result<()> {
    let selection = Selection {
        reason: options.reason.clone(),
        file: options.file.clone(),
        since: options.since,
        state: options.state.map(State::of_the_books),
        ..Selection::default()
    };
    let groups = letters::groups(&desk.client, desk.cluster, &selection).await?;
    let newest = letters::newest(&desk.client, desk.cluster, &selection, None, i64::from(options.limit)).await?;
    let mut out = stdout().lock();
    let written = match options.json {
        true => writeln!(out, "{}", document(&groups, &newest)),
        false => people(&mut out, &groups, &newest),
    };
    match written {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

impl State {
    fn of_the_books(self) -> letters::State {
        match self {
            State::Dead => letters::State::Dead,
            State::Redriving => letters::State::Redriving,
            State::Redriven => letters::State::Redriven,
            State::Purged => letters::State::Purged,
        }
    }
}

fn people(out: &mut impl Write, groups: &[Group], newest: &[Letter]) -> std::io::Result<()> {
    const KINDS: usize = 20;
    if groups.is_empty() {
        return writeln!(out, "no dead letters");
    }
    let kinds: Vec<_> = groups
        .iter()
        .take(KINDS)
        .map(|group| {
            let count = |value: i64| table::count(value.unsigned_abs());
            let reason = words::cut(&group.reason, 110);
            [count(group.dead), count(group.letters), count(group.rows), words::clock(group.newest), reason]
        })
        .collect();
    let heading = [
        ("DEAD", Align::Right),
        ("LETTERS", Align::Right),
        ("ROWS", Align::Right),
        ("NEWEST (UTC)", Align::Left),
        ("REASON", Align::Left),
    ];
    table::write(out, heading, &kinds)?;
    if groups.len() > KINDS {
        writeln!(out, "… and {} more reasons", groups.len() - KINDS)?;
    }
    let rows: Vec<_> = newest
        .iter()
        .map(|letter| {
            [
                letter.id.to_string(),
                words::clock(letter.created_at),
                place(letter),
                letter.rows.to_string(),
                letter.state.name().to_owned(),
                words::cut(brief(&letter.reason).as_str(), 100),
            ]
        })
        .collect();
    let heading = [
        ("ID", Align::Right),
        ("WHEN (UTC)", Align::Left),
        ("PLACE", Align::Left),
        ("ROWS", Align::Right),
        ("STATE", Align::Left),
        ("REASON", Align::Left),
    ];
    if !rows.is_empty() {
        writeln!(out)?;
        table::write(out, heading, &rows)?;
    }
    let total: i64 = groups.iter().map(|group| group.letters).sum();
    let dead: i64 = groups.iter().map(|group| group.dead).sum();
    writeln!(out)?;
    if (newest.len() as i64) < total {
        writeln!(out, "{} of {} listed; --limit lists more", newest.len(), words::letters(total))?;
    }
    match dead {
        0 => writeln!(out, "nothing waits for you: all were redriven or purged"),
        _ => writeln!(
            out,
            "{} to deal with: nexus dlq show ID, then nexus dlq redrive (once the cause is gone) or nexus dlq purge",
            words::letters(dead)
        ),
    }
}

/// Without what PostgreSQL says around it; `nexus dlq show` has all of it.
fn brief(reason: &str) -> String {
    let start = reason.split("DETAIL:").next().unwrap_or(reason);
    start.replace("db error: ERROR: ", "").trim_end().to_owned()
}

/// `file:line`; a whole message has no line.
fn place(letter: &Letter) -> String {
    let file = words::tail(&letter.file, 40);
    match letter.line {
        Some(line) => format!("{file}:{line}"),
        None => format!("{file} (a message)"),
    }
}

fn document(groups: &[Group], newest: &[Letter]) -> Value {
    let group = |group: &Group| {
        json!({
            "reason": group.reason, "letters": group.letters, "rows": group.rows, "dead": group.dead,
            "newest": group.newest.to_string(),
        })
    };
    json!({
        "reasons": groups.iter().map(group).collect::<Vec<_>>(),
        "letters": newest.iter().map(super::show::fields).collect::<Vec<_>>(),
    })
}
