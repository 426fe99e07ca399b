//! `nexus members`: those that run, and what they hold.

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
    assert!(table.err.contains("1 streamer, 1 collector alive in cluster local-cluster"), "{}", table.err);
    collector.stop().await;
    eventually("it is gone", PATIENCE, async || roles().await == ["streamer"]).await;
    streamer.stop().await;
}
