//! What PostgreSQL's state means.

use nexus_common::books::health::{Schema, Server};
use nexus_common::books::wal::Archiver;
use nexus_common::domain::Timestamp;

use super::super::facts::{Facts, Memory};
use super::{Check, fail, ok, warn};
use crate::operator::words::{bytes, counted, span};

/// Clocks further apart than this make ages and expiries misleading.
const CLOCK_WARN_MS: i64 = 2_000;
/// And further than this, times of day.
const CLOCK_FAIL_MS: i64 = 60_000;
/// What waits for the archive for longer than this is more than may be lost.
const ARCHIVE_LATE_MS: i64 = 300_000;

pub(super) fn postgres(facts: &Facts, memory: &Memory) -> Vec<Check> {
    let server = &memory.server;
    let mut checks = vec![ok(
        "postgres",
        format!(
            "{} answers in {} ms; {} in the database",
            facts.place,
            memory.latency.as_millis(),
            bytes(server.database_bytes.unsigned_abs())
        ),
    )];
    checks.push(match server.version_number / 10_000 {
        15.. => ok("postgres version", &server.version),
        _ => fail("postgres version", &server.version, "15 is the oldest that is supported"),
    });
    checks.push(if server.in_recovery {
        fail("postgres writing", "it is a standby", "DB_HOST has to lead to the primary")
    } else if server.read_only {
        fail(
            "postgres writing",
            "transactions are read-only",
            "is DB_USER a gateway's, which may only read? Ask as the operator's or the collector's user; if it is not: ALTER \
             SYSTEM or ALTER ROLE … SET default_transaction_read_only = off",
        )
    } else {
        ok("postgres writing", "a primary that takes writes")
    });
    checks.push(durability(server));
    checks.extend(server.archiver.as_ref().map(|archiver| archive(archiver, server.now)));
    checks.push(clock(memory.clock_ahead_ms));
    let full = server.connections * 10 >= i64::from(server.max_connections) * 9;
    let connections = format!("{} of {}", server.connections, server.max_connections);
    checks.push(match full {
        true => {
            warn("postgres connections", connections, "raise max_connections, or lower WORKERS and the gateway's pool")
        }
        false => ok("postgres connections", connections),
    });
    if server.long_transactions > 0 {
        let found =
            format!("{} open for more than 5 minutes", counted(server.long_transactions.unsigned_abs(), "transaction"));
        checks.push(warn(
            "postgres transactions",
            found,
            "they hold up vacuum and new partitions: see pg_stat_activity",
        ));
    }
    match &memory.schema {
        Ok(schema) => checks.extend(tables(schema, facts.our_schema, server.may_create)),
        Err(error) => checks.push(fail("schema", error, "the user needs the right to read the tables of Nexus")),
    }
    checks
}

fn durability(server: &Server) -> Check {
    let name = "postgres durability";
    let remedy = "what is acknowledged can be lost when the machine falls: turn it on, unless that is what you want";
    let off = [
        ("fsync = off", !server.fsync),
        ("full_page_writes = off", !server.full_page_writes),
        ("synchronous_commit = off", server.synchronous_commit == "off"),
    ];
    let off: Vec<_> = off.iter().filter(|(_, is_off)| *is_off).map(|(name, _)| *name).collect();
    match off.is_empty() {
        true => ok(name, "commits are on disk before they are acknowledged"),
        false => warn(name, off.join(", "), remedy),
    }
}

/// A log that is not archived piles up where it is, until the disk is full; and what is restored ends where the archive does.
fn archive(archiver: &Archiver, now: Timestamp) -> Check {
    let name = "postgres archive";
    let remedy = "PostgreSQL's log says what archive_command said; docs/BACKUP.md";
    let since = |then: Timestamp| now.as_millis() - then.as_millis();
    let last = archiver.archived.map_or("never".to_owned(), |then| format!("{} ago", span(since(then))));
    match &archiver.failed {
        Some((failed, segment)) if archiver.fails() => {
            let ago = span(since(*failed));
            return fail(name, format!("failed {ago} ago with {segment}; the last time it worked: {last}"), remedy);
        }
        _ => {}
    }
    match archiver.archived {
        None => warn(name, "nothing was archived yet", remedy),
        Some(archived) if archiver.waiting > 0 && since(archived) > ARCHIVE_LATE_MS => {
            let waiting = counted(archiver.waiting.unsigned_abs(), "segment");
            fail(name, format!("{waiting} wait; the last one was archived {last}"), remedy)
        }
        Some(_) => ok(name, format!("the last segment: {last}")),
    }
}

fn clock(ahead_ms: i64) -> Check {
    let name = "clock";
    let way = if ahead_ms < 0 { "behind" } else { "ahead of" };
    let found = format!("PostgreSQL's is {} {way} this machine's", span(ahead_ms.abs()));
    let remedy = "let chrony or ntpd keep the clocks of all machines";
    match ahead_ms.abs() {
        0..CLOCK_WARN_MS => ok(name, found),
        CLOCK_WARN_MS..CLOCK_FAIL_MS => warn(name, found, remedy),
        _ => fail(name, found, remedy),
    }
}

fn tables(schema: &Schema, ours: i32, may_create: bool) -> Vec<Check> {
    let Some(version) = schema.version else {
        return vec![warn(
            "schema",
            "there is none yet",
            "nexus migrate makes it, and so does the first component that starts with DB_MIGRATE=true",
        )];
    };
    let mut checks = vec![match version {
        _ if version < ours => fail(
            "schema",
            format!("version {version}, and this is version {ours}"),
            "run nexus migrate of this version as the owner of the tables",
        ),
        _ if version > ours => warn(
            "schema",
            format!("version {version}, and this knows {ours}"),
            "this nexus is older than the others: update it",
        ),
        _ => ok("schema", format!("version {version}, as it should be")),
    }];
    checks.push(match schema.missing_rights.is_empty() {
        true => ok("rights", "this user may do what a collector does"),
        false => fail(
            "rights",
            format!("missing: {}", schema.missing_rights.join("; ")),
            "only collectors need all of them: ask as the collector's user; if DB_USER is that one, GRANT them to it",
        ),
    });
    let days = |tables: &[String]| if tables.len() == 2 { "there" } else { "not there yet" };
    let found = format!("today's {}, tomorrow's {}", days(&schema.today), days(&schema.tomorrow));
    checks.push(match may_create && schema.not_owned.is_empty() {
        true => ok("partitions", format!("{found}; made when they are needed")),
        false => fail(
            "partitions",
            format!("{found}; this user cannot make them"),
            "partitions are made by collectors: ask as the collector's user, which has to own samples and ledger, with CREATE on \
             their schema",
        ),
    });
    checks
}
