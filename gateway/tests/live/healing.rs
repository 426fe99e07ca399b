//! etcd goes away, comes back, loses its history or is another one.

use nexus_common::etcd::Client;
use nexus_common::testing::{etcd, eventually};
use serde_json::json;

use crate::world::{PATIENCE, World, put};

#[tokio::test]
async fn nothing_is_missed_when_etcd_was_killed_or_the_line_was_cut() {
    let mut world = World::new().await;
    let gateway = world.gateway().await;
    let mut client = gateway.all("").await;
    for round in 0..3 {
        let revision = world.power("h", "0", f64::from(round)).await;
        assert_eq!(client.revision().await, revision);
        world.line.cut();
        let mut missed = vec![world.power("h", "1", 1.0).await];
        if round == 1 {
            world.etcd.kill().await.unwrap();
            world.etcd.restart().await.unwrap();
        }
        missed.push(world.power("h", "1", 2.0).await);
        world.line.heal();
        for revision in missed {
            assert_eq!(client.revision().await, revision, "round {round}");
        }
    }
}

#[tokio::test]
async fn an_etcd_that_was_rebuilt_is_a_gap() {
    let world = World::new().await;
    let gateway = world.gateway().await;
    let mut client = gateway.all("").await;
    let mut latest = gateway.connect("?host_id=h").await;
    latest.next().await;
    for watts in 0..20 {
        world.power("h", "0", f64::from(watts)).await;
        client.revision().await;
        latest.revision().await;
    }
    let rebuilt = etcd().await;
    let other = Client::connect(&rebuilt.endpoints()).await.unwrap();
    world.line.lead_to(rebuilt.endpoint());
    world.line.cut();
    world.line.heal();
    for client in [&mut client, &mut latest] {
        let gap = client.next().await;
        assert_eq!(gap["type"], "gap");
        assert!(gap["reason"].as_str().unwrap().contains("another store"), "{gap}");
        assert_ne!(gap["after"].as_str().unwrap()[..16], gap["position"].as_str().unwrap()[..16]);
    }
    let samples = vec![crate::world::sample("h", "0", &[("xid", 0.0)])];
    let value = nexus_common::queue::Feed::encode("b", samples, 0);
    let revision = put(&other, "alpha", value).await;
    assert_eq!(client.revision().await, revision);
    assert_eq!(latest.revision().await, revision);
}

#[tokio::test]
async fn an_etcd_that_was_rebuilt_and_went_on_is_noticed_too() {
    let world = World::new().await;
    let rebuilt = etcd().await;
    let other = Client::connect(&rebuilt.endpoints()).await.unwrap();
    let value = |watts: f64| {
        let samples = vec![crate::world::sample("h", "0", &[("power_watts", watts)])];
        nexus_common::queue::Feed::encode("b", samples, 0)
    };
    for watts in 0..100 {
        put(&other, "alpha", value(f64::from(watts))).await;
    }
    let gateway = world.gateway().await;
    let mut client = gateway.all("").await;
    world.power("h", "0", 1.0).await;
    client.revision().await;
    // Its revisions are beyond ours: only the store's id tells.
    world.line.lead_to(rebuilt.endpoint());
    world.line.cut();
    world.line.heal();
    let gap = loop {
        let message = client.next().await;
        if message["type"] == "gap" {
            break message;
        }
    };
    assert!(gap["reason"].as_str().unwrap().contains("another store"), "{gap}");
    let revision = put(&other, "alpha", value(0.5)).await;
    assert_eq!(client.revision().await, revision);
}

#[tokio::test]
async fn history_that_went_away_is_a_gap_only_where_something_was_in_it() {
    let world = World::new().await;
    let gateway = world.gateway().await;
    let mut client = gateway.all("").await;
    world.power("h", "0", 1.0).await;
    client.next().await;
    let compact = async || {
        world.line.cut();
        gateway.until_fed("down").await;
        // Something happens that is none of ours.
        let put = nexus_common::etcd::TxnOp::put("/else", "x", None);
        let txn = nexus_common::etcd::Txn::new().and_then([put]);
        let revision = world.client.txn(txn).await.unwrap().revision;
        world.client.compact(revision, true).await.unwrap();
        world.line.heal();
        gateway.until_fed("up").await;
    };
    compact().await;
    // A watch from a revision that is gone stands for a moment before etcd says so.
    client.is_quiet().await;
    gateway.until_fed("up").await;
    let revision = world.power("h", "0", 2.0).await;
    let frame = client.next().await;
    assert_eq!(frame["revision"], revision, "nothing was missed: {frame}");
    let last = frame["position"].clone();

    world.line.cut();
    world.power("h", "0", 3.0).await;
    compact().await;
    let gap = client.next().await;
    assert_eq!((&gap["type"], &gap["after"]), (&json!("gap"), &last));
    assert!(gap["reason"].as_str().unwrap().contains("history"), "{gap}");
    let revision = world.power("h", "0", 4.0).await;
    assert_eq!(client.revision().await, revision);
}

#[tokio::test]
async fn clients_wait_for_an_etcd_that_is_not_there_yet() {
    let world = World::new().await;
    world.line.cut();
    let gateway = world.gateway().await;
    let mut client = gateway.connect("?mode=all").await;
    client.is_quiet().await;
    world.line.heal();
    assert_eq!(client.next().await["type"], "position");
    let revision = world.power("h", "0", 1.0).await;
    assert_eq!(client.revision().await, revision);
}

#[tokio::test]
async fn a_full_etcd_without_a_store_id_is_followed_all_the_same() {
    let mut world = World::new().await;
    world.etcd = nexus_common::testing::etcd_with(|options| options.quota_backend_bytes = 16 << 20).await;
    world.client = Client::connect(&world.etcd.endpoints()).await.unwrap();
    world.line.lead_to(world.etcd.endpoint());
    let filler = async || {
        let put = nexus_common::etcd::TxnOp::put(format!("/fill/{}", rand()), vec![0; 1 << 20], None);
        world.client.txn(nexus_common::etcd::Txn::new().and_then([put])).await.is_err()
    };
    eventually("etcd is full", PATIENCE, async || filler().await).await;
    let gateways = [world.gateway().await, world.gateway().await];
    let mut stores = Vec::new();
    for gateway in &gateways {
        let mut client = gateway.connect("?mode=all").await;
        let position = client.next().await["position"].as_str().unwrap().to_owned();
        stores.push(position[..16].to_owned());
    }
    assert_ne!(stores[0], stores[1], "each its own: what one says means nothing to the other");
}

fn rand() -> u128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos()
}
