//! The account, for people and for scripts.

use std::io::{self, Write};

use nexus_common::books::{Audit, Figures, LaneKind};
use serde_json::{Value, json};

use super::file::{FAULTS, FileAccount};
use crate::operator::table::{self, Align, count};

/// One document: the audit, and `file` where one was counted anew.
pub(super) fn json(audit: &Audit, file: Option<&FileAccount>) -> Value {
    let mut document = json!(audit);
    if let Some(file) = file {
        document["file"] = json!(file);
        document["balanced"] = json!(audit.balanced && file.wrong().is_empty());
    }
    document
}

/// A table of lanes with their sum, and what is wrong below it.
///
/// # Errors
/// As the writer's.
pub(super) fn write(out: &mut impl Write, audit: &Audit, file: Option<&FileAccount>) -> io::Result<()> {
    let heading =
        ["READ", "STORED", "DEAD", "QUEUED", "IN FLIGHT", "EXPIRED", "RESIDUE"].map(|name| (name, Align::Right));
    let heading: Vec<_> = [("FILE", Align::Left), ("LANE", Align::Left)].into_iter().chain(heading).collect();
    let Ok(heading) = <[(&str, Align); 9]>::try_from(heading) else { return Ok(()) };
    let mut rows: Vec<_> =
        audit.lanes.iter().map(|lane| row([source(lane.kind, &lane.file), lane.lane.clone()], &lane.figures)).collect();
    if audit.lanes.len() != 1 {
        rows.push(row(["all".to_owned(), format!("{} lanes", audit.lanes.len())], &audit.total));
    }
    table::write(out, heading, &rows)?;
    for lane in &audit.lanes {
        for note in &lane.notes {
            writeln!(out, "{}: {note}", lane.lane)?;
        }
        for hole in &lane.holes {
            writeln!(out, "{}: {hole}", lane.lane)?;
        }
    }
    let Figures { read_again, redriven, purged, republished, .. } = audit.total;
    for (rows, what) in [
        (read_again, "of what was read had been read before"),
        (redriven, "of the dead were sent through the queue again"),
        (purged, "of the dead have lost their payload"),
        (republished, "of the expired were published again"),
    ] {
        if rows > 0 {
            writeln!(out, "{} rows {what}", count(rows))?;
        }
    }
    for key in &audit.unreadable {
        writeln!(out, "cannot be read by this version: {key}")?;
    }
    if let Some(file) = file {
        write_file(out, file)?;
    }
    let is_file_well = file.is_none_or(|file| file.wrong().is_empty());
    let residue = audit.total.residue;
    if audit.lanes.is_empty() {
        return writeln!(out, "nothing was ever read in cluster {} (CLUSTER_ID)", audit.cluster_id);
    }
    match audit.balanced && is_file_well {
        true => writeln!(out, "balanced at revision {}: every row that was read is accounted for", audit.revision),
        false => writeln!(out, "NOT balanced at revision {}: residue {residue}", audit.revision),
    }
}

fn write_file(out: &mut impl Write, file: &FileAccount) -> io::Result<()> {
    let FileAccount { file: name, rows, passes, skipped, unread, .. } = file;
    let passes = if *passes == 1 { String::new() } else { format!(", read {passes} times") };
    writeln!(
        out,
        "{name}: {} rows counted anew{passes}; {} skipped, {} not read yet",
        count(*rows),
        count(*skipped),
        count(*unread)
    )?;
    if file.dropped > 0 {
        writeln!(
            out,
            "{name}: {} rows were in days that RETENTION dropped: they are only counted",
            count(file.dropped)
        )?;
    }
    if let Some(deep) = &file.deep {
        writeln!(
            out,
            "{name}: {} rows with {} values are stored as the file has them; {} differ, {} have another value since, of a conflict, {} \
             are not stored (waiting, dead or expired)",
            count(deep.rows),
            count(deep.values),
            count(deep.differ),
            count(deep.overruled),
            count(deep.not_stored)
        )?;
    }
    for fault in &file.faults {
        writeln!(out, "{name}: {fault}")?;
    }
    if file.faults.len() == FAULTS {
        writeln!(out, "{name}: no more than {FAULTS} are named")?;
    }
    Ok(())
}

fn row([file, lane]: [String; 2], figures: &Figures) -> [String; 9] {
    let Figures { read, stored, dead, queued, in_flight, expired, residue, .. } = *figures;
    let sign = if residue < 0 { "-" } else { "" };
    let residue = format!("{sign}{}", count(residue.unsigned_abs()));
    [file, lane, count(read), count(stored), count(dead), count(queued), count(in_flight), count(expired), residue]
}

fn source(kind: LaneKind, file: &str) -> String {
    match kind {
        LaneKind::Source => file.to_owned(),
        LaneKind::Redrive => format!("redriven from {file}"),
        LaneKind::Republish => format!("republished from {file}"),
    }
}
