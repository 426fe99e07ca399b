//! Coming back with `since`.

use std::time::Duration;

use nexus_common::queue::Feed;
use serde_json::json;
use tokio::task::JoinSet;

use crate::world::{World, put, sample};

#[tokio::test]
async fn a_client_goes_on_at_another_gateway_and_sees_every_revision_once() {
    let world = World::new().await;
    let gateways = [world.gateway().await, world.gateway().await];
    // Both have to be there before the first frame: what was before a gateway is a gap.
    let mut client = gateways[0].all("").await;
    drop(gateways[1].all("").await);
    let (mut putting, etcd) = (JoinSet::new(), world.client.clone());
    putting.spawn(async move {
        let mut revisions = Vec::new();
        for n in 0..600 {
            let samples = vec![sample("h", "0", &[("power_watts", f64::from(n))])];
            revisions.push(put(&etcd, "alpha", Feed::encode("b", samples, 0)).await);
        }
        revisions
    });
    let (mut seen, mut turn) = (Vec::new(), 0);
    while seen.len() < 600 {
        let mut position = String::new();
        for _ in 0..40.min(600 - seen.len()) {
            let frame = client.frame().await;
            seen.push(frame["revision"].as_i64().unwrap());
            frame["position"].as_str().unwrap().clone_into(&mut position);
        }
        turn += 1;
        client = gateways[turn % 2].connect(&format!("?mode=all&since={position}")).await;
    }
    let put = putting.join_next().await.unwrap().unwrap();
    assert_eq!(seen, put);
    client.is_quiet().await;
}

#[tokio::test]
async fn beyond_the_ring_there_is_a_gap() {
    let world = World::new().await;
    let gateway = world.gateway_with(|config| config.bounds.ring_bytes = 4_000).await;
    let mut client = gateway.all("").await;
    let mut positions = Vec::new();
    for watts in 0..50 {
        world.power("h", "0", f64::from(watts)).await;
        positions.push(client.next().await["position"].clone());
    }
    let mut late = gateway.connect(&format!("?mode=all&since={}", positions[0].as_str().unwrap())).await;
    let gap = late.next().await;
    assert_eq!((&gap["type"], &gap["after"]), (&json!("gap"), &positions[0]));
    assert!(gap["reason"].as_str().unwrap().contains("LIVE_RING_BYTES"), "{gap}");
    let before = positions.iter().position(|position| *position == gap["before"]).unwrap();
    assert_eq!(gap["position"], positions[before - 1], "what comes next follows it");
    for position in &positions[before..] {
        assert_eq!(late.next().await["position"], *position);
    }
    // Where the position is that of the gap, nothing is missing.
    let query = format!("?mode=all&since={}", gap["position"].as_str().unwrap());
    assert_eq!(gateway.connect(&query).await.next().await["position"], positions[before]);
    // The newest values need no frames of old; the gap is told all the same.
    let mut latest = gateway.connect(&format!("?since={}", positions[0].as_str().unwrap())).await;
    let gap = latest.next().await;
    assert_eq!((&gap["type"], &gap["position"]), (&json!("gap"), &positions[49]));
}

#[tokio::test]
async fn frames_are_kept_for_their_time_only() {
    let world = World::new().await;
    let gateway = world.gateway_with(|config| config.bounds.ring_time = Duration::from_millis(200)).await;
    let mut client = gateway.all("").await;
    let mut positions = Vec::new();
    for watts in 0..2 {
        world.power("h", "0", f64::from(watts)).await;
        positions.push(client.next().await["position"].as_str().unwrap().to_owned());
    }
    nexus_common::testing::eventually("the first frame is gone", crate::world::PATIENCE, async || {
        let mut late = gateway.connect(&format!("?mode=all&since={}", positions[0])).await;
        late.next().await["type"] == "gap"
    })
    .await;
    let mut late = gateway.connect(&format!("?mode=all&since={}", positions[1])).await;
    late.is_quiet().await;
}

#[tokio::test]
async fn a_position_that_this_gateway_has_not_reached_is_waited_for() {
    let world = World::new().await;
    let gateway = world.gateway().await;
    let mut first = gateway.all("").await;
    world.power("h", "0", 1.0).await;
    let position = first.next().await["position"].as_str().unwrap().to_owned();
    let (store, revision) = position.split_once('.').unwrap();
    let ahead = revision.parse::<i64>().unwrap() + 2;
    let mut client = gateway.connect(&format!("?mode=all&since={store}.{ahead}")).await;
    world.power("h", "0", 2.0).await;
    world.power("h", "0", 3.0).await;
    let next = world.power("h", "0", 4.0).await;
    assert_eq!((client.revision().await, next), (ahead + 1, ahead + 1));
}

#[tokio::test]
async fn a_position_of_another_store_is_a_gap() {
    let world = World::new().await;
    let gateway = world.gateway().await;
    drop(gateway.all("").await);
    let revision = world.power("h", "0", 1.0).await;
    let mut client = gateway.connect("?mode=all&since=0123456789abcdef.1").await;
    let gap = client.next().await;
    assert!(gap["reason"].as_str().unwrap().contains("another store"), "{gap}");
    assert_eq!(gap["after"], "0123456789abcdef.1");
    assert_eq!(client.revision().await, revision, "what is held follows");
}

#[tokio::test]
async fn what_was_never_told_is_a_gap() {
    let world = World::new().await;
    let gateway = world.gateway().await;
    let mut client = gateway.all("cluster_id=alpha").await;
    let mut elsewhere = gateway.all("cluster_id=beta").await;
    let after = world.power("h", "0", 1.0).await;
    assert_eq!(client.revision().await, after);
    let feed = json!({"v": 1, "batch": "b", "untold": 7, "left_out": 3, "samples": [
        {"host_id": "h", "gpu_id": "0", "timestamp_us": 1, "data": {"xid": 0}},
    ]});
    let revision = world.put("alpha", feed.to_string()).await;
    let gap = client.next().await;
    assert_eq!(gap["type"], "gap");
    assert!(gap["reason"].as_str().unwrap().starts_with("7 batches were stored without being told"), "{gap}");
    assert!(gap["after"].as_str().unwrap().ends_with(&format!(".{after}")), "{gap}");
    assert!(gap["before"].as_str().unwrap().ends_with(&format!(".{revision}")), "{gap}");
    let frame = client.next().await;
    assert_eq!((&frame["revision"], &frame["left_out"]), (&json!(revision), &json!(3)));

    for (value, reason) in [
        (json!({"v": 99, "batch": "b", "samples": []}), "a newer collector"),
        (json!({"v": 99, "entries": "otherwise"}), "a newer collector"),
        (json!("nonsense"), "cannot be read"),
    ] {
        world.put("alpha", value.to_string()).await;
        let gap = client.next().await;
        assert_eq!(gap["type"], "gap");
        assert!(gap["reason"].as_str().unwrap().contains(reason), "{gap}");
    }
    let next = world.power("h", "0", 2.0).await;
    assert_eq!(client.revision().await, next);
    elsewhere.is_quiet().await;
}
