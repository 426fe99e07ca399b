//! An etcd of three members that lose one, and three collectors that do.

use std::time::{Duration, Instant};

use nexus_common::etcd::Client;
use nexus_common::testing::eventually;

use crate::process::Process;
use crate::rows::{expected, file};
use crate::world::{PATIENCE, World};

const ROWS: u64 = 20_000;
/// Of its 400 batches, those that the streamer publishes before it waits for the test.
const BEFORE: u64 = 200;

/// Rows flow through three members.
async fn under_load() -> (World, [Process; 2], Process) {
    let world = World::on_three_members().await;
    let path = world.file("a.csv", file(ROWS));
    let collectors = [world.collector(), world.collector()];
    let streamer = world.waiting_streamer(path.to_str().unwrap(), BEFORE);
    eventually("rows flow", PATIENCE, async || world.accounted().await > 500).await;
    (world, collectors, streamer)
}

async fn ends_well(world: World, collectors: [Process; 2], mut streamer: Process) {
    streamer.succeeds().await;
    world.holds_exactly(&expected(0, ROWS)).await;
    for collector in collectors {
        collector.stop().await;
    }
}

async fn leader(world: &mut World) -> usize {
    for _ in 0..100 {
        for (index, member) in world.members().into_iter().enumerate() {
            if member.leads().await {
                return index;
            }
        }
    }
    panic!("nobody leads");
}

/// Waits until etcd answers and a batch is published that was not when it first did: how long that took.
async fn until_published(client: &Client, lanes: &str) -> Duration {
    let began = Instant::now();
    let cursor = async || {
        let found = client.list(lanes, 1).await.ok()?;
        found.kvs.first().map(|cursor| cursor.mod_revision())
    };
    let mut before = None;
    eventually("publishing goes on", PATIENCE, async || {
        let now = cursor().await;
        before = before.or(now);
        now > before
    })
    .await;
    began.elapsed()
}

/// A client that knows all members but one.
async fn without(world: &mut World, gone: usize) -> Client {
    let members = world.members().into_iter().enumerate().filter(|(index, _)| *index != gone);
    let endpoints: Vec<_> = members.map(|(_, member)| member.endpoint()).collect();
    Client::connect(&endpoints).await.unwrap()
}

#[tokio::test]
async fn the_leader_is_killed() {
    let (mut world, collectors, streamer) = under_load().await;
    let lanes = world.keys().lanes();
    let leader = leader(&mut world).await;
    let client = without(&mut world, leader).await;
    world.members()[leader].kill().await.unwrap();
    // It may have come to the place where it waits before the leader died.
    let (pause, ()) = tokio::join!(until_published(&client, &lanes), streamer.go_on());
    println!("the leader was killed: publishing went on after {} ms", pause.as_millis());
    world.members()[leader].restart().await.unwrap();
    ends_well(world, collectors, streamer).await;
}

#[tokio::test]
async fn a_member_freezes_and_comes_back() {
    let (mut world, collectors, streamer) = under_load().await;
    let lanes = world.keys().lanes();
    // The one that every client asks first.
    let client = without(&mut world, 0).await;
    world.etcd.pause();
    let (pause, ()) = tokio::join!(until_published(&client, &lanes), streamer.go_on());
    println!("a member froze: publishing went on after {} ms", pause.as_millis());
    world.etcd.resume();
    ends_well(world, collectors, streamer).await;
}

#[tokio::test]
async fn all_members_are_restarted_in_turn() {
    let (mut world, collectors, streamer) = under_load().await;
    for member in world.members() {
        member.restart().await.unwrap();
    }
    streamer.go_on().await;
    ends_well(world, collectors, streamer).await;
}

#[tokio::test]
async fn one_of_three_collectors_is_killed() {
    let world = World::new().await;
    // Sixteen batches in a row prefer one collector: of so many each has its share, whatever their ids.
    let path = world.file("a.csv", file(ROWS));
    let others = [world.collector(), world.collector()];
    // It dies with claims in its hands.
    let third = world.faulty("collector", "store.begin=return(kill)", &[]);
    world.until_members("collector", 3).await;
    let mut streamer = world.slow_streamer(path.to_str().unwrap());
    third.dies_at("store.begin").await;
    let died = Instant::now();
    let (client, claims) = (world.client().await, world.keys().claims());
    let held: Vec<_> = client.list(&claims, usize::MAX).await.unwrap().kvs;
    assert!(!held.is_empty());
    eventually("what it held is taken over", PATIENCE, async || {
        let Ok(now) = client.list(&claims, usize::MAX).await else { return false };
        let still = |before: &nexus_common::etcd::KeyValue| {
            now.kvs.iter().any(|kv| kv.key() == before.key() && kv.create_revision() == before.create_revision())
        };
        !held.iter().any(still)
    })
    .await;
    streamer.succeeds().await;
    world.holds_exactly(&expected(0, ROWS)).await;
    println!("a collector was killed: all it held was stored by others {} ms later", died.elapsed().as_millis());
    for collector in others {
        collector.stop().await;
    }
}
