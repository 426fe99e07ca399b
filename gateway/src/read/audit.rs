use nexus_common::{books, db};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Error, Model, Result, Time};
use crate::audit::{self, Seen};

/// Lanes an answer names; those that do not balance come first.
const MAX_LANES: usize = 1_000;

/// Whether every row that was read is accounted for.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Audit {
    /// The telemetry cluster.
    #[schema(example = "local-cluster")]
    pub cluster_id: String,
    /// When it was looked. Now, or, where the ledger takes longer to sum up than a query may run, some minutes ago.
    pub as_of: Time,
    /// The revision of etcd these figures are true for.
    pub revision: i64,
    /// Every row that was read is accounted for: no residue, no lane whose cursor is lost, nothing unreadable.
    pub balanced: bool,
    /// All lanes together.
    pub total: Figures,
    /// How many lanes there are.
    pub lane_count: u64,
    /// The lanes, those with a residue first; at most 1,000.
    pub lanes: Vec<Lane>,
    /// Keys in etcd that this version cannot read: what they hold is not accounted for.
    pub unreadable: Vec<String>,
}

/// Rows, and what became of them: read = stored + dead + queued + in_flight + expired + residue.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub struct Figures {
    /// Rows that were read from the source and published.
    pub read: u64,
    /// Rows in PostgreSQL.
    pub stored: u64,
    /// Rows that are dead letters.
    pub dead: u64,
    /// Rows that wait in etcd.
    pub queued: u64,
    /// Rows in a collector's hands.
    pub in_flight: u64,
    /// Rows whose message expired before anybody claimed it.
    pub expired: u64,
    /// Rows nobody can account for.
    pub residue: i64,
    /// Batches of the ledger.
    pub batches: u64,
    /// Of `read`: rows that were read more than once, because etcd had gone back in time.
    pub read_again: u64,
    /// Of `dead`: rows that were sent through the queue again.
    pub redriven: u64,
    /// Of `dead`: rows whose payload was given up.
    pub purged: u64,
    /// Of `expired`: rows that were published again.
    pub republished: u64,
}

/// One lane: a source, or rows that an operator sent again.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Lane {
    /// Its name: the fingerprint of its source, and which part of it.
    pub lane: String,
    /// Where its rows come from: source, redrive or republish.
    #[schema(example = "source")]
    pub kind: &'static str,
    /// The file, as it was called last.
    pub file: String,
    /// What became of its rows.
    #[serde(flatten)]
    pub figures: Figures,
    /// How far its source was read is known; false where etcd has lost the lane's cursor.
    pub known: bool,
    /// Rows that were published and are nowhere, in words: how many, and between which places of the source.
    pub holes: Vec<String>,
    /// What a person should know besides.
    pub notes: Vec<String>,
}

impl Model {
    /// Whether every row that was read is accounted for: as of a moment ago, or, where the ledger takes longer to sum up than
    /// a query may run, as of the last time that was done beside the requests.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where etcd or PostgreSQL does not answer: that is no verdict on the books;
    /// [`Error::Underway`] where the ledger is long, and summed up for the first time.
    pub async fn audit(&self) -> Result<Audit> {
        let unavailable = |error: String| Error::Unavailable(db::Error::transient(&error));
        let books = self.books().ok_or_else(|| unavailable("this gateway has no auditor".to_owned()))?;
        let Seen { at, audit, .. } = books.look().await.map_err(|error| match error {
            audit::Error::Blind(books::Error::Memory(error)) => self.refusal(error),
            audit::Error::Blind(error) => unavailable(error.to_string()),
            audit::Error::TooLong => Error::Underway(format!("{error}; it is being summed up: ask again")),
            audit::Error::FarTooLong(_) => Error::Underway(error.to_string()),
        })?;
        Ok(Audit {
            cluster_id: audit.cluster_id.clone(),
            as_of: Time(at),
            revision: audit.revision,
            balanced: audit.balanced,
            total: audit.total.into(),
            lane_count: audit.lanes.len() as u64,
            lanes: audit.lanes.iter().take(MAX_LANES).map(Lane::from).collect(),
            unreadable: audit.unreadable.iter().take(MAX_LANES).cloned().collect(),
        })
    }
}

impl From<books::Figures> for Figures {
    fn from(figures: books::Figures) -> Self {
        let books::Figures { read, stored, dead, queued, in_flight, expired, residue, .. } = figures;
        let books::Figures { batches, read_again, redriven, purged, republished, .. } = figures;
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

impl From<&books::LaneAccount> for Lane {
    fn from(account: &books::LaneAccount) -> Self {
        Lane {
            lane: account.lane.clone(),
            kind: account.kind.as_str(),
            file: account.file.clone(),
            figures: account.figures.into(),
            known: account.known,
            holes: account.holes.iter().map(ToString::to_string).collect(),
            notes: account.notes.clone(),
        }
    }
}
