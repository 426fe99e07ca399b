//! How PostgreSQL is, as far as it concerns the memory: facts only, judged elsewhere.

use serde::Serialize;
use tokio_postgres::Client;

use super::wal::{Archiver, wal};
use crate::db::Error;
use crate::domain::Timestamp;

/// What the server says of itself and of the user who asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Server {
    /// E.g. `15.8`.
    pub version: String,
    /// E.g. `150008`.
    pub version_number: i32,
    /// Its clock, when it answered.
    pub now: Timestamp,
    /// A standby that follows another server.
    pub in_recovery: bool,
    /// New transactions may not write.
    pub read_only: bool,
    /// `fsync`.
    pub fsync: bool,
    /// `synchronous_commit`, as this user has it.
    pub synchronous_commit: String,
    /// `full_page_writes`.
    pub full_page_writes: bool,
    /// Bytes of the database.
    pub database_bytes: i64,
    /// Connections there are.
    pub connections: i64,
    /// `max_connections`.
    pub max_connections: i32,
    /// May this user make tables in the schema, as migrations and partitions need it?
    pub may_create: bool,
    /// Transactions that have been open for more than five minutes.
    pub long_transactions: i64,
    /// How its log is archived; `None`: it is not (`archive_mode = off`).
    pub archiver: Option<Archiver>,
}

/// What the schema holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Schema {
    /// The newest migration that was applied; `None`: none ever was.
    pub version: Option<i32>,
    /// Tables that a collector writes and this user may not, with the right that is missing.
    pub missing_rights: Vec<String>,
    /// Tables with partitions that this user does not own, and so cannot give another day.
    pub not_owned: Vec<String>,
    /// Those of `ledger` and `samples` that have a partition for today.
    pub today: Vec<String>,
    /// The same for tomorrow.
    pub tomorrow: Vec<String>,
}

/// What is in the books that somebody should look at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Burden {
    /// Rows of dead letters that are neither sent again nor purged.
    pub dead_rows: i64,
    /// The commonest reason among the newest of them.
    pub dead_reason: Option<String>,
    /// When the newest came.
    pub dead_newest: Option<Timestamp>,
    /// Rows that expired unread and were not published again.
    pub expired_rows: i64,
    /// When that was recorded last.
    pub expired_newest: Option<Timestamp>,
}

/// Asks the server about itself.
///
/// # Errors
/// As PostgreSQL answers.
pub async fn server(db: &Client) -> Result<Server, Error> {
    let row = db
        .query_one(
            "SELECT current_setting('server_version'), current_setting('server_version_num')::integer,
                 clock_timestamp(), pg_is_in_recovery(), current_setting('default_transaction_read_only')::boolean,
                 current_setting('fsync')::boolean, current_setting('synchronous_commit'),
                 current_setting('full_page_writes')::boolean, pg_database_size(current_database()),
                 (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
                 current_setting('max_connections')::integer,
                 COALESCE(has_schema_privilege(current_schema(), 'CREATE'), false),
                 (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                  AND xact_start < now() - interval '5 minutes' AND backend_type = 'client backend')",
            &[],
        )
        .await?;
    Ok(Server {
        version: row.get(0),
        version_number: row.get(1),
        now: row.get(2),
        in_recovery: row.get(3),
        read_only: row.get(4),
        fsync: row.get(5),
        synchronous_commit: row.get(6),
        full_page_writes: row.get(7),
        database_bytes: row.get(8),
        connections: row.get(9),
        max_connections: row.get(10),
        may_create: row.get(11),
        long_transactions: row.get(12),
        archiver: wal(db).await?.archiver,
    })
}

/// What a collector has to be allowed, by table.
const RIGHTS: [(&str, &str); 17] = [
    ("clusters", "SELECT, INSERT"),
    ("hosts", "SELECT, INSERT"),
    ("gpus", "SELECT, INSERT, UPDATE"),
    ("samples", "SELECT, INSERT, UPDATE"),
    ("gpu_latest", "SELECT, INSERT, UPDATE"),
    ("ledger", "SELECT, INSERT"),
    ("ledger_totals", "SELECT, INSERT, UPDATE"),
    ("ledger_dropped", "SELECT, INSERT, UPDATE"),
    ("dead_letters", "SELECT, INSERT, UPDATE"),
    ("events", "SELECT, INSERT"),
    ("gpu_signs", "SELECT, INSERT, UPDATE, DELETE"),
    ("returns", "SELECT, INSERT, UPDATE"),
    ("rollup_notes", "SELECT, INSERT, DELETE"),
    ("rollup_todo", "SELECT, INSERT, UPDATE, DELETE"),
    ("rollup_hours", "SELECT, INSERT, DELETE"),
    ("rollup_fives", "SELECT, INSERT, DELETE"),
    ("rollup_minutes", "SELECT, INSERT, DELETE"),
];

/// Looks at the schema: its version, and what this user may do with it.
///
/// # Errors
/// As PostgreSQL answers.
pub async fn schema(db: &Client) -> Result<Schema, Error> {
    let exists: bool = db.query_one("SELECT to_regclass('ledger') IS NOT NULL", &[]).await?.get(0);
    if !exists {
        return Ok(Schema::default());
    }
    let version = db.query_one(include_str!("sql/schema.sql"), &[]).await;
    // A user who may not read the history may well not read the rest.
    let version: Option<i32> = match version {
        Ok(row) => row.get(0),
        Err(error) if error.code() == Some(&tokio_postgres::error::SqlState::INSUFFICIENT_PRIVILEGE) => None,
        Err(error) => return Err(error.into()),
    };
    let (tables, rights): (Vec<&str>, Vec<&str>) = RIGHTS.iter().copied().unzip();
    let missing = db.query(include_str!("sql/rights.sql"), &[&tables, &rights]).await?;
    let not_owned = db
        .query(
            "SELECT relname::text FROM pg_class
             WHERE oid IN (to_regclass('ledger'), to_regclass('samples'), to_regclass('rollup_hours'), to_regclass('rollup_fives'),
                 to_regclass('rollup_minutes'))
             AND NOT pg_has_role(relowner, 'USAGE') ORDER BY relname",
            &[],
        )
        .await?;
    let mut days: [Vec<String>; 2] = Default::default();
    for (ahead, names) in [0, 1].into_iter().zip(&mut days) {
        let rows = db
            .query(
                "SELECT t.name FROM unnest('{ledger,samples}'::text[]) AS t (name)
                 WHERE to_regclass(t.name || '_' || to_char((now() AT TIME ZONE 'UTC')::date + $1::integer, 'YYYYMMDD'))
                     IS NOT NULL",
                &[&ahead],
            )
            .await?;
        names.extend(rows.iter().map(|row| row.get::<_, String>(0)));
    }
    let [today, tomorrow] = days;
    let texts = |rows: Vec<tokio_postgres::Row>| rows.iter().map(|row| row.get(0)).collect();
    Ok(Schema { version, missing_rights: texts(missing), not_owned: texts(not_owned), today, tomorrow })
}

/// Looks for what could not be stored.
///
/// # Errors
/// As PostgreSQL answers.
pub async fn burden(db: &Client, cluster: &str) -> Result<Burden, Error> {
    let row = db.query_one(include_str!("sql/burden.sql"), &[&cluster]).await?;
    Ok(Burden {
        dead_rows: row.get(0),
        dead_reason: row.get(1),
        dead_newest: row.get(2),
        expired_rows: row.get(3),
        expired_newest: row.get(4),
    })
}
