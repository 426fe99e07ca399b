//! Snapshot and watch: nothing is missed, whatever happens to the connection or the history.

use std::collections::BTreeMap;

use nexus_common::domain::Timestamp;
use nexus_common::etcd::{Change, Client, Scope, follow};
use nexus_common::queue::Depth;
use nexus_common::testing::{self, Proxy, eventually};
use serde_json::Value;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::{SOON, bench, claimed, draft, put};

/// A follower behind a line that breaks on command, and what it has been told.
struct Follower {
    proxy: Proxy,
    changes: UnboundedReceiver<Change>,
    known: BTreeMap<String, Vec<u8>>,
    snapshots: usize,
    _task: JoinSet<()>,
}

async fn follower(endpoint: String, prefix: &str) -> Follower {
    let proxy = Proxy::to(endpoint).await;
    let client = Client::connect(&[proxy.endpoint()]).await.unwrap();
    let (tell, changes) = unbounded_channel();
    let scope = Scope::all("test", prefix);
    let mut task = JoinSet::new();
    task.spawn(async move { follow(&client, &scope, |change| tell.send(change).is_ok()).await });
    Follower { proxy, changes, known: BTreeMap::new(), snapshots: 0, _task: task }
}

impl Follower {
    /// Takes changes in until what is known is this.
    async fn until(&mut self, keys: &[(&str, &str)]) {
        let wanted: BTreeMap<_, _> =
            keys.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec())).collect();
        while self.known != wanted {
            let change = timeout(SOON, self.changes.recv()).await;
            let Ok(Some(change)) = change else { panic!("known: {:?}, wanted: {wanted:?}", self.known) };
            match change {
                Change::Snapshot(kvs, _) => {
                    let of = |kv: nexus_common::etcd::KeyValue| {
                        let (key, value) = kv.into_key_value();
                        (String::from_utf8(key).unwrap(), value)
                    };
                    self.known = kvs.into_iter().map(of).collect();
                    self.snapshots += 1;
                }
                Change::Put(kv) => _ = self.known.insert(kv.key_str().unwrap().to_owned(), kv.value().to_vec()),
                Change::Delete(key) => _ = self.known.remove(&key),
                Change::Interrupted | Change::Resumed => {}
            }
        }
    }
}

#[tokio::test]
async fn a_cut_connection_is_resumed_without_listing_again() {
    let bench = bench().await;
    bench.put("/a/1", "x").await;
    bench.put("/b/1", "not ours").await;
    let mut follower = follower(bench.etcd.endpoint(), "/a/").await;
    follower.until(&[("/a/1", "x")]).await;
    bench.put("/a/2", "x").await;
    follower.until(&[("/a/1", "x"), ("/a/2", "x")]).await;
    for round in 0..3 {
        follower.proxy.cut();
        bench.put("/a/1", round.to_string()).await;
        bench.delete("/a/2").await;
        bench.put("/a/3", "x").await;
        follower.proxy.heal();
        follower.until(&[("/a/1", &round.to_string()), ("/a/3", "x")]).await;
        bench.put("/a/2", "x").await;
        bench.delete("/a/3").await;
        follower.until(&[("/a/1", &round.to_string()), ("/a/2", "x")]).await;
    }
    assert_eq!(follower.snapshots, 1);
}

#[tokio::test]
async fn history_that_was_compacted_meanwhile_is_made_up_for() {
    let bench = bench().await;
    bench.put("/a/1", "x").await;
    bench.put("/a/2", "x").await;
    let mut follower = follower(bench.etcd.endpoint(), "/a/").await;
    bench.put("/a/3", "x").await;
    follower.until(&[("/a/1", "x"), ("/a/2", "x"), ("/a/3", "x")]).await;
    follower.proxy.cut();
    bench.delete("/a/1").await;
    bench.put("/a/2", "y").await;
    bench.put("/a/4", "x").await;
    bench.put("/other", "x").await;
    let revision = bench.client.list("/a/", 1).await.unwrap().revision;
    bench.client.compact(revision, true).await.unwrap();
    follower.proxy.heal();
    follower.until(&[("/a/2", "y"), ("/a/3", "x"), ("/a/4", "x")]).await;
    assert_eq!(follower.snapshots, 2, "what cannot be watched is listed");
    bench.put("/a/5", "x").await;
    follower.until(&[("/a/2", "y"), ("/a/3", "x"), ("/a/4", "x"), ("/a/5", "x")]).await;
}

#[tokio::test]
async fn an_etcd_that_was_rebuilt_is_listed_again() {
    let bench = bench().await;
    for n in 0..20 {
        bench.put("/a/1", n.to_string()).await;
    }
    let mut follower = follower(bench.etcd.endpoint(), "/a/").await;
    follower.until(&[("/a/1", "19")]).await;
    let other = testing::etcd().await;
    let client = Client::connect(&other.endpoints()).await.unwrap();
    put(&client, "/a/2", "another life").await;
    follower.proxy.lead_to(other.endpoint());
    follower.proxy.cut();
    follower.proxy.heal();
    follower.until(&[("/a/2", "another life")]).await;
    assert_eq!(follower.snapshots, 2);
}

#[tokio::test]
async fn a_list_of_many_pages_is_of_one_revision() {
    let bench = bench().await;
    for page in 0..60 {
        let puts = (0..100).map(|n| {
            let key = format!("/a/{:05}", page * 100 + n);
            nexus_common::etcd::TxnOp::put(key, "x", None::<nexus_common::etcd::PutOptions>)
        });
        bench.client.txn(nexus_common::etcd::Txn::new().and_then(puts.collect::<Vec<_>>())).await.unwrap();
    }
    let (found, ()) = tokio::join!(bench.client.list("/a/", usize::MAX), async {
        for n in 0..50 {
            bench.delete(&format!("/a/{n:05}")).await;
            bench.put(&format!("/a/later-{n}"), "x").await;
        }
    });
    let found = found.unwrap();
    let newest = found.kvs.iter().map(|kv| kv.mod_revision()).max().unwrap();
    assert!(newest <= found.revision);
    // Each deletion is followed by one addition: at any revision the count is 6,000 or one less.
    assert!((5_999..=6_000).contains(&found.kvs.len()), "{}", found.kvs.len());
    assert_eq!(bench.client.list("/a/", 10).await.unwrap().kvs.len(), 10);
}

#[tokio::test]
async fn depth_follows_the_queue() {
    let bench = bench().await;
    let mut lane = bench.lane("l").await;
    lane.publish(&draft(0..5), &Value::Null).await.unwrap();
    let (mut depth, work) = Depth::follow(bench.client.clone(), &bench.keys);
    let mut task = JoinSet::new();
    task.spawn(work);
    let mut until = async |batches, rows| {
        let is_there =
            |depth: &Option<Depth>| depth.is_some_and(|depth| (depth.batches, depth.rows) == (batches, rows));
        let depth = timeout(SOON, depth.wait_for(is_there)).await.unwrap().unwrap();
        // Who waits was published a moment ago.
        let age = depth.unwrap().oldest_ms.map(|oldest| Timestamp::now().as_millis() - oldest);
        assert!(if batches == 0 { age.is_none() } else { (0..60_000).contains(&age.unwrap()) }, "{age:?}");
    };
    until(1, 5).await;
    lane.publish(&draft(5..12), &Value::Null).await.unwrap();
    until(2, 12).await;
    let consumer = bench.consumer("c");
    let first = claimed(bench.claim_first(&consumer, bench.session().await).await);
    assert!(consumer.ack(&first, None).await.unwrap());
    until(1, 7).await;
    let second = claimed(bench.claim_first(&consumer, bench.session().await).await);
    assert!(consumer.ack(&second, None).await.unwrap());
    until(0, 0).await;
    drop(depth);
    eventually("the follower ends when nobody looks", SOON, async || task.try_join_next().is_some()).await;
}
