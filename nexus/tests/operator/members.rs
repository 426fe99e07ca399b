//! `nexus members`: those that run, and what they hold.

use nexus_common::servers::free_port;
use nexus_common::testing::eventually;

use crate::rows;
use crate::world::{PATIENCE, World};

#[tokio::test(flavor = "multi_thread")]
async fn who_runs_is_listed() {
    let world = World::new().await;
    assert_eq!(world.nexus(&["members", "--json"]).await.out, "");
    let file = world.file("x.csv", rows::file(50));
    let streamer = world
        .start("streamer", &[("CSV_FILE", file.to_str().unwrap()), ("LOOP_MODE", "true"), ("STREAM_INTERVAL", "1s")]);
    let collector = world.collector();
    let roles = async || {
        let rows = world.json_lines(&["members", "--json"]).await;
        rows.iter().map(|row| row["role"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    eventually("both are listed", PATIENCE, async || roles().await == ["streamer", "collector"]).await;
    for row in world.json_lines(&["members", "--json"]).await {
        assert_eq!(row["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(row["address"], nexus_common::config::hostname());
        assert!(row["up_ms"].as_i64() >= Some(0) && row["session_ms"].as_u64() > Some(0), "{row}");
    }
    let table = world.nexus(&["members"]).await;
    assert!(table.out.starts_with("ROLE") && table.out.contains("collector"), "{}", table.out);
    assert!(table.err.contains("1 streamer, 1 collector, 0 gateways alive in cluster local-cluster"), "{}", table.err);
    collector.stop().await;
    eventually("it is gone", PATIENCE, async || roles().await == ["streamer"]).await;
    streamer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_is_listed_with_where_it_listens_and_leaves_at_once() {
    let world = World::new().await;
    let gateways = async || world.json_lines(&["members", "--json"]).await;
    let everybody = ("ALLOW_ANONYMOUS", "true");
    let start = async |address: &str| {
        let port = free_port().unwrap();
        (port, world.start("gateway", &[("PORT", &port.to_string()), ("BIND_ADDRESS", address), everybody]))
    };
    let (port, loopback) = start("127.0.0.1").await;
    eventually("it is listed", PATIENCE, async || gateways().await.len() == 1).await;
    let row = gateways().await.remove(0);
    assert_eq!((&row["role"], &row["address"]), (&"gateway".into(), &format!("127.0.0.1:{port}").into()), "{row}");
    assert_eq!((&row["version"], &row["claimed_rows"]), (&env!("CARGO_PKG_VERSION").into(), &0.into()), "{row}");
    let table = world.nexus(&["members"]).await;
    assert!(table.err.contains("0 streamers, 0 collectors, 1 gateway alive in cluster local-cluster"), "{}", table.err);
    let (port, anywhere) = start("0.0.0.0").await;
    eventually("both are listed", PATIENCE, async || gateways().await.len() == 2).await;
    // Once it has ended etcd knows: nothing is left to run out.
    loopback.stop().await;
    let left = gateways().await;
    let address = format!("{}:{port}", nexus_common::config::hostname());
    assert_eq!((left.len(), &left[0]["address"]), (1, &address.into()), "{left:?}");
    anywhere.stop().await;
    assert!(gateways().await.is_empty());
}
