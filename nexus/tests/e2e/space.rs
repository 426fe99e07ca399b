//! An etcd that is too small for what comes.

use nexus_common::testing::eventually;

use crate::rows::{expected, file};
use crate::world::{PATIENCE, World};

const ROWS: u64 = 60_000;

#[tokio::test]
async fn a_full_etcd_is_drained_by_collectors_that_start_only_then() {
    let world = World::with_etcd(|options| options.quota_backend_bytes = 16 << 20).await;
    let path = world.file("a.csv", file(ROWS));
    // A streamer that does not know how small this etcd is.
    let mut streamer = world.start("streamer", &[("CSV_FILE", path.to_str().unwrap())]);
    let client = world.client().await;
    eventually("etcd is full", PATIENCE, async || client.out_of_space().await.unwrap_or(false)).await;
    assert_eq!(world.accounted().await, 0);

    let environment = [("ETCD_UPKEEP", "true"), ("ETCD_QUOTA_BYTES", "16777216")];
    let collectors = [world.start("collector", &environment), world.start("collector", &environment)];
    streamer.succeeds().await;
    world.holds_exactly(&expected(0, ROWS)).await;
    eventually("etcd is well again", PATIENCE, async || !client.out_of_space().await.unwrap_or(true)).await;
    for collector in collectors {
        collector.stop().await;
    }
}

#[tokio::test]
async fn back_pressure_stops_a_streamer_before_etcd_does() {
    let world = World::with_etcd(|options| options.quota_backend_bytes = 16 << 20).await;
    let path = world.file("a.csv", file(ROWS));
    let mut streamer = world.start(
        "streamer",
        &[("CSV_FILE", path.to_str().unwrap()), ("HIGH_WATER_ROWS", "5000"), ("ETCD_QUOTA_BYTES", "16777216")],
    );
    let (client, keys) = (world.client().await, world.keys());
    eventually("it waits", PATIENCE, async || streamer.log().contains("back-pressure")).await;
    let queued = client.count(&keys.manifests()).await.unwrap();
    // What waits is heard of a moment after it was published: some more batches may have been on their way by then.
    assert!((50..100).contains(&queued), "{queued} batches of 100 rows are queued");
    assert!(!client.out_of_space().await.unwrap());
    let collector = world.start("collector", &[("ETCD_UPKEEP", "true"), ("ETCD_QUOTA_BYTES", "16777216")]);
    streamer.succeeds().await;
    world.holds_exactly(&expected(0, ROWS)).await;
    collector.stop().await;
}
