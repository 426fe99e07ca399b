//! `nexus dlq show`.

use std::fmt::Write as _;
use std::io::{Write, stdout};

use anyhow::bail;
use clap::Args;
use nexus_common::books::letters::{self, Letter, Payload, Selection, State};
use nexus_common::books::redrive::{Obstacle, understand};
use serde_json::{Value, json};

use super::Desk;
use crate::operator::words;

/// Everything about one letter.
#[derive(Debug, Clone, Args)]
pub(super) struct Options {
    /// Its number, as `nexus dlq list` shows it
    id: i64,

    /// Write nothing but the payload, byte by byte
    #[arg(long, conflicts_with = "json")]
    raw: bool,

    /// Print one JSON document, for scripts
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(desk: &Desk, options: &Options) -> anyhow::Result<()> {
    let selection = Selection { ids: Some(vec![options.id]), ..Selection::default() };
    let found = letters::payloads(&desk.client, desk.cluster, &selection, i64::MIN, 1).await?;
    let Some(payload) = found.first() else { bail!("there is no dead letter {} in this cluster", options.id) };
    let mut out = stdout().lock();
    let written = match options {
        Options { raw: true, .. } => out.write_all(&payload.raw),
        Options { json: true, .. } => writeln!(out, "{}", document(payload)),
        _ => out.write_all(people(payload).as_bytes()),
    };
    match written {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

fn people(payload: &Payload) -> String {
    let Letter { id, batch, key, rows, file, pass, line, byte, reason, raw_bytes, sha256, created_at, .. } =
        &payload.letter;
    let mut text = String::new();
    let mut say = |name: &str, value: &str| _ = writeln!(text, "{name:<9}{value}");
    say("letter", &format!("{id}, {}", state(&payload.letter)));
    say("reason", &words::cut(reason, usize::MAX));
    say("file", &words::cut(file, usize::MAX));
    match (line, byte) {
        (Some(line), Some(byte)) => say("place", &format!("line {line}, byte {byte}, pass {pass}")),
        _ => say("place", &format!("a whole message of pass {pass}: its lines are in it")),
    }
    say("rows", &rows.to_string());
    say("batch", batch);
    say("key", key);
    say("written", &created_at.to_string());
    let kept = match payload.raw.len() as u64 == raw_bytes.unsigned_abs() {
        true => String::new(),
        false => format!(", {} kept", payload.raw.len()),
    };
    say("length", &format!("{raw_bytes} bytes{kept}"));
    if let Some(sha256) = sha256 {
        say("sha256", sha256);
    }
    if !payload.raw.is_empty() {
        _ = writeln!(text, "\n{}", readable(&payload.raw));
    }
    _ = writeln!(text, "\nnext: {}", next(payload));
    text
}

fn state(letter: &Letter) -> String {
    let lane = letter.return_id.map(|id| format!("redrive-{id}"));
    match (letter.state, lane) {
        (State::Purged, lane) => {
            let when = letter.purged_at.map(|at| format!(" at {at}")).unwrap_or_default();
            let before = lane.map(|lane| format!(", redriven before as {lane}")).unwrap_or_default();
            format!("purged{when}{before}")
        }
        (state, Some(lane)) => format!("{} as {lane}", state.name()),
        (state, None) => state.name().to_owned(),
    }
}

/// What to type.
fn next(payload: &Payload) -> String {
    let id = payload.letter.id;
    let lane = payload.letter.return_id.unwrap_or_default();
    match payload.letter.state {
        State::Purged => return "nothing: only place and reason are left".to_owned(),
        State::Redriven => return format!("nexus audit --lane redrive-{lane} tells what became of it"),
        State::Redriving => {
            return "nexus dlq redrive, with what it was begun with, goes on where it stopped".to_owned();
        }
        State::Dead => {}
    }
    let or_purge = format!("or nexus dlq purge {id}");
    match understand(payload, None, false) {
        Ok(_) => format!("once the cause is gone, nexus dlq redrive {id}; {or_purge}"),
        Err(Obstacle::NoHeader) => {
            format!(
                "if it can be understood now, nexus dlq redrive {id} --header-from FILE (or --header 'LINE'); {or_purge}"
            )
        }
        Err(obstacle) => format!("it cannot be redriven: {}; {or_purge}", obstacle.words()),
    }
}

/// Text as it is; bytes that are none, and what would move the cursor, as escapes.
fn readable(raw: &[u8]) -> String {
    let mut text = String::with_capacity(raw.len());
    for chunk in raw.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' => text.push('\n'),
                c if c.is_control() => text.extend(c.escape_default()),
                c => text.push(c),
            }
        }
        for byte in chunk.invalid() {
            _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

fn document(payload: &Payload) -> Value {
    let mut document = fields(&payload.letter);
    if let Some(fields) = document.as_object_mut() {
        fields.insert("raw".to_owned(), Value::from(readable(&payload.raw)));
        fields.insert("kept_bytes".to_owned(), Value::from(payload.raw.len()));
        fields.insert("shift_us".to_owned(), json!(payload.shift_us));
        fields.insert("next".to_owned(), Value::from(next(payload)));
    }
    document
}

/// A letter without its payload, for scripts.
pub(super) fn fields(letter: &Letter) -> Value {
    json!({
        "id": letter.id, "state": letter.state.name(), "reason": letter.reason, "file": letter.file,
        "pass": letter.pass, "line": letter.line, "byte": letter.byte, "rows": letter.rows, "batch": letter.batch,
        "key": letter.key, "raw_bytes": letter.raw_bytes, "sha256": letter.sha256,
        "created_at": letter.created_at.to_string(), "redrive": letter.return_id,
        "purged_at": letter.purged_at.map(|at| at.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_is_readable_still() {
        assert_eq!(readable(b"a\xffb\0\x1b[2J\xc3\xa9\n"), "a\\xffb\\u{0}\\u{1b}[2J\u{e9}\n");
    }
}
