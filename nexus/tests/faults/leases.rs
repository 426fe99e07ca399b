//! Leases that are taken away: of sessions, and of messages.

use std::collections::BTreeSet;

use nexus_common::queue::Manifest;
use nexus_common::testing::eventually;

use crate::rows::{expected, file};
use crate::world::{PATIENCE, World};

const ROWS: u64 = 10_000;

#[tokio::test]
async fn collectors_lose_their_sessions_while_they_work() {
    let world = World::new().await;
    let path = world.file("a.csv", file(ROWS));
    let collectors = [world.collector(), world.collector()];
    let mut streamer = world.slow_streamer(path.to_str().unwrap());
    for _ in 0..5 {
        let before = world.accounted().await;
        eventually("rows flow", PATIENCE, async || {
            let now = world.accounted().await;
            now > before || now >= ROWS as i64
        })
        .await;
        world.end_sessions().await;
    }
    streamer.succeeds().await;
    world.holds_exactly(&expected(0, ROWS)).await;
    for collector in collectors {
        collector.stop().await;
    }
}

/// With all collectors down messages expire, then more are published, and a collector dies with the expired in its
/// hands: each row is stored or recorded as expired, and none is both.
#[tokio::test]
async fn what_expires_while_nobody_reads_is_recorded_once() {
    let world = World::new().await;
    let path = world.file("a.csv", file(3_000));
    world.start("streamer", &[("CSV_FILE", path.to_str().unwrap())]).succeeds().await;
    let (client, keys) = (world.client().await, world.keys());
    let manifests = client.list(&keys.manifests(), usize::MAX).await.unwrap().kvs;
    let leases: BTreeSet<_> = manifests.iter().map(|kv| Manifest::decode(kv.value()).unwrap().lease).collect();
    assert!(leases.len() >= 3, "a thousand messages a lease");
    // All but the youngest.
    for lease in leases.iter().take(leases.len() - 1) {
        client.revoke(*lease).await.unwrap();
    }
    let left = client.count(&keys.messages()).await.unwrap();
    for place in ["store.before_commit", "store.committed"] {
        world.faulty("collector", &format!("{place}=return(kill)"), &[]).dies_at(place).await;
        world.end_sessions().await;
    }
    let collector = world.collector();
    world.until_accounted(3_000).await;
    world.is_drained().await;
    let [rows, stored, dead, expired] = world.sums().await;
    assert_eq!([rows, stored, dead, expired], [3_000, left, 0, 3_000 - left]);
    assert!(stored > 0 && expired >= 1_900, "{stored} stored, {expired} expired");
    assert_eq!(world.ask::<i64>("SELECT count(*) FROM samples").await, Some(left));
    world.lanes_are_whole().await;
    collector.stop().await;
}

/// Messages go while collectors are reading them.
#[tokio::test]
async fn what_expires_while_it_is_read_is_stored_or_recorded() {
    let world = World::new().await;
    let path = world.file("a.csv", file(ROWS));
    let mut streamer = world.slow_streamer(path.to_str().unwrap());
    let (client, keys) = (world.client().await, world.keys());
    let queued = async || client.list(&keys.manifests(), usize::MAX).await.map_or(Vec::new(), |found| found.kvs);
    eventually("a queue builds up", PATIENCE, async || queued().await.len() > 50).await;
    let leases: BTreeSet<_> = queued().await.iter().map(|kv| Manifest::decode(kv.value()).unwrap().lease).collect();
    let collectors = [world.collector(), world.collector()];
    eventually("rows flow", PATIENCE, async || world.accounted().await > 0).await;
    for lease in leases {
        // It may have gone with its last message… or not.
        let _ = client.revoke(lease).await;
    }
    streamer.succeeds().await;
    world.until_accounted(ROWS).await;
    world.is_drained().await;
    let [rows, stored, dead, expired] = world.sums().await;
    assert_eq!((rows, dead, stored + expired), (ROWS as i64, 0, ROWS as i64));
    println!("{stored} rows were stored, {expired} recorded as expired");
    let samples = world.samples().await;
    assert_eq!(samples.len() as i64, stored);
    let input = expected(0, ROWS);
    assert!(samples.iter().all(|(place, value)| input.get(place) == Some(value)));
    world.lanes_are_whole().await;
    for collector in collectors {
        collector.stop().await;
    }
}
