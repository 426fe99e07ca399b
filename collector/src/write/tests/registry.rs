//! Who is who: a GPU is one row, whatever is known of it and wherever it is.

use std::sync::Arc;

use nexus_common::domain::GpuIdentity;
use nexus_common::queue::Body;
use tokio::task::JoinSet;

use super::{NOON, SECOND, Store, batch, gpu, gpu_with, message, store, stored};
use crate::write::Writer;

/// Stores one reading of this GPU, `seconds` after noon.
async fn see(writer: &Writer, n: u64, gpu: GpuIdentity, seconds: i64) {
    let body = message(gpu, NOON.shifted(seconds * SECOND), 2, &[("power_watts", n as f64)]);
    assert_eq!(writer.store(&mut [batch(n, &[body])]).await.unwrap(), stored(1, 1));
}

/// Host, index and UUID of every GPU.
async fn gpus(store: &Store) -> Vec<(String, String, Option<String>)> {
    let sql = "SELECT h.name, g.gpu_index, g.uuid FROM gpus g JOIN hosts h ON h.id = g.host_id ORDER BY g.id";
    let rows = store.client().await.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
}

fn entry(host: &str, index: &str, uuid: Option<&str>) -> (String, String, Option<String>) {
    (host.to_owned(), index.to_owned(), uuid.map(str::to_owned))
}

#[tokio::test]
async fn a_gpu_known_by_its_place_gets_its_uuid_when_it_is_told() {
    let store = store().await;
    let writer = store.writer();
    see(&writer, 1, gpu("h", "0"), 1).await;
    see(&writer, 2, gpu_with("GPU-a", "h", "0"), 2).await;
    see(&writer, 3, gpu("h", "0"), 3).await;
    // Another collector, which has seen none of it.
    see(&store.writer(), 4, gpu("h", "0"), 4).await;
    assert_eq!(gpus(&store).await, [entry("h", "0", Some("GPU-a"))]);
    assert_eq!(store.one::<i64>("SELECT count(DISTINCT gpu_id) FROM samples").await, 1);
}

#[tokio::test]
async fn a_gpu_that_moves_is_the_same_gpu_and_old_news_do_not_move_it_back() {
    let store = store().await;
    let writer = store.writer();
    see(&writer, 1, gpu_with("GPU-a", "h1", "0"), 10).await;
    see(&writer, 2, gpu_with("GPU-a", "h2", "3"), 20).await;
    assert_eq!(gpus(&store).await, [entry("h2", "3", Some("GPU-a"))]);
    see(&writer, 3, gpu_with("GPU-a", "h1", "0"), 15).await;
    see(&store.writer(), 4, gpu_with("GPU-a", "h1", "0"), 16).await;
    assert_eq!(gpus(&store).await, [entry("h2", "3", Some("GPU-a"))], "a reading from before the move");
    see(&writer, 5, gpu_with("GPU-a", "h1", "0"), 30).await;
    assert_eq!(gpus(&store).await, [entry("h1", "0", Some("GPU-a"))], "it was moved back");
    assert_eq!(store.one::<i64>("SELECT count(DISTINCT gpu_id) FROM samples").await, 1);
}

#[tokio::test]
async fn mig_instances_of_one_gpu_are_told_apart() {
    let store = store().await;
    let writer = store.writer();
    let instance = |index: &str, mig: &str| GpuIdentity { mig: Some(mig.to_owned()), ..gpu_with("GPU-a", "h", index) };
    see(&writer, 1, gpu_with("GPU-a", "h", "0"), 1).await;
    see(&writer, 2, instance("0:1", "1"), 1).await;
    see(&writer, 3, instance("0:2", "2"), 1).await;
    see(&store.writer(), 4, instance("0:2", "2"), 2).await;
    let migs: Vec<Option<String>> = store.column("SELECT mig FROM gpus ORDER BY id").await;
    assert_eq!(migs, [None, Some("1".to_owned()), Some("2".to_owned())]);
}

#[tokio::test]
async fn details_are_those_of_the_newest_reading() {
    let store = store().await;
    let writer = store.writer();
    for (n, model, seconds) in [(1, Some("H100"), 10), (2, Some("A100"), 5), (3, None, 20), (4, Some("H200"), 30)] {
        let mut body = message(gpu_with("GPU-a", "h", "0"), NOON.shifted(seconds * SECOND), 2, &[("xid", 0.0)]);
        if let Body::Rows { described, .. } = &mut body {
            let described = Arc::make_mut(described);
            described.model = model.map(str::to_owned);
            described.labels.insert("pod".to_owned(), format!("pod-{n}"));
        }
        writer.store(&mut [batch(n, &[body])]).await.unwrap();
        let expected = if n < 4 { "H100" } else { "H200" };
        assert_eq!(store.one::<String>("SELECT model FROM gpus").await, expected, "after {n}");
    }
    assert_eq!(store.one::<String>("SELECT labels->>'pod' FROM gpus").await, "pod-4");
}

#[tokio::test]
async fn writers_that_meet_the_same_gpus_at_once_register_each_once() {
    let store = store().await;
    let mut writers = JoinSet::new();
    for n in 1..=4 {
        let writer = store.writer();
        // Half of them by UUID, in another order for each writer.
        let mut bodies: Vec<_> = (0..50_usize)
            .map(|index| {
                let place = gpu(&format!("host-{}", index / 8), &(index % 8).to_string());
                let gpu = GpuIdentity { uuid: (index % 2 == 0).then(|| format!("GPU-{index}")), ..place };
                message(gpu, NOON.shifted(n as i64), 2 + index as u64, &[("power_watts", 1.0)])
            })
            .collect();
        bodies.rotate_left(13 * n as usize % 50);
        writers.spawn(async move { writer.store(&mut [batch(n, &bodies)]).await });
    }
    for outcome in writers.join_all().await {
        assert_eq!(outcome.unwrap(), stored(1, 50));
    }
    assert_eq!((store.count("clusters").await, store.count("hosts").await, store.count("gpus").await), (1, 7, 50));
    assert_eq!(store.count("samples").await, 200);
}

#[tokio::test]
async fn a_fleet_is_registered_at_once_and_whoever_is_known_by_half_is_looked_at() {
    let store = store().await;
    let writer = store.writer();
    see(&writer, 1, gpu("host-0", "0"), 1).await;
    see(&writer, 2, gpu_with("GPU-7", "elsewhere", "0"), 1).await;
    let fleet: Vec<_> = (0..300)
        .map(|n| {
            let gpu = gpu_with(&format!("GPU-{n}"), &format!("host-{}", n / 8), &(n % 8).to_string());
            message(gpu, NOON.shifted(SECOND * 5), 2 + n, &[("xid", 0.0)])
        })
        .collect();
    assert_eq!(writer.store(&mut [batch(3, &fleet)]).await.unwrap(), stored(1, 300));
    // The GPU known by its place got its UUID, the one known by its UUID its new place.
    assert_eq!(store.count("gpus").await, 300);
    assert_eq!(store.one::<i64>("SELECT count(*) FROM gpus WHERE uuid IS NULL").await, 0);
    assert_eq!(store.one::<i64>("SELECT count(DISTINCT (host_id, gpu_index)) FROM gpus").await, 300);
    let seventh = "SELECT h.name FROM gpus g JOIN hosts h ON h.id = g.host_id WHERE g.uuid = 'GPU-7'";
    assert_eq!(store.one::<String>(seventh).await, "host-0");
    // 298 newcomers came with one statement.
    let by_statement = "SELECT count(*) FROM gpus GROUP BY xmin::text ORDER BY 1 DESC LIMIT 1";
    assert_eq!(store.one::<i64>(by_statement).await, 298);
    assert_eq!(store.one::<i64>("SELECT count(*) FROM gpus WHERE seen_at IS NULL").await, 0);
}
