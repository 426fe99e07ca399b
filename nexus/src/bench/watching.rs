//! What is looked at while rows flow: how full etcd is, how long the queue is, and where time goes.
//!
//! A look costs one request to each server, on connections that stay. What it finds is a profile that every run carries:
//! how long etcd waited for its disk, and what PostgreSQL's backends were doing when they were looked at.

use std::collections::BTreeMap;

use anyhow::Context;
use nexus_common::etcd::Client;
use serde::Serialize;
use tokio_postgres::NoTls;
use tokio_util::task::AbortOnDropHandle;

use super::figures::rounded;
use super::process::Spent;
use super::stack::Stack;

/// Whose memory and processor time are told.
pub(super) const ROLES: [&str; 5] = ["streamer", "collector", "gateway", "etcd", "postgres"];

/// Keeps what was the most, and what was how often.
pub(super) struct Watch {
    etcd: Client,
    postgres: tokio_postgres::Client,
    _connection: AbortOnDropHandle<()>,
    metrics: String,
    disk_before: EtcdDisk,
    peaks: Peaks,
    looks: u32,
    waits: BTreeMap<String, u32>,
}

/// The most of everything that is looked at.
#[derive(Debug, Clone, Default)]
pub(super) struct Peaks {
    pub(super) etcd_file_bytes: u64,
    pub(super) queued_rows: u64,
    /// The largest process of each role.
    pub(super) own_mib: BTreeMap<&'static str, f64>,
}

/// Where time went.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Profile {
    /// Processors each role kept busy, of all that there are.
    cores: BTreeMap<&'static str, f64>,
    etcd: EtcdDisk,
    /// What the collectors' backends in PostgreSQL were doing: how many of them at a moment, on average. `running` is at
    /// work; `asked for nothing` is in a transaction and waits for the collector.
    postgres: BTreeMap<String, f64>,
}

/// How often and how long etcd waited for its disk.
#[derive(Debug, Clone, Copy, Default, Serialize)]
struct EtcdDisk {
    wal_syncs: f64,
    wal_sync_seconds: f64,
    backend_commits: f64,
    backend_commit_seconds: f64,
}

impl Watch {
    pub(super) async fn start(stack: &Stack) -> anyhow::Result<Watch> {
        let (postgres, connection) = stack.postgres_config().connect(NoTls).await?;
        #[expect(clippy::disallowed_methods, reason = "ends with the handle")]
        let connection = AbortOnDropHandle::new(tokio::spawn(async move {
            // Its client is told.
            let _ = connection.await;
        }));
        let metrics = format!("http://{}/metrics", stack.etcd_endpoint());
        Ok(Watch {
            etcd: stack.client().await?,
            postgres,
            _connection: connection,
            disk_before: etcd_disk(&metrics).await?,
            metrics,
            peaks: Peaks::default(),
            looks: 0,
            waits: BTreeMap::new(),
        })
    }

    /// One look; `spent` is what the roles have used so far.
    pub(super) async fn look(&mut self, queued_rows: u64, spent: &[(&'static str, Spent)]) -> anyhow::Result<()> {
        let Peaks { etcd_file_bytes, queued_rows: most_queued, own_mib } = &mut self.peaks;
        *etcd_file_bytes = self.etcd.health().await?.file_bytes.max(*etcd_file_bytes);
        *most_queued = queued_rows.max(*most_queued);
        for (role, spent) in spent {
            let most: &mut f64 = own_mib.entry(role).or_default();
            *most = most.max(spent.own_mib);
        }
        for row in self.postgres.query(include_str!("waits.sql"), &[]).await? {
            *self.waits.entry(row.get(0)).or_default() += u32::try_from(row.get::<_, i64>(1))?;
        }
        self.looks += 1;
        Ok(())
    }

    /// What was the most, and where the time went.
    pub(super) async fn end(self, seconds: f64, cpu: &[(&'static str, f64)]) -> anyhow::Result<(Peaks, Profile)> {
        let etcd = etcd_disk(&self.metrics).await?.since(self.disk_before);
        let share = |count: u32| rounded(f64::from(count) / f64::from(self.looks.max(1)));
        let profile = Profile {
            cores: cpu.iter().map(|(role, used)| (*role, rounded(used / seconds))).collect(),
            etcd,
            postgres: self.waits.into_iter().map(|(what, count)| (what, share(count))).collect(),
        };
        Ok((self.peaks, profile))
    }
}

impl EtcdDisk {
    fn since(self, before: EtcdDisk) -> EtcdDisk {
        EtcdDisk {
            wal_syncs: self.wal_syncs - before.wal_syncs,
            wal_sync_seconds: rounded(self.wal_sync_seconds - before.wal_sync_seconds),
            backend_commits: self.backend_commits - before.backend_commits,
            backend_commit_seconds: rounded(self.backend_commit_seconds - before.backend_commit_seconds),
        }
    }
}

async fn etcd_disk(metrics: &str) -> anyhow::Result<EtcdDisk> {
    let text = reqwest::get(metrics).await?.text().await?;
    let of = |name: &str| counter(&text, name).with_context(|| format!("etcd tells no {name}"));
    Ok(EtcdDisk {
        wal_syncs: of("etcd_disk_wal_fsync_duration_seconds_count")?,
        wal_sync_seconds: of("etcd_disk_wal_fsync_duration_seconds_sum")?,
        backend_commits: of("etcd_disk_backend_commit_duration_seconds_count")?,
        backend_commit_seconds: of("etcd_disk_backend_commit_duration_seconds_sum")?,
    })
}

/// A metric without labels, of Prometheus's text.
fn counter(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_told_from_those_whose_names_begin_like_it() {
        let text =
            "# TYPE a_seconds histogram\na_seconds_bucket{le=\"1\"} 4\na_seconds_sum 1.5\na_seconds_sum_more 7\n";
        assert_eq!(counter(text, "a_seconds_sum"), Some(1.5));
        assert_eq!(counter(text, "a_seconds"), None);
    }
}
