//! What the facts mean, and what to do (pure).

use nexus_common::books::health::{Burden, Schema, Server};
use nexus_common::etcd::Status;
use nexus_common::queue::Standing;
use serde::Serialize;

use super::facts::{Facts, Memory, Queue, Trouble};
use crate::operator::table::count;
use crate::operator::words::{bytes, counted, span};

/// How a check ended; the worst is the whole's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    Ok,
    Warn,
    Fail,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    pub(super) name: String,
    pub(super) verdict: Verdict,
    pub(super) found: String,
    /// What to do about it.
    pub(super) remedy: Option<String>,
}

fn ok(name: &str, found: impl Into<String>) -> Check {
    Check { name: name.to_owned(), verdict: Verdict::Ok, found: found.into(), remedy: None }
}

fn warn(name: &str, found: impl Into<String>, remedy: &str) -> Check {
    Check { name: name.to_owned(), verdict: Verdict::Warn, found: found.into(), remedy: Some(remedy.to_owned()) }
}

fn fail(name: &str, found: impl Into<String>, remedy: &str) -> Check {
    Check { verdict: Verdict::Fail, ..warn(name, found, remedy) }
}

/// Clocks further apart than this make ages and expiries misleading.
const CLOCK_WARN_MS: i64 = 2_000;
/// And further than this, times of day.
const CLOCK_FAIL_MS: i64 = 60_000;
/// An etcd that is slower than this slows everything.
const SLOW_MS: u128 = 200;
/// A batch that waits longer while collectors are alive is not being taken.
const WAITS_MS: i64 = 60_000;
/// A streamer that is alive and publishes nothing for so long has nothing to read, or stands.
const QUIET_MS: i64 = 600_000;
/// From this attempt on a batch is suspected of killing collectors.
const SUSPECT: u32 = 3;

/// Every check, in the order in which to repair.
pub(super) fn judge(facts: &Facts) -> Vec<Check> {
    let mut checks = endpoints(&facts.etcd);
    let statuses: Vec<_> = facts.etcd.iter().filter_map(|(name, status)| Some((name, status.as_ref().ok()?))).collect();
    if !statuses.is_empty() {
        checks.push(one_cluster(&statuses));
        checks.push(etcd_version(&statuses));
        checks.extend(statuses.iter().map(|(name, status)| room(name, status)));
    }
    if let Some(queue) = &facts.queue {
        checks.push(alarms(queue));
        checks.push(operations(queue, facts.max_txn_ops));
        checks.push(writing(queue));
    }
    match &facts.memory {
        Err(refused) => checks.push(fail(
            "postgres",
            format!("{}: {}", facts.place, refused.reason),
            match refused.answered {
                true => "DB_USER, DB_PASSWORD and DB_NAME say who asks for what; the server answers, and refuses them",
                false => "start PostgreSQL (make run-nexus-pipeline starts a local one), or say with DB_HOST and DB_PORT where it is",
            },
        )),
        Ok(memory) => checks.extend(postgres(facts, memory)),
    }
    if let Some(queue) = &facts.queue {
        checks.extend(pipeline(facts, queue));
    }
    if let Ok(memory) = &facts.memory {
        checks.extend(match &memory.burden {
            Ok(burden) => burdens(burden),
            // Where the schema is missing its own check says so.
            Err(_) => Vec::new(),
        });
    }
    checks.extend(facts.sources.as_ref().map(|(spec, found)| match found {
        Ok(found) => ok("sources", format!("CSV_FILE={spec}: {}, readable", counted(*found as u64, "source"))),
        Err(error) => fail("sources", error, "CSV_FILE names a file, a folder or a glob of CSV exports this user may read"),
    }));
    checks
}

fn endpoints(etcd: &[(String, Result<Status, String>)]) -> Vec<Check> {
    let any = etcd.iter().any(|(_, status)| status.is_ok());
    let check = |(address, status): &(String, Result<Status, String>)| {
        let name = format!("etcd {address}");
        match status {
            Ok(status) if !status.errors.is_empty() => {
                warn(&name, format!("it says: {}", status.errors.join("; ")), "look into the server's log")
            }
            Ok(status) if status.leader == 0 => fail(
                &name,
                "answers, but has no leader",
                "a majority of etcd's members has to run and reach each other: look at the other members",
            ),
            Ok(status) if status.latency.as_millis() > SLOW_MS => warn(
                &name,
                format!("answers in {} ms", status.latency.as_millis()),
                "etcd wants a fast disk (fsync) and a near network: everything waits for it",
            ),
            Ok(status) => ok(&name, format!("answers in {} ms", status.latency.as_millis())),
            Err(error) if any => warn(&name, error, "start this member, or take it out of ETCD_ENDPOINTS"),
            Err(error) => {
                fail(&name, error, "start etcd (make setup-etcd starts a local one), or say with ETCD_ENDPOINTS where it is")
            }
        }
    };
    etcd.iter().map(check).collect()
}

fn one_cluster(statuses: &[(&String, &Status)]) -> Check {
    let mut clusters: Vec<u64> = statuses.iter().map(|(_, status)| status.cluster).collect();
    clusters.sort_unstable();
    clusters.dedup();
    let mut leaders: Vec<u64> = statuses.iter().map(|(_, status)| status.leader).collect();
    leaders.sort_unstable();
    leaders.dedup();
    let name = "etcd cluster";
    if clusters.len() > 1 {
        let remedy = "ETCD_ENDPOINTS may only name members of one cluster: rows published to one are not seen in another";
        return fail(name, format!("the endpoints belong to {} different clusters", clusters.len()), remedy);
    }
    if leaders.len() > 1 {
        return warn(name, "the members do not agree on a leader", "an election is under way, or the network is split: look again");
    }
    let cluster = clusters.first().copied().unwrap_or(0);
    ok(name, format!("{cluster:x}, {}, one leader", counted(statuses.len() as u64, "member")))
}

fn etcd_version(statuses: &[(&String, &Status)]) -> Check {
    let name = "etcd version";
    let oldest = statuses.iter().map(|(_, status)| numbers(&status.version)).min().unwrap_or_default();
    let text = statuses.iter().map(|(_, status)| status.version.as_str()).min().unwrap_or_default();
    let remedy = "fine for trying out; in production run 3.6.14 or newer (or 3.5.33): older ones wrongly revoke leases and lose watch events";
    match oldest {
        [major, minor, _] if (major, minor) < (3, 4) => fail(name, text, "3.4 is the oldest that is known to work"),
        [3, 4, _] => warn(name, format!("{text}: out of support"), remedy),
        [3, 5, patch] if patch < 33 => warn(name, text, remedy),
        [3, 6, patch] if patch < 14 => warn(name, text, remedy),
        _ => ok(name, text),
    }
}

/// `3.5.9` as numbers; what follows a number is left out.
fn numbers(version: &str) -> [u32; 3] {
    let digits = |part: &str| part.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap_or(0);
    let mut parts = version.split('.').map(digits);
    std::array::from_fn(|_| parts.next().unwrap_or(0))
}

fn room(address: &str, status: &Status) -> Check {
    let name = format!("etcd room {address}");
    let Some(quota) = status.quota_bytes else {
        return ok(&name, format!("{} in the file; the quota is not told", bytes(status.file_bytes)));
    };
    let share = |part: u64| u128::from(part) * 100 / u128::from(quota.max(1));
    let (file, used) = (share(status.file_bytes), share(status.used_bytes));
    let found = format!("{} of {} ({file} %), {} in use", bytes(status.file_bytes), bytes(quota), bytes(status.used_bytes));
    match (file, used) {
        (0..80, _) => ok(&name, found),
        (_, 0..60) => warn(
            &name,
            found,
            "most of the file is free inside: etcdctl defrag, one member after the other (collectors with ETCD_UPKEEP=true do it)",
        ),
        (80..95, _) => warn(&name, found, "more is queued than is stored: start collectors, or raise --quota-backend-bytes"),
        _ => fail(&name, found, "at 100 % etcd takes no writes: start collectors, compact and defragment, or raise --quota-backend-bytes"),
    }
}

fn alarms(queue: &Queue) -> Check {
    let name = "etcd alarms";
    match &queue.alarms {
        Err(error) => warn(name, error, "look again; a user without the root role may not see alarms"),
        Ok(alarms) if alarms.iter().any(|alarm| alarm.name == "CORRUPT") => {
            fail(name, "CORRUPT: a member's data differs from the others'", "take that member out, and add it again empty")
        }
        Ok(alarms) if alarms.is_empty() => ok(name, "none"),
        Ok(_) => fail(
            name,
            "NOSPACE: the quota is used up, nothing can be published",
            "let collectors run, they drain a full etcd (with ETCD_UPKEEP=true they also recover it); by hand then: etcdctl compact, defrag, alarm disarm",
        ),
    }
}

fn operations(queue: &Queue, max_txn_ops: u32) -> Check {
    let name = "etcd transactions";
    match &queue.operations {
        Ok(()) => ok(name, format!("take MAX_TXN_OPS={max_txn_ops} operations")),
        Err(Trouble::TooLarge) => fail(
            name,
            format!("the server takes fewer than MAX_TXN_OPS={max_txn_ops} operations"),
            "set MAX_TXN_OPS to the server's --max-txn-ops (128 unless it says otherwise), or raise that",
        ),
        Err(Trouble::NoSpace) => ok(name, "not tried: no space"),
        Err(Trouble::Other(error)) => fail(name, error, "the user of etcd needs the right to read below MESSAGE_QUEUE_PREFIX and beside it"),
    }
}

fn writing(queue: &Queue) -> Check {
    let name = "etcd writing";
    match &queue.writing {
        Ok(()) => ok(name, "allowed in every family of keys"),
        Err(Trouble::NoSpace) => fail(name, "refused: no space", "see the alarm above"),
        Err(Trouble::TooLarge) => fail(name, "refused: too many operations", "raise the server's --max-txn-ops"),
        Err(Trouble::Other(error)) => {
            fail(name, error, "the user of etcd needs the right to write MESSAGE_QUEUE_PREFIX and its siblings")
        }
    }
}

fn postgres(facts: &Facts, memory: &Memory) -> Vec<Check> {
    let server = &memory.server;
    let mut checks = vec![ok(
        "postgres",
        format!("{} answers in {} ms; {} in the database", facts.place, memory.latency.as_millis(), bytes(server.database_bytes.unsigned_abs())),
    )];
    checks.push(match server.version_number / 10_000 {
        15.. => ok("postgres version", &server.version),
        _ => fail("postgres version", &server.version, "15 is the oldest that is supported"),
    });
    checks.push(if server.in_recovery {
        fail("postgres writing", "it is a standby", "DB_HOST has to lead to the primary")
    } else if server.read_only {
        fail("postgres writing", "transactions are read-only", "ALTER SYSTEM or ALTER ROLE … SET default_transaction_read_only = off")
    } else {
        ok("postgres writing", "a primary that takes writes")
    });
    checks.push(durability(server));
    checks.push(clock(memory.clock_ahead_ms));
    let full = server.connections * 10 >= i64::from(server.max_connections) * 9;
    let connections = format!("{} of {}", server.connections, server.max_connections);
    checks.push(match full {
        true => warn("postgres connections", connections, "raise max_connections, or lower WORKERS and the gateway's pool"),
        false => ok("postgres connections", connections),
    });
    if server.long_transactions > 0 {
        let found = format!("{} open for more than 5 minutes", counted(server.long_transactions.unsigned_abs(), "transaction"));
        checks.push(warn("postgres transactions", found, "they hold up vacuum and new partitions: see pg_stat_activity"));
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
        return vec![warn("schema", "there is none yet", "the first component that starts with DB_MIGRATE=true makes it")];
    };
    let mut checks = vec![match version {
        _ if version < ours => fail(
            "schema",
            format!("version {version}, and this is version {ours}"),
            "start a collector or a gateway of this version with DB_MIGRATE=true as the owner of the tables",
        ),
        _ if version > ours => {
            warn("schema", format!("version {version}, and this knows {ours}"), "this nexus is older than the others: update it")
        }
        _ => ok("schema", format!("version {version}, as it should be")),
    }];
    checks.push(match schema.missing_rights.is_empty() {
        true => ok("rights", "this user may do what a collector does"),
        false => fail("rights", format!("missing: {}", schema.missing_rights.join("; ")), "GRANT them to DB_USER"),
    });
    let days = |tables: &[String]| if tables.len() == 2 { "there" } else { "not there yet" };
    let found = format!("today's {}, tomorrow's {}", days(&schema.today), days(&schema.tomorrow));
    checks.push(match may_create && schema.not_owned.is_empty() {
        true => ok("partitions", format!("{found}; made when they are needed")),
        false => fail(
            "partitions",
            format!("{found}; this user cannot make them"),
            "partitions are made by collectors: DB_USER has to own samples and ledger, with CREATE on their schema",
        ),
    });
    checks
}

/// What flows.
fn pipeline(facts: &Facts, queue: &Queue) -> Vec<Check> {
    let (standing, members) = match (&queue.standing, &queue.members) {
        (Ok(standing), Ok(members)) => (standing, members),
        (Err(error), _) | (_, Err(error)) => {
            return vec![fail("queue", error, "the user of etcd needs the right to read MESSAGE_QUEUE_PREFIX and its siblings")];
        }
    };
    let of = |role: &str| members.iter().filter(|(of, _)| *of == role).count() as u64;
    let mut checks = vec![flow(facts, standing, of("collector"))];
    checks.push(ok(
        "members",
        format!("{}, {}, {}", counted(of("streamer"), "streamer"), counted(of("collector"), "collector"), counted(of("gateway"), "gateway")),
    ));
    let ours = env!("CARGO_PKG_VERSION");
    let others = members.iter().filter(|(_, version)| version.as_deref() != Some(ours)).count();
    if others > 0 {
        checks.push(warn("versions", format!("{others} members are not of version {ours}"), "a rolling upgrade may mix two neighbouring versions, not more"));
    }
    checks.extend(stuck(standing));
    checks.extend(lanes(facts, standing, of("streamer")));
    checks
}

fn flow(facts: &Facts, standing: &Standing, collectors: u64) -> Check {
    let name = "queue";
    let rows: u64 = standing.batches.iter().filter_map(|b| b.manifest.as_ref()).map(|manifest| manifest.rows).sum();
    let batches = counted(standing.batches.len() as u64, "batch");
    let age = |ms: i64| (facts.now.as_millis() - ms).max(0);
    let oldest = standing.batches.first().map(|standee| age(standee.batch.published_ms));
    let waits = standing.batches.iter().find(|standee| standee.holder.is_none());
    let waits = waits.map_or(0, |standee| age(standee.batch.published_ms));
    let found = match oldest {
        None => "empty".to_owned(),
        Some(oldest) => format!("{batches}, {} rows, the oldest {}", count(rows), span(oldest)),
    };
    match (collectors, oldest) {
        (0, Some(_)) => fail(
            name,
            format!("{found}; and no collector is alive"),
            "start a collector (make run-nexus-collector): unread messages expire after MESSAGE_TTL",
        ),
        (0, None) => warn(name, "empty; no collector is alive", "start one before anything is published (make run-nexus-collector)"),
        _ if waits > WAITS_MS => warn(
            name,
            format!("{found}; unclaimed for {}", span(waits)),
            "collectors are slower than streamers, or cannot store: look at their logs, start more, see nexus queue stats",
        ),
        _ => ok(name, found),
    }
}

fn stuck(standing: &Standing) -> Option<Check> {
    let suspects: Vec<_> = standing.batches.iter().filter(|standee| standee.attempts >= SUSPECT).collect();
    let worst = suspects.iter().max_by_key(|standee| standee.attempts)?;
    Some(warn(
        "attempts",
        format!(
            "{} claimed {SUSPECT} times or more, {} {} times",
            counted(suspects.len() as u64, "batch"),
            worst.batch,
            worst.attempts
        ),
        "it may kill its collectors: look at their logs; after MAX_ATTEMPTS it becomes dead letters by itself",
    ))
}

fn lanes(facts: &Facts, standing: &Standing, streamers: u64) -> Vec<Check> {
    let mut checks = Vec::new();
    let unreadable = standing.lanes.values().filter(|cursor| cursor.is_none()).count();
    if unreadable > 0 {
        let found = format!("{unreadable} cursors cannot be read by this version");
        checks.push(warn("lanes", found, "a newer version wrote them: use that one"));
    }
    let newest = standing.lanes.values().flatten().map(|cursor| cursor.last_ms).max();
    let Some(newest) = newest.filter(|newest| *newest > 0) else { return checks };
    let age = facts.now.as_millis() - newest;
    checks.push(match age {
        ..-CLOCK_WARN_MS => warn(
            "publishing",
            format!("the newest batch is {} ahead of this machine's clock", span(-age)),
            "a streamer's clock is wrong, or was: let chrony or ntpd keep the clocks of all machines",
        ),
        QUIET_MS.. if streamers > 0 => warn(
            "publishing",
            format!("nothing for {}, though {} alive", span(age), if streamers == 1 { "a streamer is" } else { "streamers are" }),
            "the sources are at their end or do not grow, or the streamer waits at its high-water mark: look at its log",
        ),
        _ => ok("publishing", format!("{}, the last batch {} ago", counted(standing.lanes.len() as u64, "lane"), span(age.max(0)))),
    });
    checks
}

fn burdens(burden: &Burden) -> Vec<Check> {
    let rows = |rows: i64| counted(rows.unsigned_abs(), "row");
    let last = |at: Option<nexus_common::domain::Timestamp>| at.map_or_else(String::new, |at| format!(", the last at {at}"));
    let reason = burden.dead_reason.as_ref().map_or_else(String::new, |reason| format!("; mostly: {reason}"));
    vec![
        match burden.dead_rows {
            0 => ok("dead letters", "none"),
            dead => warn(
                "dead letters",
                format!("{}{}{reason}", rows(dead), last(burden.dead_newest)),
                "nexus dlq list shows why; repair the cause, then nexus dlq redrive, or nexus dlq purge",
            ),
        },
        match burden.expired_rows {
            0 => ok("expired", "none"),
            expired => warn(
                "expired",
                format!("{}{}", rows(expired), last(burden.expired_newest)),
                "nexus expired list shows their files and lines, nexus expired republish brings them back",
            ),
        },
    ]
}

#[cfg(test)]
mod tests;
