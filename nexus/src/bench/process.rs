//! What processes use, as `/proc` tells it; nothing where there is none. Pages are 4 KiB and ticks a hundredth of a second
//! on every Linux that etcd and PostgreSQL are packaged for.

use std::fs::{read_dir, read_to_string};

use serde::Serialize;

/// What a process and its children have used since they began.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spent {
    /// The most memory the largest of them has had in RAM, with what it shares with others.
    pub(super) peak_mib: f64,
    /// Memory that the largest of them has in RAM now and shares with nobody: without PostgreSQL's shared buffers.
    pub(super) own_mib: f64,
    pub(super) cpu_seconds: f64,
}

impl Spent {
    /// Of these processes together; those that are gone count as nothing.
    pub(super) fn of(pids: &[u32]) -> Spent {
        pids.iter().filter_map(|pid| spent(*pid)).fold(Spent::default(), Spent::and)
    }

    /// Several processes as one: processor time is added, memory is that of the largest.
    pub(super) fn and(self, other: Spent) -> Spent {
        Spent {
            peak_mib: self.peak_mib.max(other.peak_mib),
            own_mib: self.own_mib.max(other.own_mib),
            cpu_seconds: self.cpu_seconds + other.cpu_seconds,
        }
    }
}

/// What a process has used.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Usage {
    /// Memory in RAM now.
    pub(super) rss_mib: f64,
    /// The most it has had.
    pub(super) peak_mib: f64,
    /// Processor time since it started.
    pub(super) cpu_seconds: f64,
    /// Threads now.
    pub(super) threads: u32,
    /// Open files and connections now.
    pub(super) files: u32,
}

/// Of this process alone.
pub(super) fn usage(pid: u32) -> Option<Usage> {
    let statm = read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: f64 = statm.split(' ').nth(1)?.parse().ok()?;
    let entries = |folder: &str| {
        let entries = read_dir(format!("/proc/{pid}/{folder}")).ok()?;
        u32::try_from(entries.count()).ok()
    };
    Some(Usage {
        peak_mib: spent(pid)?.peak_mib,
        rss_mib: (pages * 4.0 / 102.4).round() / 10.0,
        cpu_seconds: ticks(pid, 2)?,
        threads: entries("task")?,
        files: entries("fd")?,
    })
}

/// Of a process, the children it has waited for, and those that run.
pub(super) fn spent(pid: u32) -> Option<Spent> {
    let status = read_to_string(format!("/proc/{pid}/status")).ok()?;
    let mib = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: f64 = value.trim().trim_end_matches(" kB").parse().ok()?;
        Some((kib / 102.4).round() / 10.0)
    };
    let own = Spent { peak_mib: mib("VmHWM:")?, own_mib: mib("RssAnon:")?, cpu_seconds: ticks(pid, 4)? };
    let children = read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|child| spent(child.parse().ok()?));
    Some(children.fold(own, Spent::and))
}

/// The children of this process that run now, each with the first argument it was started with.
pub(super) fn children() -> Vec<(u32, String)> {
    let tasks = read_dir("/proc/self/task").into_iter().flatten().flatten();
    let pids = tasks.filter_map(|task| read_to_string(task.path().join("children")).ok());
    let pids: Vec<u32> =
        pids.flat_map(|pids| pids.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect();
    let argument = |pid| Some(read_to_string(format!("/proc/{pid}/cmdline")).ok()?.split('\0').nth(1)?.to_owned());
    pids.into_iter().filter_map(|pid| Some((pid, argument(pid)?))).collect()
}

/// Processor time of the children that this process has waited for.
pub(super) fn of_ended_children() -> f64 {
    let pid = std::process::id();
    ticks(pid, 4).zip(ticks(pid, 2)).map_or(0.0, |(all, own)| all - own)
}

/// Seconds of processor time: user and system of the process itself, and from the third field on of its ended children.
fn ticks(pid: u32, fields: usize) -> Option<f64> {
    let stat = read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let ticks =
        stat.rsplit_once(") ")?.1.split(' ').skip(11).take(fields).filter_map(|field| field.parse::<f64>().ok());
    Some(ticks.sum::<f64>() / 100.0)
}
