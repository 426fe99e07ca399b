//! Whether anything was lost.

use async_graphql::SimpleObject;

use crate::read;

/// Whether every row that was read is accounted for.
#[derive(SimpleObject)]
#[graphql(rename_fields = "snake_case")]
pub(super) struct Audit {
    /// The telemetry cluster.
    cluster_id: String,
    /// When it was looked. Now, or, where the ledger takes longer to sum up than a query may run, some minutes ago.
    as_of: String,
    /// The revision of etcd these figures are true for.
    revision: i64,
    /// Every row that was read is accounted for: no residue, no lane whose cursor is lost, nothing unreadable.
    balanced: bool,
    /// All lanes together.
    total: Figures,
    /// How many lanes there are.
    lane_count: u64,
    /// The lanes, those with a residue first; at most 1,000.
    lanes: Vec<Lane>,
    /// Keys in etcd that this version cannot read: what they hold is not accounted for.
    unreadable: Vec<String>,
}

/// Rows, and what became of them: read = stored + dead + queued + in_flight + expired + residue.
#[derive(SimpleObject)]
#[graphql(rename_fields = "snake_case")]
pub(super) struct Figures {
    /// Rows that were read from the source and published.
    read: u64,
    /// Rows in PostgreSQL.
    stored: u64,
    /// Rows that are dead letters.
    dead: u64,
    /// Rows that wait in etcd.
    queued: u64,
    /// Rows in a collector's hands.
    in_flight: u64,
    /// Rows whose message expired before anybody claimed it.
    expired: u64,
    /// Rows nobody can account for.
    residue: i64,
    /// Batches of the ledger.
    batches: u64,
    /// Of read: rows that were read more than once, because etcd had gone back in time.
    read_again: u64,
    /// Of dead: rows that were sent through the queue again.
    redriven: u64,
    /// Of dead: rows whose payload was given up.
    purged: u64,
    /// Of expired: rows that were published again.
    republished: u64,
}

/// One lane: a source, or rows that an operator sent again.
#[derive(SimpleObject)]
#[graphql(rename_fields = "snake_case")]
pub(super) struct Lane {
    /// Its name: the fingerprint of its source, and which part of it.
    lane: String,
    /// Where its rows come from: source, redrive or republish.
    kind: &'static str,
    /// The file, as it was called last.
    file: String,
    /// What became of its rows.
    #[graphql(flatten)]
    figures: Figures,
    /// How far its source was read is known; false where etcd has lost the lane's cursor.
    known: bool,
    /// Rows that were published and are nowhere, in words: how many, and between which places of the source.
    holes: Vec<String>,
    /// What a person should know besides.
    notes: Vec<String>,
}

impl From<read::Audit> for Audit {
    fn from(audit: read::Audit) -> Self {
        let read::Audit { cluster_id, as_of, revision, balanced, total, lane_count, lanes, unreadable } = audit;
        let lanes = lanes.into_iter().map(Lane::from).collect();
        let as_of = as_of.0.to_string();
        Audit { cluster_id, as_of, revision, balanced, total: total.into(), lane_count, lanes, unreadable }
    }
}

impl From<read::Figures> for Figures {
    fn from(figures: read::Figures) -> Self {
        let read::Figures { read, stored, dead, queued, in_flight, expired, residue, .. } = figures;
        let read::Figures { batches, read_again, redriven, purged, republished, .. } = figures;
        Figures {
            read,
            stored,
            dead,
            queued,
            in_flight,
            expired,
            residue,
            batches,
            read_again,
            redriven,
            purged,
            republished,
        }
    }
}

impl From<read::Lane> for Lane {
    fn from(lane: read::Lane) -> Self {
        let read::Lane { lane, kind, file, figures, known, holes, notes } = lane;
        Lane { lane, kind, file, figures: figures.into(), known, holes, notes }
    }
}
