//! Servers that come back as they were at another time.

use nexus_common::testing::eventually;

use crate::rows::{expected, file, part};
use crate::world::{PATIENCE, World};

const ROWS: u64 = 10_000;
/// Of its 200 batches, those that the streamer publishes before it waits for the test.
const BEFORE: u64 = 180;

/// etcd loses everything while rows flow, and again when nothing does. What it held is published again: rows that were
/// stored before are stored once more onto themselves, and none is lost.
#[tokio::test]
async fn etcd_is_rebuilt_empty_while_the_ledger_remains() {
    let mut world = World::new().await;
    let path = world.file("a.csv", file(ROWS));
    let collector = world.collector();
    let mut streamer = world.waiting_streamer(path.to_str().unwrap(), BEFORE);
    eventually("rows flow", PATIENCE, async || world.accounted().await > 1_000).await;
    world.etcd.wipe().await;
    streamer.go_on().await;
    streamer.succeeds().await;
    assert!(streamer.log().contains("etcd went back in time"), "{}", streamer.log());
    world.is_drained().await;
    eventually("all is stored", PATIENCE, async || world.samples().await.len() as u64 >= ROWS).await;
    assert!(world.samples().await == expected(0, ROWS));

    // With nobody at work: what is published next is stored like any other.
    world.etcd.wipe().await;
    let more = world.file("b.csv", part(ROWS, ROWS + 500));
    world.start("streamer", &[("CSV_FILE", more.to_str().unwrap())]).succeeds().await;
    eventually("all is stored", PATIENCE, async || world.samples().await.len() as u64 >= ROWS + 500).await;
    assert!(world.samples().await == expected(0, ROWS + 500));
    world.is_drained().await;
    collector.stop().await;
}

/// The database is put back to an earlier point. What was acknowledged since is gone from both: that cannot be healed, but
/// it shows, as a gap in the lane that has the size of the loss and a place in the file.
#[tokio::test]
async fn postgres_is_restored_to_an_earlier_point() {
    let mut world = World::new().await;
    let path = world.file("a.csv", file(ROWS));
    let collector = world.collector();
    let mut streamer = world.waiting_streamer(path.to_str().unwrap(), BEFORE);
    eventually("rows flow", PATIENCE, async || world.accounted().await > 1_000).await;
    let backup = world.postgres.back_up().await;
    // What is stored of the last batches is in no backup.
    streamer.go_on().await;
    eventually("rows flow", PATIENCE, async || world.accounted().await > BEFORE as i64 * 50).await;
    world.postgres.restore(&backup).await;
    streamer.succeeds().await;
    world.is_drained().await;
    // A mark at the end: on a machine that is slow to back up, what is lost may be the last there is.
    let missing = &format!(
        "SELECT COALESCE(sum(gap), 0)::bigint FROM (
            SELECT rows_before - lag(rows_before + row_count, 1, 0::bigint) OVER (ORDER BY rows_before) AS gap
            FROM (SELECT rows_before, row_count FROM ledger UNION ALL SELECT {ROWS}, 0) parts
        ) gaps"
    );
    let lost: i64 = world.ask(missing).await.unwrap();
    println!("{lost} of {ROWS} rows went with the restored database");
    assert!(lost > 0);
    assert_eq!(world.accounted().await, ROWS as i64 - lost);
    assert_eq!(world.start("audit", &[]).ended().await.code(), Some(1), "the audit does not see it");
    // All the others are there, with their values.
    let samples = world.samples().await;
    assert_eq!(samples.len() as i64, ROWS as i64 - lost);
    let input = expected(0, ROWS);
    assert!(samples.iter().all(|(place, value)| input.get(place) == Some(value)));
    // And a second look at the file does not paint over the hole.
    world.slow_streamer(path.to_str().unwrap()).succeeds().await;
    assert_eq!(world.ask(missing).await, Some(lost));
    collector.stop().await;
}
