//! What a client gets that has nothing yet: the newest values, out of memory.

use nexus_common::testing::{TestPostgres, eventually, postgres};
use nexus_common::{db, testing};
use serde_json::json;
use tokio_postgres::NoTls;

use crate::client::{Client, more_than_is_buffered, samples};
use crate::world::{Gateway, PATIENCE, World, sample};

/// Two GPUs of `alpha`, and 1,200 of `beta`.
const FLEET: &str = "
    INSERT INTO clusters (name) VALUES ('alpha'), ('beta');
    INSERT INTO hosts (cluster_id, name) SELECT id, 'h-' || name FROM clusters;
    INSERT INTO gpus (host_id, cluster_id, gpu_index, uuid, seen_at)
        SELECT h.id, h.cluster_id, n::text, 'GPU-' || h.name || '-' || n, now()
        FROM hosts h, generate_series(0, 1199) n WHERE h.name = 'h-beta' OR n < 2;
    INSERT INTO gpu_latest (gpu_id, ts, power_watts, power_watts_at, temperature_celsius, temperature_celsius_at)
        SELECT id, '2026-01-05T07:00:00Z', 70.5, '2026-01-05T07:00:00Z', 40, '2026-01-05T06:00:00Z' FROM gpus;
";

/// A gateway with the fleet in its memory.
async fn seeded(world: &World) -> (TestPostgres, Gateway) {
    let postgres = postgres().await;
    db::migrate(&postgres.config()).await.unwrap();
    let (client, connection) = postgres.owner_config().connect(NoTls).await.unwrap();
    tokio::select! {
        done = client.batch_execute(FLEET) => done.unwrap(),
        ended = connection => panic!("{ended:?}"),
    }
    let gateway = world.gateway_with(|config| config.db = postgres.config()).await;
    let ready = format!("http://{}/ready", gateway.address);
    testing::eventually("the memory is seeded", PATIENCE, async || {
        reqwest::get(&ready).await.is_ok_and(|answer| answer.status() == 200)
    })
    .await;
    (postgres, gateway)
}

#[tokio::test]
async fn telemetry_flows_at_once() {
    let world = World::new().await;
    let (_postgres, gateway) = seeded(&world).await;
    let mut client = gateway.connect("?cluster_id=alpha").await;
    let frame = client.next().await;
    let sample_of = |gpu: &str| {
        json!({"host_id": "h-alpha", "gpu_id": gpu, "uuid": format!("GPU-h-alpha-{gpu}"),
               "timestamp": "2026-01-05T07:00:00Z", "data": {"temperature_celsius": 40, "power_watts": 70.5}})
    };
    assert_eq!((&frame["type"], &frame["cluster_id"]), (&json!("telemetry"), &json!("alpha")));
    assert_eq!(frame["samples"], json!([sample_of("0"), sample_of("1")]));
    // What comes next follows its position.
    let position = frame["position"].as_str().unwrap();
    let mut again = gateway.connect(&format!("?cluster_id=alpha&since={position}")).await;
    let revision = world.tell("alpha", vec![sample("h-alpha", "0", &[("power_watts", 71.0)])]).await;
    for client in [&mut client, &mut again] {
        assert_eq!(client.revision().await, revision);
    }
}

#[tokio::test]
async fn a_large_fleet_comes_in_pieces_of_one_cluster() {
    let world = World::new().await;
    let (_postgres, gateway) = seeded(&world).await;
    let mut client = gateway.connect("?metrics=power").await;
    let mut pieces = Vec::new();
    for _ in 0..4 {
        let frame = client.next().await;
        pieces.push((frame["cluster_id"].as_str().unwrap().to_owned(), samples(&frame).len()));
    }
    assert_eq!(
        pieces,
        [("alpha", 2), ("beta", 500), ("beta", 500), ("beta", 200)].map(|(name, n)| (name.to_owned(), n))
    );
}

#[tokio::test]
async fn what_is_subscribed_to_comes_at_once() {
    let world = World::new().await;
    let (_postgres, gateway) = seeded(&world).await;
    let mut client = gateway.connect("?host_id=nobody").await;
    assert_eq!(client.next().await["type"], "position");
    let wish = json!({"type": "subscribe", "cluster_id": "beta", "gpu_id": "1100", "metrics": ["power"]});
    assert_eq!(client.ask(&wish).await["type"], "subscribed");
    assert_eq!(samples(&client.next().await), ["h-beta/1100: power_watts=70.5"]);
    client.is_quiet().await;
}

#[tokio::test]
async fn whoever_is_far_behind_gets_the_newest_values_out_of_memory() {
    let world = World::new().await;
    let (_postgres, gateway) = seeded(&world).await;
    let mut slow = Client::connect_narrow(gateway.address, "").await;
    let mut witness = gateway.all("").await;
    // More than the buffers on the way take, and then more frames than are merged: each is of one GPU.
    let long = "x".repeat(90 << 10);
    for _ in 0..=more_than_is_buffered() / long.len() {
        world.tell("alpha", vec![sample(&long, "0", &[("xid", 0.0)])]).await;
    }
    let mut last = 0;
    for gpu in 0..300 {
        last = world.tell("beta", vec![sample("h-beta", &gpu.to_string(), &[("power_watts", 149.0)])]).await;
    }
    while witness.revision().await < last {}
    let mut newest = slow.frame().await;
    while newest["revision"] != last {
        newest = slow.frame().await;
    }
    assert!(newest["skipped"].as_u64().unwrap() > 256, "{}", newest["skipped"]);
    // All GPUs, those among them of which no frame spoke.
    let mut shown = samples(&newest);
    while shown.len() < 1_202 {
        shown.extend(samples(&slow.frame().await));
    }
    assert_eq!(shown.iter().filter(|sample| sample.contains(" power_watts=149")).count(), 300);
    // Nothing follows the newest values.
    let revision = world.tell("alpha", vec![sample("h-alpha", "0", &[("xid", 0.0)])]).await;
    assert_eq!(slow.revision().await, revision);
}

#[tokio::test]
async fn a_feed_that_was_behind_leaves_the_memory_right() {
    let world = World::new().await;
    let (_postgres, gateway) = seeded(&world).await;
    world.tell("alpha", vec![sample("h-alpha", "1", &[("power_watts", 80.0)])]).await;
    eventually("a new client sees it", PATIENCE, async || {
        let mut client = gateway.connect("?cluster_id=alpha&gpu_id=1&metrics=power").await;
        samples(&client.next().await) == ["h-alpha/1: power_watts=80"]
    })
    .await;
}
