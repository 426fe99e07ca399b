//! Partitions are made when a day is first written to.

use nexus_common::domain::Timestamp;
use tokio::task::JoinSet;

use super::{NOON, batch, gpu, message, store, stored};

const DAY: i64 = 86_400_000_000;

#[tokio::test]
async fn days_far_apart_get_their_partitions_from_four_writers_at_once() {
    let store = store().await;
    let days = [0, 10_957, 20_287, 20_288, 20_289, 40_000];
    let mut writers = JoinSet::new();
    for n in 1..=4 {
        let writer = store.writer();
        // The first and the last moment of each day.
        let times = days.iter().flat_map(|day| [day * DAY, (day + 1) * DAY - 1]);
        let bodies: Vec<_> =
            times.map(|at| message(gpu(&format!("h{n}"), "0"), Timestamp(at), 2, &[("xid", 1.0)])).collect();
        writers.spawn(async move { writer.store(&mut [batch(n, &bodies)]).await });
    }
    for outcome in writers.join_all().await {
        assert_eq!(outcome.unwrap(), stored(1, 12));
    }
    let partitions: Vec<String> = store
        .column("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'samples'::regclass ORDER BY 1")
        .await;
    assert_eq!(
        partitions,
        [
            "samples_19700101",
            "samples_20000101",
            "samples_20250718",
            "samples_20250719",
            "samples_20250720",
            "samples_20790708"
        ]
    );
    let counts: Vec<i64> = store.column("SELECT count(*) FROM samples GROUP BY tableoid").await;
    assert_eq!(counts, [8; 6]);
}

#[tokio::test]
async fn a_partition_that_retention_dropped_is_made_again() {
    let store = store().await;
    let writer = store.writer();
    let of = |n: u64| batch(n, &[message(gpu("h", "0"), NOON.shifted(n as i64), 2, &[("xid", 1.0)])]);
    writer.store(&mut [of(1)]).await.unwrap();
    store.run("DROP TABLE samples_20250718").await;
    let lost = writer.store(&mut [of(2)]).await.unwrap_err();
    assert!(lost.is_transient(), "{lost}");
    assert_eq!(writer.store(&mut [of(2)]).await.unwrap(), stored(1, 1));
    assert_eq!((store.count("samples").await, store.count("ledger").await), (1, 2));
}
