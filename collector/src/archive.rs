//! Whether PostgreSQL's log leaves its machine: what backups stand on, told to those who watch over them.
//!
//! Every collector looks, under whatever role it has: PostgreSQL says so to all. Rules take the largest that any of them sees.

use std::fmt;

use deadpool_postgres::Pool;
use nexus_common::books::wal::{Wal, wal};
use nexus_common::db::Error;
use nexus_common::observe::Scrape;

/// Asks PostgreSQL.
pub(crate) async fn look(pool: &Pool) -> Result<Wal, Error> {
    let client = pool.get().await?;
    wal(&client).await
}

/// Tells what a look has found. Of an archive that is not there, no more than that.
pub(crate) fn tell(wal: &Wal, scrape: &mut Scrape<'_, '_>) -> fmt::Result {
    if let Some(written) = wal.written_bytes {
        let help = "Bytes that PostgreSQL has written to its log, ever: its position.";
        scrape.counter("nexus_postgres_wal_bytes", help, u64::try_from(written).unwrap_or(0))?;
    }
    let help =
        "1 where PostgreSQL archives its log (archive_mode); 0 where it does not, and nothing else is told of it.";
    scrape.gauge("nexus_postgres_archive_enabled", help, i64::from(wal.archiver.is_some()))?;
    let Some(archiver) = &wal.archiver else { return Ok(()) };
    let help = "1 while the last attempt to archive is one that failed.";
    scrape.gauge("nexus_postgres_archive_failing", help, i64::from(archiver.fails()))?;
    let help = "Attempts to archive that failed, as PostgreSQL counts them: a command that cannot even be run is none.";
    scrape.counter("nexus_postgres_archive_failures", help, u64::try_from(archiver.failures).unwrap_or(0))?;
    let help = "Since a segment was archived; where none was, since PostgreSQL was started or began to count.";
    scrape.gauge("nexus_postgres_archive_age_seconds", help, archiver.quiet_seconds)?;
    if let Some(waiting) = archiver.waiting_bytes {
        let help = "Bytes of the log that are not archived, those of the open segment among them; left out while it is not known.";
        scrape.gauge("nexus_postgres_archive_waiting_bytes", help, waiting)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use nexus_common::books::wal::Archiver;
    use nexus_common::domain::Timestamp;
    use nexus_common::observe::{Metrics, looked_at};

    use super::*;

    /// What is told of the archive, by the names behind `nexus_postgres_`.
    fn told(wal: Wal) -> Vec<String> {
        let text = Metrics::new("collector", "c").text([looked_at(move |scrape| tell(&wal, scrape))]).unwrap();
        let lines = text.lines().filter_map(|line| line.strip_prefix("nexus_postgres_"));
        lines.map(|line| line.replace("{cluster=\"c\"}", "")).collect()
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        assert_eq!(told(Wal::default()), ["archive_enabled 0"]);
        let archiver = Archiver { failures: 3, quiet_seconds: 40, ..Archiver::default() };
        let begun = Wal { written_bytes: Some(1 << 24), archiver: Some(archiver.clone()) };
        let known = ["wal_bytes_total 16777216", "archive_enabled 1", "archive_failing 0", "archive_failures_total 3"];
        assert_eq!(told(begun), [&known[..], &["archive_age_seconds 40"]].concat());
        let archiver = Archiver { archived: Some(Timestamp(1)), waiting_bytes: Some(9), ..archiver };
        let told = told(Wal { written_bytes: None, archiver: Some(archiver) });
        assert_eq!(told.last().unwrap(), "archive_waiting_bytes 9");
    }

    #[test]
    fn it_fails_from_a_failure_until_something_is_archived() {
        let fails = |archived: Option<i64>, failed: Option<i64>| {
            let failed = failed.map(|at| (Timestamp(at), "000000010000000000000002".to_owned()));
            let archiver = Archiver { archived: archived.map(Timestamp), failed, ..Archiver::default() };
            told(Wal { written_bytes: None, archiver: Some(archiver) })[1] == "archive_failing 1"
        };
        assert_eq!([fails(None, None), fails(Some(1), None), fails(Some(2), Some(1))], [false; 3]);
        assert_eq!([fails(None, Some(1)), fails(Some(1), Some(2))], [true; 2]);
    }
}
