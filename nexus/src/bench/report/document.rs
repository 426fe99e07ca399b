//! The document, from what is kept and the notes beside it (pure).
//!
//! The notes are written by people and outlive every run: a section `## name` goes below the part of that name, and what
//! stands before the first section goes to the front.

use std::fmt::Write;

use serde_json::Value;

use super::goals::{Bound, GOALS};
use super::kept::Kept;
use super::parts::{PARTS, Part, Shown};
use crate::bench::figures::{Several, grouped};
use crate::bench::grow::Curve;
use crate::bench::profile::Where;
use crate::bench::pure;

/// What is shown of a run of the pipeline: its name, and where it is among the figures.
const FLOW: [(&str, &str); 22] = [
    ("**rows/s**", "/rows_per_second"),
    ("messages/s", "/messages_per_second"),
    ("rows", "/rows"),
    ("GPUs", "/gpus"),
    ("collectors", "/collectors"),
    ("rows a batch", "/batch_rows"),
    ("publish p50, ms", "/publish_p50_ms"),
    ("publish p99, ms", "/publish_p99_ms"),
    ("at 1,000 rows/s: publish to client p50, ms", "/publish_to_client_p50_ms"),
    ("at 1,000 rows/s: publish to client p99, ms", "/publish_to_client_p99_ms"),
    ("at 1,000 rows/s: COMMIT to client p50, ms", "/commit_to_client_p50_ms"),
    ("at 1,000 rows/s: COMMIT to client p99, ms", "/commit_to_client_p99_ms"),
    ("etcd's file, MiB", "/etcd_file_mib"),
    ("most rows queued", "/queued_rows"),
    ("PostgreSQL, bytes a row", "/bytes_per_row"),
    ("etcd: WAL syncs", "/profile/etcd/wal_syncs"),
    ("etcd: seconds in WAL syncs", "/profile/etcd/wal_sync_seconds"),
    ("etcd: seconds in backend commits", "/profile/etcd/backend_commit_seconds"),
    ("4 KiB durable p50, ms", "/disk/p50_ms"),
    ("4 KiB durable p99, ms", "/disk/p99_ms"),
    ("seconds", "/seconds"),
    ("residue", "/residue"),
];

/// What is shown of the live feed.
const LIVE: [(&str, &str); 5] = [
    ("publish to client", "/publish_to_client"),
    ("COMMIT to client's socket", "/commit_to_socket"),
    ("COMMIT to client", "/commit_to_client"),
    ("COMMIT to the last client", "/commit_to_last_client"),
    ("4 KiB durable on the disk", "/disk"),
];

/// The processes of a run, and what is told of each.
const PROCESSES: [&str; 5] = ["streamer", "collector", "gateway", "etcd", "postgres"];

/// The whole document.
pub(super) fn document(kept: &[(&Part, Kept)], notes: &str) -> String {
    let mut text = String::from(
        "# Benchmarks\n\nWritten by `make bench` (`nexus bench --mode all`), from figures that `nexus bench` printed; they are in \
         [bench/](bench/) as JSON. etcd and PostgreSQL are their own, with fsync. Everything, the clients too, shares one \
         machine. A figure is the median of several runs, with the least and the most behind it where there were several; a \
         run that lost a row or whose books do not balance gives no figure.\n",
    );
    let (front, sections) = sections(notes);
    paragraph(&mut text, front);
    machines(&mut text, kept);
    goals(&mut text, kept);
    for (part, kept) in kept {
        let _ = write!(text, "\n## {}\n\n`{}` ({})\n", part.title, kept.command, kept.date);
        match part.shown {
            Shown::Flow => flow(&mut text, &kept.runs),
            Shown::Live => live(&mut text, &kept.runs),
            Shown::Routes => routes(&mut text, &kept.runs),
            Shown::Durations => durations(&mut text, &kept.runs),
            Shown::Profile => profile(&mut text, kept),
            Shown::Pure => pure(&mut text, &kept.runs),
            Shown::Curve => {
                if let Some(curve) = curve(kept) {
                    table(&mut text, &curve.table());
                    curve.failures().iter().for_each(|failure| {
                        let _ = write!(text, "\nNot measured: {failure}\n");
                    });
                    let _ = write!(text, "\n![{}](bench/{}.svg)\n", part.title, part.name);
                }
            }
        }
        for failure in &kept.failures {
            let _ = write!(text, "\nA run failed: {failure}\n");
        }
        for (_, note) in sections.iter().filter(|(name, _)| *name == part.name) {
            paragraph(&mut text, note);
        }
    }
    for (name, note) in sections.iter().filter(|(name, _)| !PARTS.iter().any(|part| part.name == *name)) {
        let _ = write!(text, "\n## {name}\n");
        paragraph(&mut text, note);
    }
    text.push_str(
        "\n## To repeat it\n\n`make bench` measures all of it and writes this document (`make bench-quick` a small set); \
         `nexus bench --mode all --only row,api` measures parts and leaves the others; `nexus bench --mode all --render` \
         writes the document from what is kept. Below each heading is what that part alone runs; with `--json` it prints what \
         is kept.\n",
    );
    text
}

/// The curve in what is kept, if it is one.
pub(super) fn curve(kept: &Kept) -> Option<Curve> {
    serde_json::from_value(kept.runs.first()?.clone()).ok()
}

/// Each machine once, with the parts that were measured there.
fn machines(text: &mut String, kept: &[(&Part, Kept)]) {
    let mut known: Vec<(&Kept, Vec<&str>)> = Vec::new();
    for (part, kept) in kept {
        // The disk is never twice the same: what tells machines apart is all else.
        match known.iter_mut().find(|(other, _)| other.machine.is(&kept.machine)) {
            Some((_, parts)) => parts.push(part.name),
            None => known.push((kept, vec![part.name])),
        }
    }
    text.push_str("\n## Machine and versions\n");
    for (one, parts) in &known {
        if known.len() > 1 {
            let _ = write!(text, "\nFor {}:\n", parts.join(", "));
        }
        text.push('\n');
        for (name, value) in one.machine.lines() {
            let _ = writeln!(text, "- {name}: {value}");
        }
    }
}

fn goals(text: &mut String, kept: &[(&Part, Kept)]) {
    let mut rows = vec![["", "wanted", "measured", ""].map(str::to_owned).to_vec()];
    for goal in &GOALS {
        let Some((_, kept)) = kept.iter().find(|(part, _)| part.name == goal.part) else { continue };
        let Some(measured) = goal.measured(kept) else { continue };
        let verdict = if goal.bound.holds(measured.median) { "yes" } else { "**no**" };
        let wanted = match goal.bound {
            Bound::AtMost(most) => format!("at most {} {}", grouped(most), goal.unit),
            Bound::AtLeast(least) => format!("at least {} {}", grouped(least), goal.unit),
        };
        rows.push(vec![goal.what.to_owned(), wanted, several(measured), verdict.to_owned()]);
    }
    if rows.len() > 1 {
        text.push_str("\n## What must hold\n");
        table(text, &rows);
    }
}

fn flow(text: &mut String, runs: &[Value]) {
    let mut rows = vec![["", "median (least to most)"].map(str::to_owned).to_vec()];
    rows.extend(FLOW.iter().filter_map(|(name, place)| Some(vec![(*name).to_owned(), over(runs, place)?])));
    table(text, &rows);
    let mut rows =
        vec![["", "processors kept busy", "µs a row", "most MiB", "most MiB of its own"].map(str::to_owned).to_vec()];
    for role in PROCESSES {
        let of = |place: &str| over(runs, &format!("{place}/{role}")).unwrap_or_default();
        let figures = ["/profile/cores", "/cpu_micros_per_row", "/rss_mib", "/own_mib"].map(of);
        rows.push(std::iter::once(role.to_owned()).chain(figures).collect());
    }
    table(text, &rows);
    let waits = |run: &Value| run.pointer("/profile/postgres").and_then(Value::as_object).cloned().unwrap_or_default();
    let mut names: Vec<_> = runs.iter().flat_map(waits).map(|(name, _)| name).collect();
    names.sort_unstable();
    names.dedup();
    let mean = |name: &String| {
        let all = runs.iter().map(|run| waits(run).get(name).and_then(Value::as_f64).unwrap_or(0.0));
        Some((name.clone(), Several::of(all.collect())?.median)).filter(|(_, mean)| *mean >= 0.05)
    };
    let mut waits: Vec<_> = names.iter().filter_map(mean).collect();
    waits.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    let waits: Vec<_> = waits.into_iter().map(|(name, mean)| format!("{name} {}", grouped(mean))).collect();
    if !waits.is_empty() {
        let _ = write!(text, "\nThe collectors' backends in PostgreSQL, at a moment: {}.\n", waits.join(", "));
    }
}

fn live(text: &mut String, runs: &[Value]) {
    let mut rows = vec![["ms", "p50", "p95", "p99", "most"].map(str::to_owned).to_vec()];
    for (name, place) in LIVE {
        let of = |of: &str| over(runs, &format!("{place}/{of}")).unwrap_or_default();
        rows.push(std::iter::once(name.to_owned()).chain(["p50_ms", "p95_ms", "p99_ms", "max_ms"].map(of)).collect());
    }
    table(text, &rows);
    let of = |place: &str| over(runs, place).unwrap_or_default();
    let _ = write!(
        text,
        "\n{} clients, and one that never reads; {} rows/s in {} frames; the gateway had {} MiB before and {} MiB after.\n",
        of("/clients"),
        of("/rows_per_second"),
        of("/frames"),
        of("/gateway_before/rss_mib"),
        of("/gateway_after/rss_mib")
    );
}

fn routes(text: &mut String, runs: &[Value]) {
    let of = |place: &str| over(runs, place).unwrap_or_default();
    let _ = write!(
        text,
        "\n{} clients, {} stored values of {} GPUs, {} rows/s asked of a streamer meanwhile; the gateway had {} MiB at most. The opening is the first \
         {} ms, in which all clients come at once: what was asked then is in no other line, and not among the answers a second.\n",
        of("/clients"),
        of("/stored_values"),
        of("/gpus"),
        of("/rows_per_second"),
        of("/gateway/peak_mib"),
        of("/opening_ms")
    );
    for (place, pause) in [
        ("/answers", "without a pause".to_owned()),
        ("/paced", format!("pausing {} ms", of("/pause_ms"))),
        ("/anew", "without a pause, no answer kept".to_owned()),
    ] {
        let Some(asked) = runs.first().and_then(|run| run.pointer(&format!("{place}/routes"))?.as_array()) else {
            continue;
        };
        let mut rows =
            vec![vec![format!("{pause}, ms"), "p50".to_owned(), "p95".to_owned(), "p99".to_owned(), "most".to_owned()]];
        let names = asked.iter().enumerate().map(|(number, route)| {
            (route[0].as_str().unwrap_or_default().to_owned(), format!("{place}/routes/{number}/1"))
        });
        let opening = ("all, in the opening".to_owned(), format!("{place}/opening"));
        let opening = Some(opening).filter(|(_, place)| over(runs, &format!("{place}/p50_ms")).is_some());
        for (name, place) in names.chain(opening) {
            let of = |of: &str| over(runs, &format!("{place}/{of}")).unwrap_or_default();
            rows.push(std::iter::once(name).chain(["p50_ms", "p95_ms", "p99_ms", "max_ms"].map(of)).collect());
        }
        table(text, &rows);
        let _ = write!(
            text,
            "\n{} answers a second; {} questions turned away because the gateway was busy.\n",
            of(&format!("{place}/requests_per_second")),
            of(&format!("{place}/turned_away"))
        );
    }
}

/// What criterion found, of the first run.
fn pure(text: &mut String, runs: &[Value]) {
    let parts = runs.first().and_then(|run| serde_json::from_value::<Vec<pure::Part>>(run["parts"].clone()).ok());
    let mut rows = vec![["", "rows at once", "ns a row (95 %)"].map(str::to_owned).to_vec()];
    rows.extend(parts.unwrap_or_default().iter().map(pure::Part::cells));
    table(text, &rows);
}

/// A line for each process of the first run.
fn profile(text: &mut String, kept: &Kept) {
    let Some(run) = kept.runs.first() else { return };
    // Of a curve it is its last step that was looked at.
    let step = run["points"].as_array().and_then(|points| points.last());
    let Ok(parts) = serde_json::from_value::<Where>(step.unwrap_or(run)["where"].clone()) else { return };
    let rate = |place: &str, thing| Some((run.pointer(place)?.as_f64()?, thing));
    let a_second = match run["mode"].as_str() {
        Some("row" | "scrape") => rate("/rows_per_second", "row"),
        Some("api") => rate("/answers/requests_per_second", "answer"),
        Some("grow") => curve(kept).and_then(|curve| curve.pace()),
        _ => None,
    };
    if let Some((rate, thing)) = a_second {
        let _ = write!(text, "\n{} {thing}s a second, by which what each cost is reckoned.\n", grouped(rate));
    }
    text.push('\n');
    parts.lines(a_second).iter().for_each(|line| {
        let _ = writeln!(text, "- {line}");
    });
}

/// `[name, several]` of one run, under `starts` or `recoveries`.
fn durations(text: &mut String, runs: &[Value]) {
    let mut rows = vec![["", "median (least to most), ms"].map(str::to_owned).to_vec()];
    let all = |run: &Value| ["starts", "recoveries"].iter().find_map(|name| run[*name].as_array().cloned());
    for one in runs.first().and_then(all).unwrap_or_default() {
        let (Some(name), Ok(of)) = (one[0].as_str(), serde_json::from_value::<Several>(one[1].clone())) else {
            continue;
        };
        rows.push(vec![name.to_owned(), several(of)]);
    }
    table(text, &rows);
    if let Some(held) = over(runs, "/held_batches/median") {
        let _ = write!(
            text,
            "\nThe killed collector held {held} batches; the servers died at {} rows/s.\n",
            over(runs, "/rate").unwrap_or_default()
        );
    }
}

/// A figure over all runs that have it.
fn over(runs: &[Value], place: &str) -> Option<String> {
    Several::of(runs.iter().filter_map(|run| run.pointer(place)?.as_f64()).collect()).map(several)
}

fn several(of: Several) -> String {
    let Several { median, min, max, .. } = of;
    let [middle, least, most] = [median, min, max].map(grouped);
    if least == most { middle } else { format!("{middle} ({least} to {most})") }
}

/// A table in Markdown, the first row its heading; figures to the right.
fn table(text: &mut String, rows: &[Vec<String>]) {
    for (place, row) in rows.iter().enumerate() {
        let cells: Vec<_> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
        let _ = writeln!(text, "{}| {} |", if place == 0 { "\n" } else { "" }, cells.join(" | "));
        if place == 0 {
            let _ = writeln!(text, "|---|{}", "---:|".repeat(row.len().saturating_sub(1)));
        }
    }
}

fn paragraph(text: &mut String, note: &str) {
    if !note.trim().is_empty() {
        let _ = write!(text, "\n{}\n", note.trim());
    }
}

/// What stands before the first section, and the sections by name.
fn sections(notes: &str) -> (&str, Vec<(&str, &str)>) {
    let mut all = notes.split("\n## ");
    let front = all.next().unwrap_or_default();
    // A file that begins with a section has nothing before it.
    let (front, first) = front.strip_prefix("## ").map_or((front, None), |first| ("", Some(first)));
    let named = |section| str::split_once(section, '\n').unwrap_or((section, ""));
    (front, first.into_iter().chain(all).map(named).map(|(name, note)| (name.trim(), note.trim())).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::bench::report::machine::Machine;

    fn kept(part: &str, runs: Vec<Value>) -> Kept {
        Kept { runs, ..Kept::new(part, &["--mode", part], &Machine::for_a_test()) }
    }

    fn of(name: &str) -> &'static Part {
        PARTS.iter().find(|part| part.name == name).unwrap()
    }

    #[test]
    fn figures_of_several_runs_are_told_with_their_spread() {
        let run = |rate: f64| json!({"rows_per_second": rate, "publish_to_client_p50_ms": 12.0, "residue": 0});
        let kept = [(of("row"), kept("row", vec![run(30_000.0), run(10_000.0), run(20_000.0)]))];
        let text = document(&kept, "Read this first.\n\n## row\nThe WAL bounds it.\n## Profiles\nAs seen by perf.\n");
        assert!(text.contains("| **rows/s** | 20,000 (10,000 to 30,000) |"), "{text}");
        assert!(text.contains("| residue | 0 |") && text.contains("`nexus bench --mode row`"), "{text}");
        let places =
            ["Read this first.", "## Rows, a message each", "The WAL bounds it.", "## Profiles\n\nAs seen by perf."];
        let places = places.map(|place| text.find(place).unwrap_or_else(|| panic!("no {place} in {text}")));
        assert!(places.is_sorted(), "{places:?}");
    }

    #[test]
    fn a_goal_that_was_missed_is_said_so() {
        let run = |p50: f64| json!({"publish_to_client_p50_ms": p50, "commit_to_client_p99_ms": 9.0});
        let text = document(&[(of("scrape"), kept("scrape", vec![run(31.0)]))], "");
        assert!(
            text.contains("| publish to WebSocket at 1,000 rows/s, 4 clients, p50 | at most 30 ms | 31 | **no** |"),
            "{text}"
        );
        assert!(
            text.contains("| COMMIT to client at 1,000 rows/s, 4 clients, p99 | at most 10 ms | 9 | yes |"),
            "{text}"
        );
    }

    #[test]
    fn a_curve_has_its_table_its_plot_and_what_failed() {
        let point = |at: u64, rate: f64| json!({"at": at, "figures": [["rows/s", rate]]});
        let run = json!({"mode": "grow", "by": "rows", "points": [point(1_000, 5.0), point(10_000, 6.0)],
            "failed": [[100_000, "the disk is full"]]});
        let text = document(&[(of("rows"), kept("rows", vec![run]))], "");
        assert!(text.contains("| rows | 1,000 | 10,000 |\n|---|---:|---:|\n| rows/s | 5 | 6 |"), "{text}");
        assert!(
            text.contains("Not measured: 100,000 rows: the disk is full") && text.contains("(bench/rows.svg)"),
            "{text}"
        );
    }

    #[test]
    fn notes_are_cut_at_their_headings() {
        assert_eq!(sections("front\n\n## a\none\n\n## b\ntwo\n"), ("front\n", vec![("a", "one"), ("b", "two")]));
        assert_eq!(sections("## a\none"), ("", vec![("a", "one")]));
        assert_eq!(sections(""), ("", vec![]));
    }
}
