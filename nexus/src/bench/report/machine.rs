//! What it was measured on.

use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use crate::bench::stack::Stack;

/// A machine and what ran on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Machine {
    processor: String,
    processors: usize,
    memory_gib: f64,
    kernel: String,
    /// 4 KiB made durable, before anything else ran.
    disk_p50_ms: f64,
    disk_p99_ms: f64,
    nexus: String,
    etcd: String,
    postgres: String,
}

impl Machine {
    /// Starts both servers once, because they know best which they are.
    pub(super) async fn look(dir: Option<&Path>) -> anyhow::Result<Machine> {
        let stack = Stack::start(dir).await?;
        let disk = stack.disk()?;
        let (etcd, postgres) = stack.versions().await?;
        let commit = first_line("git", &["describe", "--always", "--dirty", "--abbrev=12"]).await;
        let build = if cfg!(debug_assertions) { "debug build" } else { "release build" };
        let commit = commit.map_or_else(String::new, |commit| format!(" at {commit}"));
        let rustc = first_line("rustc", &["--version"]).await.unwrap_or_else(|| "rustc unknown".to_owned());
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let memory_kib =
            field(&read("/proc/meminfo"), "MemTotal").and_then(|text| text.split(' ').next()?.parse().ok());
        Ok(Machine {
            processor: field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown".to_owned()),
            processors: std::thread::available_parallelism().context("counting processors")?.get(),
            memory_gib: (memory_kib.unwrap_or(0.0_f64) / f64::from(1 << 20) * 10.0).round() / 10.0,
            kernel: format!("{} {}", std::env::consts::OS, read("/proc/sys/kernel/osrelease").trim()),
            disk_p50_ms: disk.p50_ms,
            disk_p99_ms: disk.p99_ms,
            nexus: format!("{}{commit} ({build}, {rustc})", env!("CARGO_PKG_VERSION")),
            etcd,
            postgres,
        })
    }

    /// Whether it is the same, but for its disk: that is never twice the same.
    pub(super) fn is(&self, other: &Machine) -> bool {
        let Machine { disk_p50_ms, disk_p99_ms, .. } = *other;
        Machine { disk_p50_ms, disk_p99_ms, ..self.clone() } == *other
    }

    /// Name and value of each line.
    pub(super) fn lines(&self) -> Vec<(&'static str, String)> {
        vec![
            ("processor", format!("{} × {}", self.processors, self.processor)),
            ("memory", format!("{} GiB", self.memory_gib)),
            ("kernel", self.kernel.clone()),
            ("disk, 4 KiB durable", format!("p50 {} ms, p99 {} ms", self.disk_p50_ms, self.disk_p99_ms)),
            ("nexus", self.nexus.clone()),
            ("etcd", self.etcd.clone()),
            ("PostgreSQL", self.postgres.clone()),
        ]
    }
}

#[cfg(test)]
impl Machine {
    pub(super) fn for_a_test() -> Machine {
        let text = || "x".to_owned();
        Machine {
            processor: text(),
            processors: 2,
            memory_gib: 4.0,
            kernel: text(),
            disk_p50_ms: 1.0,
            disk_p99_ms: 2.0,
            nexus: text(),
            etcd: text(),
            postgres: text(),
        }
    }
}

/// The first line that a program prints; `None` where there is no such program.
async fn first_line(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().await.ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).lines().next()?.trim().to_owned())
}

/// The value of the first line `name: value`.
fn field(text: &str, name: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'))?;
    Some(value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_read() {
        let text = "model\t\t: 85\nmodel name\t: A Processor\nMemTotal:       100 kB\n";
        assert_eq!(field(text, "model name").as_deref(), Some("A Processor"));
        assert_eq!(field(text, "MemTotal").as_deref(), Some("100 kB"));
        assert_eq!(field(text, "bogus"), None);
    }
}
