//! An etcd of several members for one test: each a process of its own, to be killed, frozen and started again.

use futures_util::future::join_all;

use super::servers::etcd_options;
use super::{TestEtcd, folder};
use crate::servers::{Etcd, EtcdOptions, Membership, free_port};

/// Starts an etcd of so many members, with heartbeat and election as a server has them that comes from a package.
///
/// # Panics
/// Where it does not start, with the reason.
pub async fn etcd_cluster(members: usize) -> Vec<TestEtcd> {
    etcd_cluster_with(members, |_| ()).await
}

/// Starts an etcd of so many members with other options.
///
/// # Panics
/// Where it does not start, with the reason.
pub async fn etcd_cluster_with(members: usize, change: impl Fn(&mut EtcdOptions)) -> Vec<TestEtcd> {
    // A free port can be taken by somebody else between the look and the use.
    for _ in 0..4 {
        if let Ok(cluster) = start(members, &change).await {
            return cluster;
        }
    }
    start(members, &change).await.unwrap_or_else(|error| panic!("{error}"))
}

async fn start(members: usize, change: &impl Fn(&mut EtcdOptions)) -> Result<Vec<TestEtcd>, crate::servers::Error> {
    let folders: Vec<_> = (0..members).map(|_| folder()).collect();
    let mut all: Vec<_> = folders.iter().map(|folder| etcd_options(folder.path())).collect();
    let mut ports = Vec::new();
    for options in &mut all {
        change(options);
        options.client_port = free_port()?;
        ports.push(free_port()?);
    }
    let named = all.iter().zip(&ports).map(|(options, port)| format!("{}=http://127.0.0.1:{port}", options.name()));
    let cluster = named.collect::<Vec<_>>().join(",");
    for (options, peer_port) in all.iter_mut().zip(ports) {
        options.membership = Some(Membership { peer_port, cluster: cluster.clone() });
    }
    let started = join_all(all.iter().map(Etcd::start)).await;
    let started = started.into_iter().collect::<Result<Vec<_>, _>>()?;
    // From here on the folders are the guards' to remove.
    folders.into_iter().for_each(|folder| _ = folder.keep());
    Ok(started.into_iter().map(TestEtcd).collect())
}
