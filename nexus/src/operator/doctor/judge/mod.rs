//! What the facts mean, and what to do (pure).

mod etcd;
mod pipeline;
mod postgres;
#[cfg(test)]
mod tests;

use serde::Serialize;

use super::facts::Facts;
use crate::operator::words::counted;

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

/// Every check, in the order in which to repair.
pub(super) fn judge(facts: &Facts) -> Vec<Check> {
    let mut checks = etcd::endpoints(&facts.etcd);
    let statuses: Vec<_> = facts.etcd.iter().filter_map(|(name, status)| Some((name, status.as_ref().ok()?))).collect();
    if !statuses.is_empty() {
        checks.push(etcd::one_cluster(&statuses));
        checks.push(etcd::etcd_version(&statuses));
        checks.extend(statuses.iter().map(|(name, status)| etcd::room(name, status)));
    }
    if let Some(queue) = &facts.queue {
        checks.push(etcd::alarms(queue));
        checks.push(etcd::operations(queue, facts.max_txn_ops));
        checks.push(etcd::writing(queue));
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
        Ok(memory) => checks.extend(postgres::postgres(facts, memory)),
    }
    if let Some(queue) = &facts.queue {
        checks.extend(pipeline::pipeline(facts, queue));
    }
    if let Ok(memory) = &facts.memory {
        checks.extend(match &memory.burden {
            Ok(burden) => pipeline::burdens(burden),
            // Where the schema is missing its own check says so.
            Err(_) => Vec::new(),
        });
    }
    checks.extend(facts.sources.as_ref().map(|(spec, found)| match found {
        Ok(found) => ok("sources", format!("CSV_FILE={spec}: {}, readable", counted(*found as u64, "source"))),
        Err(error) => {
            fail("sources", error, "CSV_FILE names a file, a folder or a glob of CSV exports this user may read")
        }
    }));
    checks
}
