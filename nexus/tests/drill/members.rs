//! One member of an etcd of three: lost, and replaced by what `docs/BACKUP.md` has people type.

use std::fs;
use std::process::Output;

use nexus_common::testing::{TestEtcd, eventually};
use tokio::process::Command;

use crate::plant::{Plant, peer_url};
use crate::world::PATIENCE;

impl Plant {
    pub(crate) fn member(&mut self, which: usize) -> &mut TestEtcd {
        self.world.members().swap_remove(which)
    }

    /// It is gone, and its volume with it.
    pub(crate) async fn destroy_member(&mut self, which: usize) {
        let member = self.member(which);
        member.kill().await.unwrap();
        fs::remove_dir_all(member.data()).unwrap();
    }

    /// It leaves, joins under a new id, and takes its data from the others.
    pub(crate) async fn replace_member(&mut self, which: usize) {
        let (name, cluster) = (self.member(which).name().to_owned(), self.member(which).cluster().to_owned());
        let listed = self.etcdctl(which, &["member", "list"]).await;
        let listed = String::from_utf8(listed.stdout).unwrap();
        let id = listed.lines().find(|line| line.contains(&name)).and_then(|line| line.split(',').next()).unwrap();
        let removed = self.etcdctl(which, &["member", "remove", id]).await;
        assert!(removed.status.success(), "{removed:?}");
        let peer = peer_url(&cluster, &name);
        let peers = format!("--peer-urls={peer}");
        // Members that have seen each other for less than five seconds take none in: `unhealthy cluster`.
        let add = ["member", "add", &name, &peers];
        eventually("it is added", PATIENCE, async || {
            // An attempt that timed out may have added it all the same.
            let listed = async || String::from_utf8(self.etcdctl(which, &["member", "list"]).await.stdout).unwrap();
            self.etcdctl(which, &add).await.status.success() || listed().await.contains(peer)
        })
        .await;
        // What it wrote when it tried to begin a cluster of its own.
        let data = self.member(which).data();
        if data.exists() {
            fs::remove_dir_all(data).unwrap();
        }
        // The runbook's ETCD_INITIAL_CLUSTER_STATE; ETCD_INITIAL_CLUSTER is as it was.
        self.member(which).restart_with(&["--initial-cluster-state=existing"]).await.unwrap();
    }

    /// How many members answer reads, and writes with them.
    pub(crate) async fn healthy_members(&mut self) -> usize {
        let mut healthy = 0;
        for member in self.world.members() {
            let said = ask(&[member.endpoint()], &["endpoint", "health"]).await;
            healthy += usize::from(said.status.success());
        }
        healthy
    }

    /// Asks the members but this one.
    async fn etcdctl(&self, but: usize, arguments: &[&str]) -> Output {
        let all = std::iter::once(&self.world.etcd).chain(&self.world.others).map(|member| member.endpoint());
        let others: Vec<_> = all.enumerate().filter(|(which, _)| *which != but).map(|(_, endpoint)| endpoint).collect();
        ask(&others, arguments).await
    }
}

async fn ask(endpoints: &[String], arguments: &[&str]) -> Output {
    let mut etcdctl = Command::new("etcdctl");
    etcdctl.env("ETCDCTL_API", "3").env("ETCDCTL_ENDPOINTS", endpoints.join(",")).args(arguments).kill_on_drop(true);
    let output = etcdctl.output().await.unwrap();
    println!("    $ etcdctl {}\n{}", arguments.join(" "), String::from_utf8_lossy(&output.stdout));
    output
}
