//! Things that die, and come back, or do not.

use std::time::Duration;

use nexus_common::queue::Lane;
use nexus_common::testing::eventually;
use nix::sys::signal::Signal;

use crate::rows::{expected, file};
use crate::world::{PATIENCE, World};

const ROWS: u64 = 10_000;

#[tokio::test]
async fn two_collectors_share_the_work_and_one_is_killed() {
    let world = World::new().await;
    let path = world.file("a.csv", file(ROWS));
    let (first, second) = (world.collector(), world.collector());
    // Whoever is alone takes everything.
    world.until_members("collector", 2).await;
    let mut streamer = world.slow_streamer(path.to_str().unwrap());
    eventually("both have stored", PATIENCE, async || {
        world.ask::<i64>("SELECT count(DISTINCT collector) FROM ledger").await == Some(2)
    })
    .await;
    first.kill().await;
    streamer.succeeds().await;
    world.holds_exactly(&expected(0, ROWS)).await;
    second.stop().await;
}

#[tokio::test]
async fn what_a_dead_collector_held_is_taken_over() {
    let world = World::new().await;
    let path = world.file("a.csv", file(2_000));
    // It claims, and can store nothing: a paused PostgreSQL answers nobody.
    let first = world.collector();
    let (client, claims, members) = (world.client().await, world.keys().claims(), world.keys().members("collector"));
    eventually("it is a member", PATIENCE, async || client.count(&members).await.is_ok_and(|count| count > 0)).await;
    world.postgres.pause();
    world.slow_streamer(path.to_str().unwrap()).succeeds().await;
    eventually("it claims", PATIENCE, async || client.count(&claims).await.is_ok_and(|count| count > 0)).await;
    // What a session holds is free ten seconds after its collector's death, however long the rows may wait.
    for claim in client.list(&claims, usize::MAX).await.unwrap().kvs {
        assert!(client.time_left(claim.lease()).await.unwrap() <= Some(Duration::from_secs(10)));
    }
    first.kill().await;
    world.postgres.resume();
    let second = world.collector();
    world.holds_exactly(&expected(0, 2_000)).await;
    second.stop().await;
}

#[tokio::test]
async fn a_killed_streamer_goes_on_behind_its_last_row() {
    let world = World::new().await;
    let path = world.file("a.csv", file(ROWS));
    let collector = world.collector();
    for at in [1_000, 3_000, 5_000] {
        let streamer = world.slow_streamer(path.to_str().unwrap());
        eventually("it is under way", PATIENCE, async || world.accounted().await > at).await;
        streamer.kill().await;
    }
    world.slow_streamer(path.to_str().unwrap()).succeeds().await;
    world.holds_exactly(&expected(0, ROWS)).await;
    // And once more there is nothing to do.
    world.slow_streamer(path.to_str().unwrap()).succeeds().await;
    world.holds_exactly(&expected(0, ROWS)).await;
    collector.stop().await;
}

#[tokio::test]
async fn rolling_restarts_bury_nothing() {
    let world = World::new().await;
    let path = world.file("a.csv", file(ROWS));
    let mut collectors = [world.collector(), world.collector()];
    let mut streamer = world.slow_streamer(path.to_str().unwrap());
    for round in 1..=6 {
        let before = world.accounted().await;
        eventually(format!("work goes on in round {round}"), PATIENCE, async || {
            let now = world.accounted().await;
            now > before || now >= ROWS as i64
        })
        .await;
        for collector in &mut collectors {
            std::mem::replace(collector, world.collector()).stop().await;
        }
    }
    streamer.succeeds().await;
    world.holds_exactly(&expected(0, ROWS)).await;
}

#[tokio::test]
async fn postgres_and_then_etcd_go_away_and_come_back() {
    let mut world = World::new().await;
    let path = world.file("a.csv", file(ROWS));
    let collector = world.collector();
    let mut streamer = world.waiting_streamer(path.to_str().unwrap(), 180);
    eventually("work is under way", PATIENCE, async || world.accounted().await > 1_000).await;
    world.postgres.kill().await.unwrap();
    streamer.go_on().await;
    let claims = world.keys().claims();
    let client = world.client().await;
    eventually("claims are kept", PATIENCE, async || client.count(&claims).await.is_ok_and(|count| count > 0)).await;
    world.postgres.restart().await.unwrap();
    let before = world.accounted().await;
    eventually("it is stored on", PATIENCE, async || world.accounted().await > before).await;
    world.etcd.kill().await.unwrap();
    world.etcd.restart().await.unwrap();
    streamer.succeeds().await;
    world.holds_exactly(&expected(0, ROWS)).await;
    collector.stop().await;
}

#[tokio::test]
async fn a_frozen_collector_wakes_up_and_changes_nothing() {
    let world = World::new().await;
    let path = world.file("a.csv", file(ROWS));
    let zombie = world.collector();
    let mut streamer = world.slow_streamer(path.to_str().unwrap());
    eventually("work is under way", PATIENCE, async || world.accounted().await > 1_000).await;
    zombie.signal(Signal::SIGSTOP);
    let second = world.collector();
    streamer.succeeds().await;
    // Its claims expire with its session; the other one takes them.
    world.holds_exactly(&expected(0, ROWS)).await;
    zombie.signal(Signal::SIGCONT);
    zombie.stop().await;
    world.holds_exactly(&expected(0, ROWS)).await;
    second.stop().await;
}

#[tokio::test]
async fn a_second_streamer_on_a_lane_fences_the_first() {
    let world = World::new().await;
    let path = world.file("a.csv", file(ROWS));
    let collector = world.collector();
    let mut first = world.waiting_streamer(path.to_str().unwrap(), 20);
    first.freezes().await;
    let mut second = world.slow_streamer(path.to_str().unwrap());
    let (client, keys) = (world.client().await, world.keys());
    let lane = Lane::named(&client, &keys, "").await.unwrap().remove(0);
    eventually(
        "the second has opened the lane",
        PATIENCE,
        async || matches!(Lane::look(&client, &keys, &lane).await, Ok(Some(cursor)) if cursor.epoch > 1),
    )
    .await;
    first.signal(Signal::SIGCONT);
    assert_eq!(first.ended().await.code(), Some(1));
    assert!(first.log().contains("another producer has taken over"), "{}", first.log());
    second.succeeds().await;
    world.holds_exactly(&expected(0, ROWS)).await;
    collector.stop().await;
}
