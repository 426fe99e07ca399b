//! Messages that nobody read in time.

use nexus_common::queue::Manifest;
use nexus_common::testing::eventually;

use crate::rows::{expected, file};
use crate::world::{PATIENCE, World};

#[tokio::test]
async fn unread_rows_are_recorded_as_expired_with_their_file_and_lines() {
    let world = World::new().await;
    let path = world.file("a.csv", file(1_000));
    world.start("streamer", &[("CSV_FILE", path.to_str().unwrap()), ("MESSAGE_TTL", "5s")]).succeeds().await;
    let (client, keys) = (world.client().await, world.keys());
    let manifests = client.list(&keys.manifests(), usize::MAX).await.unwrap().kvs;
    let leases: std::collections::BTreeSet<_> =
        manifests.iter().map(|kv| Manifest::decode(kv.value()).unwrap().lease).collect();
    // What the clock would do a minute later.
    for lease in leases {
        client.revoke(lease).await.unwrap();
    }
    eventually("the messages are gone", PATIENCE, async || matches!(client.count(&keys.messages()).await, Ok(0))).await;
    assert_eq!(client.count(&keys.manifests()).await.unwrap(), 10, "the manifests outlive them");

    let collector = world.collector();
    world.until_accounted(1_000).await;
    world.is_drained().await;
    assert_eq!(world.sums().await, [1_000, 0, 0, 1_000]);
    world.lanes_are_whole().await;
    let rows = world.rows("SELECT file, first_line, last_line FROM ledger ORDER BY first_line").await.unwrap();
    let lines: Vec<(String, i64, i64)> = rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
    let name = path.to_str().unwrap();
    let tiles: Vec<_> = (0..10).map(|n| (name.to_owned(), 2 + n * 100, 101 + n * 100)).collect();
    assert_eq!(lines, tiles);
    collector.stop().await;
}

#[tokio::test]
async fn every_message_has_a_lease_and_no_manifest_has() {
    let world = World::new().await;
    let path = world.file("a.csv", file(300));
    world.start("streamer", &[("CSV_FILE", path.to_str().unwrap())]).succeeds().await;
    let (client, keys) = (world.client().await, world.keys());
    let messages = client.list(&keys.messages(), usize::MAX).await.unwrap().kvs;
    assert_eq!(messages.len(), 300);
    assert!(messages.iter().all(|kv| kv.lease() != 0));
    let manifests = client.list(&keys.manifests(), usize::MAX).await.unwrap().kvs;
    assert!(manifests.len() == 3 && manifests.iter().all(|kv| kv.lease() == 0));
    // Nothing was lost by looking.
    let collector = world.collector();
    world.holds_exactly(&expected(0, 300)).await;
    collector.stop().await;
}
