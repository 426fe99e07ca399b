//! Daily partitions, made when a day is first written to: a file from July 2025 gets July 2025.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use deadpool_postgres::Client;
use nexus_common::db::Error;
use nexus_common::domain::Timestamp;

/// Which days are known to exist.
#[derive(Debug, Default)]
pub(crate) struct Partitions(Mutex<HashSet<(Table, i32)>>);

/// A table partitioned by UTC day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Table {
    Samples,
    Ledger,
}

impl Partitions {
    /// Makes the partitions of these days, where they are missing.
    pub(crate) async fn ensure(&self, client: &Client, days: HashSet<(Table, i32)>) -> Result<(), Error> {
        let missing: Vec<_> = days.into_iter().filter(|day| !self.known().contains(day)).collect();
        for (table, day) in missing {
            make(client, table, day).await?;
            self.known().insert((table, day));
        }
        Ok(())
    }

    /// A partition was not there after all (retention dropped it): look again.
    pub(crate) fn forget(&self) {
        self.known().clear();
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashSet<(Table, i32)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Created beside the parent and then attached: that takes a weaker lock on the parent than `PARTITION OF`. An advisory
/// lock keeps collectors that need the same day apart.
async fn make(client: &Client, table: Table, day: i32) -> Result<(), Error> {
    let (parent, column) = match table {
        Table::Samples => ("samples", "ts"),
        Table::Ledger => ("ledger", "day"),
    };
    let date = |day: i32| Timestamp::of_day(day).to_string()[..10].to_owned();
    let (from, to) = (date(day), date(day + 1));
    let (from_bound, to_bound) = match table {
        Table::Samples => (format!("'{from}T00:00:00Z'::timestamptz"), format!("'{to}T00:00:00Z'::timestamptz")),
        Table::Ledger => (format!("'{from}'::date"), format!("'{to}'::date")),
    };
    let name = format!("{parent}_{}", from.replace('-', ""));
    let exists =
        client.query_opt("SELECT 1 FROM pg_inherits WHERE inhrelid = to_regclass($1)", &[&name]).await?.is_some();
    if exists {
        return Ok(());
    }
    // A table that is there and not attached was detached by retention: it is attached again for the late rows.
    // Several statements in one simple query are one transaction. The look behind the lock reads the tables of the
    // catalogue: to_regclass would answer from this backend's cache, as it was before the wait. The check lets ATTACH
    // skip its scan; then the bounds say the same, and it is in the way.
    client
        .batch_execute(&format!(
            "SELECT pg_advisory_xact_lock(hashtext('nexus.partitions'));
             DO $make$ BEGIN
                 IF NOT EXISTS (SELECT FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
                         WHERE inhparent = '{parent}'::regclass AND relname = '{name}') THEN
                     CREATE TABLE IF NOT EXISTS {name} (LIKE {parent} INCLUDING ALL,
                         CONSTRAINT {name}_bounds CHECK ({column} >= {from_bound} AND {column} < {to_bound}));
                     ALTER TABLE {parent} ATTACH PARTITION {name} FOR VALUES FROM ('{from}') TO ('{to}');
                     ALTER TABLE {name} DROP CONSTRAINT IF EXISTS {name}_bounds;
                 END IF;
             END $make$"
        ))
        .await?;
    tracing::info!(partition = name, "made a partition");
    Ok(())
}
