//! `nexus migrate`: the tables of this version, before the components that need them are started.

use std::io::Write;

use clap::Args;
use nexus_common::config::Logging;
use nexus_common::db::{self, Migrated};
use tokio_util::sync::CancellationToken;

/// Bring PostgreSQL's tables up to date, and end
///
/// One process at a time migrates, the others wait; what a newer version made is left as it is. A server that is not
/// there yet is waited for, DB_STARTUP_TIMEOUT at most. Exit status 0: the tables are this version's or a newer one's;
/// 2: the configuration cannot work; 1: anything else.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  nexus migrate
  DB_USER=nexus_migrate DB_PASSWORD_FILE=/etc/nexus/password nexus migrate")]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) logging: Logging,

    #[command(flatten)]
    db: db::Config,
}

/// Migrates whatever DB_MIGRATE says, and prints a line for each version that was applied and one for the newest.
///
/// # Errors
/// Where a file that is named cannot be used, the server does not come or refuses, or `stop` came before the end.
pub(crate) async fn run(options: Options, stop: CancellationToken) -> anyhow::Result<()> {
    // What a person has to change is status 2, and said before anything is waited for.
    options.db.access()?;
    let place = options.db.place();
    let migrated = tokio::select! {
        migrated = db::apply(&options.db) => migrated.map_err(|error| anyhow::anyhow!("PostgreSQL at {place}: {error}"))?,
        () = stop.cancelled() => anyhow::bail!("stopped before the tables were up to date; running it again goes on"),
    };
    Ok(std::io::stdout().lock().write_all(told(&migrated, &place).as_bytes())?)
}

fn told(migrated: &Migrated, place: &str) -> String {
    let applied: String = migrated.applied.iter().map(|name| format!("applied {name}\n")).collect();
    let version = migrated.version;
    let standing = match (migrated.applied.is_empty(), version > db::newest()) {
        (false, _) => format!("{place} is at version {version}"),
        (true, false) => format!("{place} is at version {version} already"),
        (true, true) => {
            format!("{place} is at version {version}, newer than this program's {}: left as it is", db::newest())
        }
    };
    format!("{applied}{standing}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_and_what_was_found_are_told() {
        let newest = db::newest();
        let told = |applied: &[&str], version| {
            let applied = applied.iter().map(|&name| name.to_owned()).collect();
            told(&Migrated { applied, version }, "u@h:1/d")
        };
        assert_eq!(told(&["V1__a", "V2__b"], 2), "applied V1__a\napplied V2__b\nu@h:1/d is at version 2\n");
        assert_eq!(told(&[], newest), format!("u@h:1/d is at version {newest} already\n"));
        assert_eq!(
            told(&[], newest + 1),
            format!("u@h:1/d is at version {}, newer than this program's {newest}: left as it is\n", newest + 1)
        );
    }
}
