//! What the rows on their way mean, and those that did not arrive.

use nexus_common::books::health::Burden;
use nexus_common::queue::Standing;

use super::super::facts::{Facts, Queue};
use super::{Check, fail, ok, warn};
use crate::operator::table::count;
use crate::operator::words::{counted, span};

/// A batch that waits longer while collectors are alive is not being taken.
const WAITS_MS: i64 = 60_000;
/// A streamer that is alive and publishes nothing for so long has nothing to read, or stands.
const QUIET_MS: i64 = 600_000;
/// From this attempt on a batch is suspected of killing collectors.
const SUSPECT: u32 = 3;
/// A clock that is further ahead than this is wrong.
const AHEAD_MS: i64 = 2_000;

/// What flows.
pub(super) fn pipeline(facts: &Facts, queue: &Queue) -> Vec<Check> {
    let (standing, members) = match (&queue.standing, &queue.members) {
        (Ok(standing), Ok(members)) => (standing, members),
        (Err(error), _) | (_, Err(error)) => {
            return vec![fail(
                "queue",
                error,
                "the user of etcd needs the right to read MESSAGE_QUEUE_PREFIX and its siblings",
            )];
        }
    };
    let of = |role: &str| members.iter().filter(|(of, _)| *of == role).count() as u64;
    let mut checks = vec![flow(facts, standing, of("collector"))];
    checks.push(ok(
        "members",
        format!("{}, {}", counted(of("streamer"), "streamer"), counted(of("collector"), "collector")),
    ));
    let ours = env!("CARGO_PKG_VERSION");
    let others = members.iter().filter(|(_, version)| version.as_deref() != Some(ours)).count();
    if others > 0 {
        checks.push(warn(
            "versions",
            format!("{others} members are not of version {ours}"),
            "a rolling upgrade may mix two neighbouring versions, not more",
        ));
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
        (0, None) => warn(
            name,
            "empty; no collector is alive",
            "start one before anything is published (make run-nexus-collector)",
        ),
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
        _ if age < -AHEAD_MS => warn(
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

pub(super) fn burdens(burden: &Burden) -> Vec<Check> {
    let rows = |rows: i64| counted(rows.unsigned_abs(), "row");
    let last =
        |at: Option<nexus_common::domain::Timestamp>| at.map_or_else(String::new, |at| format!(", the last at {at}"));
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
