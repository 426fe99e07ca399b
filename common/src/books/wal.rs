//! PostgreSQL's log, and how it leaves the machine: what is not archived is lost with the disk.

use serde::Serialize;
use tokio_postgres::Client;

use crate::db::Error;
use crate::domain::Timestamp;

/// The log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Wal {
    /// Bytes that were ever written to it; `None` on a standby, which writes none.
    pub written_bytes: Option<i64>,
    /// How it is archived; `None`: it is not (`archive_mode = off`).
    pub archiver: Option<Archiver>,
}

/// How the log is archived, as far as PostgreSQL has counted: it begins anew when it fell.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Archiver {
    /// When that worked last.
    pub archived: Option<Timestamp>,
    /// When it failed last, and which segment. A command that cannot even be run is no failure to PostgreSQL.
    pub failed: Option<(Timestamp, String)>,
    /// How often it failed.
    pub failures: i64,
    /// Since it worked last, in whole seconds of PostgreSQL's clock; where it never did, since PostgreSQL was started or began to
    /// count.
    pub quiet_seconds: i64,
    /// Bytes behind the last segment that was archived, those of the open segment among them. `None`: how far the archive goes is
    /// not known, because nothing was archived, or something other than a segment was the last.
    pub waiting_bytes: Option<i64>,
    /// Whole segments among them; 0 where it is not known.
    pub waiting: i64,
}

impl Archiver {
    /// Whether the last attempt failed.
    pub fn fails(&self) -> bool {
        self.failed.as_ref().is_some_and(|(failed, _)| self.archived.is_none_or(|archived| archived < *failed))
    }
}

/// Asks for it. Any user may.
///
/// # Errors
/// As PostgreSQL answers.
pub async fn wal(db: &Client) -> Result<Wal, Error> {
    let row = db.query_one(include_str!("sql/wal.sql"), &[]).await?;
    let waiting_bytes: Option<i64> = row.try_get(7)?;
    let segment_bytes: i64 = row.try_get(8)?;
    let archiver = Archiver {
        archived: row.try_get(2)?,
        failed: row.try_get::<_, Option<Timestamp>>(3)?.zip(row.try_get(4)?),
        failures: row.try_get(5)?,
        quiet_seconds: row.try_get(6)?,
        waiting_bytes,
        waiting: waiting_bytes.unwrap_or(0) / segment_bytes,
    };
    let is_archived: bool = row.try_get(1)?;
    Ok(Wal { written_bytes: row.try_get(0)?, archiver: is_archived.then_some(archiver) })
}
