//! History that is forgotten while it is being read.

use nexus_common::testing::{Proxy, eventually};

use crate::rows::{expected, file};
use crate::world::{PATIENCE, World};

const ROWS: u64 = 10_000;

/// A collector's watches break; what it missed is compacted before they stand again, so that it has to list anew; and
/// while it lists and watches, each revision is compacted as soon as it is there.
#[tokio::test]
async fn etcd_forgets_what_a_collector_has_not_seen() {
    let world = World::new().await;
    let path = world.file("a.csv", file(ROWS));
    let line = Proxy::to(world.etcd.endpoint()).await;
    let endpoint = line.endpoint();
    let collector = world.start("collector", &[("ETCD_ENDPOINTS", &endpoint), ("LOG_LEVEL", "debug")]);
    let mut streamer = world.slow_streamer(path.to_str().unwrap());
    let (client, manifests) = (world.client().await, world.keys().manifests());
    let compact = async || {
        let revision = client.list(&manifests, 1).await.unwrap().revision;
        client.compact(revision, false).await.unwrap();
        revision
    };
    for _ in 0..4 {
        let before = world.accounted().await;
        eventually("rows flow", PATIENCE, async || {
            compact().await;
            let now = world.accounted().await;
            now > before || now >= ROWS as i64
        })
        .await;
        line.cut();
        let cut = compact().await;
        eventually("batches come that it cannot see", PATIENCE, async || {
            compact().await > cut + 5 || streamer.log().contains("published to its end")
        })
        .await;
        line.heal();
    }
    streamer.succeeds().await;
    world.holds_exactly(&expected(0, ROWS)).await;
    collector.stop().await;
}

/// Whoever lists every so often instead of watching.
#[tokio::test]
async fn etcd_forgets_while_manifests_are_listed() {
    let world = World::new().await;
    let path = world.file("a.csv", file(ROWS));
    let polling = [("ENABLE_WATCH_API", "false"), ("POLL_TIMEOUT", "50ms")];
    let collector = world.start("collector", &polling);
    let mut streamer = world.slow_streamer(path.to_str().unwrap());
    let (client, manifests) = (world.client().await, world.keys().manifests());
    eventually("all is stored", PATIENCE, async || {
        let revision = client.list(&manifests, 1).await.unwrap().revision;
        client.compact(revision, true).await.unwrap();
        world.accounted().await >= ROWS as i64
    })
    .await;
    streamer.succeeds().await;
    world.holds_exactly(&expected(0, ROWS)).await;
    collector.stop().await;
}
