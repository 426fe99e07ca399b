//! Where a lane can be put back to, so that rows it lost are read once more.

use deadpool_postgres::Client;
use serde_json::json;

use super::actions::{self, Act, Actor};
use super::ledger::number;
use crate::db::Error;

/// The end of a batch that is stored: a place of the source of which the row count is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Rows of the lane up to here.
    pub rows: u64,
    /// First and last line of the batch.
    pub lines: [u64; 2],
    /// Offset of its first byte, and the one behind its last row.
    pub bytes: [u64; 2],
}

/// The last batch of a lane that ends at or before this row; `None`: the lane has to begin again.
///
/// # Errors
/// As PostgreSQL answers.
pub async fn mark(client: &Client, cluster: i32, lane: &str, row: u64) -> Result<Option<Mark>, Error> {
    let row = i64::try_from(row).unwrap_or(i64::MAX);
    let found = client.query_opt(include_str!("sql/mark.sql"), &[&cluster, &lane, &row]).await?;
    Ok(found.map(|found| Mark {
        rows: number(&found, "end_row"),
        lines: [number(&found, "first_line"), number(&found, "last_line")],
        bytes: [number(&found, "first_byte"), number(&found, "end_byte")],
    }))
}

/// Notes that somebody puts the cursor of a lane back to row `to`, so that `rows` rows are read once more.
///
/// # Errors
/// As PostgreSQL answers.
pub async fn note(client: &Client, cluster: i32, by: &Actor, lane: &str, to: u64, rows: u64) -> Result<(), Error> {
    let rows = i64::try_from(rows).unwrap_or(i64::MAX);
    let asked = json!({ "lane": lane, "row": to });
    let act = Act { kind: actions::Kind::Rewind, return_id: None, letters: 0, rows, asked: asked.into() };
    actions::note(client, cluster, by, &act).await?;
    actions::say(by, &act);
    Ok(())
}
