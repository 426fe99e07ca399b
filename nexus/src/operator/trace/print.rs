//! A trace for people: numbered steps, from the value back to its file.

use std::collections::BTreeMap;
use std::io::Write;

use super::report::{Letter, Report, Row, State, Trail};
use crate::operator::table::count;
use crate::operator::words::{counted, span};

/// Rows that are shown as they stand in their source, where they are so few.
const TEXTS: usize = 2;
/// Rows shown of one batch; JSON has all.
const ROWS: usize = 20;

pub(super) fn write(out: &mut impl Write, title: &str, report: &Report) -> std::io::Result<()> {
    writeln!(out, "{title}: {}", word(report.state))?;
    writeln!(out, "{}.", report.meaning)?;
    let mut number = 0;
    let mut step = |out: &mut _, name: &str, text: &str| {
        number += 1;
        step(out, number, name, text)
    };
    for sample in &report.samples {
        let values: BTreeMap<_, _> = sample.values.iter().map(|(name, value)| (name.clone(), Some(*value))).collect();
        let conflicts = match sample.conflicts {
            0 => String::new(),
            more => format!("; {more} values gave way to later ones"),
        };
        step(out, "sample", &format!("{} (samples: GPU {}{conflicts})", said(&values), sample.gpu_id))?;
    }
    for trail in &report.trails {
        writeln!(out)?;
        for (name, text) in steps(trail) {
            step(out, name, &text)?;
        }
    }
    for letter in &report.perhaps {
        step(out, "perhaps", &letter_said(letter))?;
    }
    if !report.notes.is_empty() {
        writeln!(out)?;
    }
    report.notes.iter().try_for_each(|note| writeln!(out, "note: {note}"))
}

fn step(out: &mut impl Write, number: usize, name: &str, text: &str) -> std::io::Result<()> {
    writeln!(out, "{number:>3}. {name:<12} {text}")
}

fn steps(trail: &Trail) -> Vec<(&'static str, String)> {
    let mut steps = Vec::new();
    match &trail.ledger {
        Some(ledger) => {
            let alive = match ledger.collector_is_alive {
                Some(true) => " (alive)",
                Some(false) => " (not alive any more)",
                None => "",
            };
            let [stored, dead, expired] = [ledger.stored, ledger.dead, ledger.expired].map(count);
            steps.push((
                "ledger",
                format!(
                    "recorded at {} by collector {}{alive}: {stored} rows stored, {dead} dead, {expired} expired",
                    ledger.stored_at.0, ledger.collector
                ),
            ));
        }
        None => steps.push(("ledger", "no row: not stored so far".to_owned())),
    }
    let batch = &trail.batch;
    let size =
        batch.source.as_ref().map_or_else(String::new, |source| format!(", {}", counted(source.row_count, "row")));
    steps.push(("batch", format!("{}, published at {}{size}", batch.id, batch.published_at.0)));
    steps.push(("lane", format!("{}, run {}, batch {} of the run", batch.lane, batch.run, count(batch.n))));
    let queue = match (&trail.queue, trail.state) {
        (Some(queue), _) => {
            let there =
                format!("{} of {} messages in etcd", count(queue.messages_there as u64), count(queue.messages as u64));
            match &queue.claimed_by {
                Some(holder) => {
                    let alive = if queue.claimer_is_alive { "alive" } else { "gone; its claim ends with its session" };
                    format!("{there}; claimed by collector {holder} ({alive}), attempt {}", queue.attempts)
                }
                None if queue.attempts > 0 => {
                    format!("{there}; not claimed now, claimed {} times before", queue.attempts)
                }
                None => format!("{there}; not claimed"),
            }
        }
        (None, State::Lost | State::Unknown) => "no manifest in etcd".to_owned(),
        (None, _) => "acknowledged: its messages left etcd".to_owned(),
    };
    steps.push(("queue", queue));
    steps.extend(trail.dead_letters.iter().map(|letter| ("dead letter", letter_said(letter))));
    if let Some(source) = &batch.source {
        let pass = match (source.pass, source.shift_us) {
            (_, 0) => String::new(),
            (pass, shift) => format!("; pass {pass} of a loop, which moved its times by {}", span(shift / 1_000)),
        };
        let ([first, last], [from, to]) = (source.lines, source.bytes);
        steps.push(("source", format!("{}, lines {first} to {last}, bytes {from} to {to}{pass}", source.file)));
    }
    for row in trail.rows.iter().take(ROWS) {
        steps.push(("row", row_said(row, trail.batch.source.as_ref().map_or("?", |source| &source.file))));
        if let Some(text) = row.text.as_ref().filter(|_| trail.rows.len() <= TEXTS) {
            steps.push(("text", text.clone()));
        }
    }
    if trail.rows.len() > ROWS {
        steps.push((
            "rows",
            format!("{} more; --json shows all, --metric fewer", count((trail.rows.len() - ROWS) as u64)),
        ));
    }
    steps
}

fn row_said(row: &Row, file: &str) -> String {
    let end = row.end_byte.map_or_else(String::new, |end| format!(" to {end}"));
    let compared = match row.is_as_stored {
        Some(true) => "; as stored",
        Some(false) => "; NOT as stored: another row of that time came later, or the sample was changed",
        None => "",
    };
    let key = row.key.as_ref().map_or_else(String::new, |key| format!("; message {key}"));
    let time = row.source_timestamp.map_or_else(String::new, |time| format!(" of {}", time.0));
    let (place, values) = (format!("{file} line {}, byte {}{end}", row.line, row.byte), said(&row.values));
    format!("{place}: {values}{time} [{}]{compared}{key}", word(row.state))
}

fn letter_said(letter: &Letter) -> String {
    let line = letter.line.map_or_else(String::new, |line| format!(" line {line}"));
    let raw: String = letter.raw.chars().take(120).collect();
    format!("{}: {} ({}{line}): {}", letter.id, letter.reason, letter.file, raw.trim())
}

fn said(values: &BTreeMap<String, Option<f64>>) -> String {
    let number = |value: &Option<f64>| value.map_or_else(|| "not reported".to_owned(), |value| value.to_string());
    let said: Vec<_> = values.iter().map(|(name, value)| format!("{name}={}", number(value))).collect();
    if said.is_empty() { "no value".to_owned() } else { said.join(", ") }
}

fn word(state: State) -> &'static str {
    match state {
        State::Stored => "stored",
        State::InFlight => "in flight",
        State::Queued => "queued",
        State::DeadLetter => "dead letter",
        State::Expired => "expired",
        State::Lost => "LOST",
        State::Unknown => "unknown",
    }
}
