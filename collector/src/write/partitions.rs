//! Partitions by day or month, made when one is first written to: a file from July 2025 gets July 2025.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use deadpool_postgres::Client;
use nexus_common::db::Error;
use nexus_common::domain::Timestamp;

/// Which partitions are known to exist, by their first day.
#[derive(Debug, Default)]
pub(crate) struct Partitions(Mutex<HashSet<(Table, i32)>>);

/// A table partitioned by UTC day; that of hours, which has few rows, by month.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Table {
    Samples,
    Ledger,
    Hours,
    Fives,
    Minutes,
}

impl Table {
    /// The partition that a row of this time belongs to.
    pub(crate) fn place(self, at: Timestamp) -> (Table, i32) {
        let day = at.day();
        (self, if self == Table::Hours { first_of_month(day) } else { day })
    }

    /// The first day behind a partition.
    fn end(self, first: i32) -> i32 {
        // 31 days after the first of a month lies in the next one, whichever it is.
        if self == Table::Hours { first_of_month(first + 31) } else { first + 1 }
    }
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
        Table::Hours => ("rollup_hours", "start"),
        Table::Fives => ("rollup_fives", "start"),
        Table::Minutes => ("rollup_minutes", "start"),
    };
    let (from, to) = (date(day), date(table.end(day)));
    let (from_bound, to_bound) = match table {
        Table::Samples | Table::Hours | Table::Fives | Table::Minutes => {
            (format!("'{from}T00:00:00Z'::timestamptz"), format!("'{to}T00:00:00Z'::timestamptz"))
        }
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

fn date(day: i32) -> String {
    Timestamp::of_day(day).to_string()[..10].to_owned()
}

fn first_of_month(day: i32) -> i32 {
    let of_month = date(day)[8..].parse().unwrap_or(1);
    day - of_month + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_ends_where_the_next_begins() {
        for (at, from, to) in [
            ("2024-02-29T23:59:59Z", "2024-02-01", "2024-03-01"),
            ("2025-07-31T00:00:00Z", "2025-07-01", "2025-08-01"),
            ("1969-12-31T12:00:00Z", "1969-12-01", "1970-01-01"),
        ] {
            let at = at.parse::<jiff::Timestamp>().unwrap().into();
            let (table, first) = Table::Hours.place(at);
            assert_eq!((date(first), date(table.end(first))), (from.to_owned(), to.to_owned()));
        }
    }
}
