//! What is said of returns: rows that a redrive or a republish sends through the queue again.

use nexus_common::books::returns::Return;
use serde_json::{Value, json};

use super::words;

/// A return that was published.
pub(crate) struct Done {
    pub(crate) of: Return,
    /// Rows it has published in all.
    pub(crate) rows: i64,
    /// It had been begun before.
    pub(crate) resumed: bool,
}

impl Done {
    /// For scripts.
    pub(crate) fn json(&self) -> Value {
        json!({ "id": self.of.id, "lane": self.of.lane(), "rows": self.rows, "resumed": self.resumed })
    }

    /// A line for people.
    pub(crate) fn line(&self) -> String {
        let (kind, id, lane) = (self.of.kind.name(), self.of.id, self.of.lane());
        let rows = words::rows(self.rows);
        format!("{kind} {id}: {rows} in the queue again; nexus audit --lane {lane} tells what became of them")
    }
}

/// Says that a return is gone on with, which somebody began.
pub(crate) fn say_going_on(of: &Return) {
    let (kind, id, rows, begun) = (of.kind.name(), of.id, words::rows(of.rows), words::clock(of.created_at));
    eprintln!("nexus: {kind} {id} ({rows}, begun {begun}) is not finished: going on with it");
}
