//! Clients that do not keep up.

use serde_json::Value;

use crate::client::{Client, more_than_is_buffered};
use crate::world::{Gateway, World, sample};

/// One frame of about 20 KiB.
fn large(watts: f64) -> Vec<nexus_common::queue::FeedSample> {
    (0..200).map(|n| sample(&format!("host-{n:04}"), "0", &[("power_watts", watts)])).collect()
}

/// Tells frames to a client that does not read, until its connection is full and some wait besides.
async fn fill(world: &World, gateway: &Gateway, query: &str) -> (Client, Vec<i64>) {
    let slow = Client::connect_narrow(gateway.address, query).await;
    let mut witness = gateway.all("").await;
    let mut revisions = Vec::new();
    for watts in 0..u32::try_from(more_than_is_buffered() / (20 << 10)).unwrap() {
        revisions.push(world.tell("alpha", large(f64::from(watts))).await);
        witness.revision().await;
    }
    (slow, revisions)
}

#[tokio::test]
async fn a_slow_client_gets_the_newest_values_and_is_told_what_was_merged() {
    let world = World::new().await;
    let gateway = world.gateway().await;
    let (mut slow, revisions) = fill(&world, &gateway, "").await;
    let (mut stood_for, mut merged) = (0, 0);
    let newest = loop {
        let frame = slow.frame().await;
        let skipped = frame["skipped"].as_u64().unwrap_or(0);
        merged += u64::from(skipped > 0);
        stood_for += 1 + skipped;
        if frame["revision"] == *revisions.last().unwrap() {
            break frame;
        }
    };
    assert!(merged > 0, "nothing was merged");
    assert_eq!(stood_for, revisions.len() as u64, "every frame is accounted for");
    let samples = newest["samples"].as_array().unwrap();
    let last = revisions.len() - 1;
    assert!(samples.len() == 200 && samples.iter().all(|sample| sample["data"]["power_watts"] == last), "{newest}");
}

#[tokio::test]
async fn whoever_wants_all_and_is_too_slow_is_told_the_gap() {
    let world = World::new().await;
    let gateway = world.gateway_with(|config| config.bounds.ring_bytes = 500_000).await;
    let (mut slow, revisions) = fill(&world, &gateway, "?mode=all").await;
    let (mut seen, mut gaps) = (Vec::new(), Vec::new());
    while seen.last() != revisions.last() {
        let message = slow.next().await;
        match message["type"].as_str().unwrap() {
            "telemetry" => seen.push(message["revision"].as_i64().unwrap()),
            "gap" => gaps.push(message),
            _ => {}
        }
    }
    let revision = |position: &Value| position.as_str().unwrap().split_once('.').unwrap().1.parse::<i64>().unwrap();
    let within = |at: &i64| gaps.iter().any(|gap| revision(&gap["after"]) < *at && *at < revision(&gap["before"]));
    assert!(!gaps.is_empty());
    let expected: Vec<i64> = revisions.iter().filter(|at| !within(at)).copied().collect();
    assert_eq!(seen, expected, "what is not in a gap was seen, once and in order");
    slow.is_quiet().await;
}
