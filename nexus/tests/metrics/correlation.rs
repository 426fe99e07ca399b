//! A batch's name leads through the logs of all components, and to `nexus trace`.

use nexus_common::testing::eventually;
use serde_json::Value;

use crate::process::Process;
use crate::stack::Stack;
use crate::world::PATIENCE;

/// The messages of a component's JSON log that speak of this batch.
fn told(process: &Process, batch: &str) -> Vec<String> {
    let log = process.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let of_batch = lines.filter(|line| line["batch"] == batch);
    of_batch.map(|line| line["message"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_batch_is_followed_from_its_file_to_the_live_feed() {
    let level = "info,nexus_streamer=debug,nexus_collector=debug,nexus_gateway=debug";
    let stack = Stack::with(300, &[("LOG_FORMAT", "json"), ("LOG_LEVEL", level)]).await;
    stack.until("collector", "nexus_collector_rows_total", 300.0).await;
    let published = || -> Vec<Value> {
        let log = stack.streamer.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["message"] == "published" && !line["batch"].is_null()).collect()
    };
    // A collector may be done with a batch before its streamer has said that it was published.
    eventually("all batches are said to be published", PATIENCE, async || published().len() >= 3).await;
    let published = published();
    assert_eq!(published.len(), 3, "{published:?}");
    for line in &published {
        let batch = line["batch"].as_str().unwrap();
        assert!(line["file"].as_str().unwrap().ends_with("rows.csv") && line["rows"] == 100, "{line}");
        eventually("the collector is done with it", PATIENCE, async || {
            told(&stack.collector, batch) == ["claimed", "stored", "acknowledged"]
        })
        .await;
        eventually("it came live", PATIENCE, async || told(&stack.gateway, batch) == ["in the feed"]).await;
    }
    let batch = published[1]["batch"].as_str().unwrap();
    let mut environment = vec![("ETCD_ENDPOINTS".to_owned(), stack.world.etcd.endpoint())];
    environment.extend(stack.world.postgres.environment().into_iter().map(|(name, value)| (name.to_owned(), value)));
    let trace =
        std::process::Command::new(env!("CARGO_BIN_EXE_nexus")).args(["trace", batch]).envs(environment).output();
    let trace = trace.unwrap();
    assert!(trace.status.success() && String::from_utf8_lossy(&trace.stdout).contains(batch), "{trace:?}");
    stack.stop().await;
}
