use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_postgres::Client;

use super::{Access, Config, Error};
use crate::domain::CATALOGUE;
use crate::retry::Retry;

mod embedded {
    refinery::embed_migrations!("../migrations");
}

/// The advisory lock that one migrating process at a time holds: "nexus" in ASCII.
const LOCK: i64 = 0x6e_65_78_75_73;

/// What [`apply`] did, and what it found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrated {
    /// What was applied, in order: `V4__rollups`.
    pub applied: Vec<String>,
    /// The newest migration that the database has now. A newer program may have brought it beyond [`newest`].
    pub version: i32,
}

/// [`apply`], unless the configuration says that others do it (DB_MIGRATE=false). Returns how many migrations were applied.
///
/// # Errors
/// As [`apply`].
pub async fn migrate(config: &Config) -> Result<usize, Error> {
    match config.migrate {
        true => Ok(apply(config).await?.applied.len()),
        false => Ok(0),
    }
}

/// Brings the database to this version's schema and writes the metric catalogue into `metrics`. Any process may call
/// this at its start, many at once: one at a time holds an advisory lock, the others wait and find nothing left to do.
///
/// A server that is not there yet is waited for, up to `startup_timeout`. A database that a newer version migrated
/// is left as it is: migrations expand first and contract a version later, so the version before still works on it.
///
/// # Errors
/// The last error, once it is not transient or the time is over.
pub async fn apply(config: &Config) -> Result<Migrated, Error> {
    let access = config.access().map_err(Error::other)?;
    let deadline = Instant::now() + config.startup_timeout;
    let mut retry = Retry::new(Duration::from_millis(100), Duration::from_secs(5));
    loop {
        // Boxed: the runner's future is large.
        let error = match Box::pin(connect_and_migrate(config, &access)).await {
            Ok(migrated) => return Ok(migrated),
            Err(error) => error,
        };
        let wait = retry.next_wait();
        if !error.is_transient() || Instant::now() + wait > deadline {
            return Err(error);
        }
        tracing::info!(database = config.place(), %error, "waiting for the database");
        sleep(wait).await;
    }
}

async fn connect_and_migrate(config: &Config, access: &Access) -> Result<Migrated, Error> {
    let mut driver = config.driver("nexus-migrate");
    // Whoever freezes with the lock in hand loses it after a minute.
    let idle = "-c idle_session_timeout=60s -c idle_in_transaction_session_timeout=60s";
    driver.options(format!("-c TimeZone=UTC -c client_min_messages=warning {idle}"));
    let (mut client, connection) = access.connect(&driver).await?;
    // The connection is driven here and not on a task of its own; the lock goes with it.
    tokio::select! {
        done = locked(&mut client) => done,
        ended = connection => Err(ended.err().map_or_else(|| Error::other(Ended), Error::from)),
    }
}

/// The schema this version brings a database to: the number of its newest migration.
pub fn newest() -> i32 {
    let runner = embedded::migrations::runner();
    runner.get_migrations().iter().map(refinery::Migration::version).max().unwrap_or(0)
}

/// Polls for the lock instead of waiting in the server: a statement that waits would hold a snapshot, and a migration
/// that builds an index concurrently waits for every snapshot.
async fn locked(client: &mut Client) -> Result<Migrated, Error> {
    let mut retry = Retry::call();
    while !client.query_one("SELECT pg_try_advisory_lock($1)", &[&LOCK]).await?.try_get::<_, bool>(0)? {
        sleep(retry.next_wait()).await;
    }
    let runner = embedded::migrations::runner().set_abort_missing(false);
    let report = runner.run_async(client).await?;
    for migration in report.applied_migrations() {
        tracing::info!(%migration, "migrated");
    }
    write_catalogue(client).await?;
    let last = runner.get_last_applied_migration_async(client).await?;
    client.query_one("SELECT pg_advisory_unlock($1)", &[&LOCK]).await?;
    let applied = report.applied_migrations().iter().map(ToString::to_string).collect();
    Ok(Migrated { applied, version: last.map_or(0, |migration| migration.version()) })
}

async fn write_catalogue(client: &Client) -> Result<(), Error> {
    let column =
        |of: fn(&'static crate::domain::Definition) -> &'static str| CATALOGUE.iter().map(of).collect::<Vec<_>>();
    let [names, dcgm, units, kinds, help] =
        [column(|m| m.name), column(|m| m.dcgm), column(|m| m.unit), column(|m| m.kind.as_str()), column(|m| m.help)];
    client
        .execute(
            "INSERT INTO metrics AS m (name, dcgm, unit, kind, help)
             SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[])
             ON CONFLICT (name) DO UPDATE
             SET dcgm = excluded.dcgm, unit = excluded.unit, kind = excluded.kind, help = excluded.help
             WHERE (m.dcgm, m.unit, m.kind, m.help) IS DISTINCT FROM
                   (excluded.dcgm, excluded.unit, excluded.kind, excluded.help)",
            &[&names, &dcgm, &units, &kinds, &help],
        )
        .await?;
    Ok(())
}

#[derive(Debug, thiserror::Error)]
#[error("the server ended the connection")]
struct Ended;
