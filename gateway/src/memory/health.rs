//! How a host and its GPUs are (pure). It follows from what the memory holds of them, and from the clock only where somebody
//! is silent: [`super::kept`] goes by that.

use nexus_common::domain::{Condition, Finding, Severity, Status, Thresholds, Timestamp, is_silent};

use super::{Gpu, Machine};

/// How a host is.
#[derive(Debug, PartialEq)]
pub(crate) struct Health {
    /// Degraded where a GPU is missing, never reported, or something worse than idleness is the matter with it.
    pub(crate) status: Status,
    /// Its GPUs, in the machine's order.
    pub(crate) gpus: Vec<GpuHealth>,
    /// What is the matter with those it should have and that never reported, by index.
    pub(crate) never_seen: Vec<(String, Vec<Finding>)>,
    /// Those, and those it goes on without.
    pub(crate) missing: Vec<String>,
    /// Its places for GPUs, by whether they report.
    pub(crate) places: Places,
    /// How many it should have.
    pub(crate) expected: u32,
}

/// How a GPU is.
#[derive(Debug, PartialEq)]
pub(crate) struct GpuHealth {
    /// Degraded where something worse than idleness is the matter with it.
    pub(crate) status: Status,
    /// What is the matter with it.
    pub(crate) findings: Vec<Finding>,
}

/// Places for GPUs on a host, by whether they report.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Places {
    pub(crate) ok: u32,
    pub(crate) stale: u32,
    /// Without any value yet.
    pub(crate) empty: u32,
    /// When the one that reported last did.
    pub(crate) newest: Option<Timestamp>,
    /// The same of the one that has been silent for longest.
    pub(crate) oldest: Option<Timestamp>,
}

impl Health {
    pub(crate) fn of(machine: &Machine, now: Timestamp, thresholds: &Thresholds) -> Self {
        let host = machine.host();
        let places = Places::of(host.times(), now, thresholds);
        let gpus: Vec<_> = machine.gpus().values().map(|gpu| GpuHealth::of(machine, gpu, now, thresholds)).collect();
        let indices = host.never_seen().into_iter().map(|index| index.to_string());
        let never_seen = indices.map(|index| {
            let findings = machine.never_seen_findings(&index, now, thresholds);
            (index, findings)
        });
        let never_seen: Vec<_> = never_seen.collect();
        let reported = machine.gpus().values().all(|gpu| gpu.last_seen.is_some());
        let complete = reported && never_seen.is_empty() && !gpus.iter().any(|gpu| gpu.findings.iter().any(degrades));
        Health {
            status: Status::of(places.newest, now, thresholds.stale_after, complete),
            gpus,
            never_seen,
            missing: host.missing(thresholds.stale_after),
            places,
            expected: host.expected(),
        }
    }

    /// What is the matter with its GPUs, those that never reported among them.
    pub(crate) fn findings(&self) -> impl Iterator<Item = &Finding> {
        let never_seen = self.never_seen.iter().flat_map(|(_, findings)| findings);
        self.gpus.iter().flat_map(|gpu| &gpu.findings).chain(never_seen)
    }
}

impl GpuHealth {
    fn of(machine: &Machine, gpu: &Gpu, now: Timestamp, thresholds: &Thresholds) -> Self {
        let findings = machine.findings(gpu, now, thresholds);
        let status = Status::of(gpu.last_seen, now, thresholds.stale_after, !findings.iter().any(degrades));
        GpuHealth { status, findings }
    }
}

/// Idle GPUs cost money, but nothing is wrong with them; and what only deserves a notice does not degrade a host.
fn degrades(finding: &Finding) -> bool {
    finding.condition != Condition::IdleAllocated && finding.severity >= Severity::Warning
}

impl Places {
    pub(crate) fn count(&self) -> u32 {
        self.ok + self.stale + self.empty
    }

    fn of(times: impl Iterator<Item = Option<Timestamp>>, now: Timestamp, thresholds: &Thresholds) -> Self {
        let mut places = Places::default();
        for seen in times {
            *match seen {
                None => &mut places.empty,
                Some(seen) if is_silent(seen, now, thresholds.stale_after) => &mut places.stale,
                Some(_) => &mut places.ok,
            } += 1;
            places.newest = places.newest.max(seen);
            places.oldest = [places.oldest, seen].into_iter().flatten().min();
        }
        places
    }
}
