//! What etcd's own state means.

use nexus_common::etcd::Status;

use super::super::facts::{Queue, Trouble};
use super::{Check, fail, ok, warn};
use crate::operator::words::{bytes, counted};

/// An etcd that is slower than this slows everything.
const SLOW_MS: u128 = 200;

pub(super) fn endpoints(etcd: &[(String, Result<Status, String>)]) -> Vec<Check> {
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
            Err(error) => fail(
                &name,
                error,
                "start etcd (make setup-etcd starts a local one), or say with ETCD_ENDPOINTS where it is",
            ),
        }
    };
    etcd.iter().map(check).collect()
}

pub(super) fn one_cluster(statuses: &[(&String, &Status)]) -> Check {
    let mut clusters: Vec<u64> = statuses.iter().map(|(_, status)| status.cluster).collect();
    clusters.sort_unstable();
    clusters.dedup();
    let mut leaders: Vec<u64> = statuses.iter().map(|(_, status)| status.leader).collect();
    leaders.sort_unstable();
    leaders.dedup();
    let name = "etcd cluster";
    if clusters.len() > 1 {
        let remedy =
            "ETCD_ENDPOINTS may only name members of one cluster: rows published to one are not seen in another";
        return fail(name, format!("the endpoints belong to {} different clusters", clusters.len()), remedy);
    }
    if leaders.len() > 1 {
        return warn(
            name,
            "the members do not agree on a leader",
            "an election is under way, or the network is split: look again",
        );
    }
    let cluster = clusters.first().copied().unwrap_or(0);
    ok(name, format!("{cluster:x}, {}, one leader", counted(statuses.len() as u64, "member")))
}

pub(super) fn etcd_version(statuses: &[(&String, &Status)]) -> Check {
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

pub(super) fn room(address: &str, status: &Status) -> Check {
    let name = format!("etcd room {address}");
    let Some(quota) = status.quota_bytes else {
        return ok(&name, format!("{} in the file; the quota is not told", bytes(status.file_bytes)));
    };
    let share = |part: u64| u128::from(part) * 100 / u128::from(quota.max(1));
    let (file, used) = (share(status.file_bytes), share(status.used_bytes));
    let found =
        format!("{} of {} ({file} %), {} in use", bytes(status.file_bytes), bytes(quota), bytes(status.used_bytes));
    match (file, used) {
        (0..80, _) => ok(&name, found),
        (_, 0..60) => warn(
            &name,
            found,
            "most of the file is free inside: etcdctl defrag, one member after the other (collectors with ETCD_UPKEEP=true do it)",
        ),
        (80..95, _) => {
            warn(&name, found, "more is queued than is stored: start collectors, or raise --quota-backend-bytes")
        }
        _ => fail(
            &name,
            found,
            "at 100 % etcd takes no writes: start collectors, compact and defragment, or raise --quota-backend-bytes",
        ),
    }
}

pub(super) fn alarms(queue: &Queue) -> Check {
    let name = "etcd alarms";
    match &queue.alarms {
        Err(error) => warn(name, error, "look again; a user without the root role may not see alarms"),
        Ok(alarms) if alarms.iter().any(|alarm| alarm.name == "CORRUPT") => fail(
            name,
            "CORRUPT: a member's data differs from the others'",
            "take that member out, and add it again empty",
        ),
        Ok(alarms) if alarms.is_empty() => ok(name, "none"),
        Ok(_) => fail(
            name,
            "NOSPACE: the quota is used up, nothing can be published",
            "let collectors run, they drain a full etcd (with ETCD_UPKEEP=true they also recover it); by hand then: etcdctl compact, defrag, alarm disarm",
        ),
    }
}

pub(super) fn operations(queue: &Queue, max_txn_ops: u32) -> Check {
    let name = "etcd transactions";
    match &queue.operations {
        Ok(()) => ok(name, format!("take MAX_TXN_OPS={max_txn_ops} operations")),
        Err(Trouble::TooLarge) => fail(
            name,
            format!("the server takes fewer than MAX_TXN_OPS={max_txn_ops} operations"),
            "set MAX_TXN_OPS to the server's --max-txn-ops (128 unless it says otherwise), or raise that",
        ),
        Err(Trouble::NoSpace) => ok(name, "not tried: no space"),
        Err(Trouble::Other(error)) => {
            fail(name, error, "the user of etcd needs the right to read below MESSAGE_QUEUE_PREFIX and beside it")
        }
    }
}

pub(super) fn writing(queue: &Queue) -> Check {
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
