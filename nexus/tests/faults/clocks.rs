//! Clocks that are set while a streamer runs.

use crate::rows::{expected, file};
use crate::world::World;

const ROWS: u64 = 3_000;

#[tokio::test]
async fn the_clock_is_set_back_and_forward() {
    let world = World::new().await;
    let path = world.file("a.csv", file(ROWS));
    // An hour back, then two days ahead, then a minute behind.
    let steps = "clock=40*off->40*return(-3600000)->40*return(172800000)->return(-60000)";
    let collector = world.collector();
    let environment = [("CSV_FILE", path.to_str().unwrap()), ("BATCH_SIZE", "20")];
    world.faulty("streamer", steps, &environment).succeeds().await;
    world.holds_exactly(&expected(0, ROWS)).await;
    // Keys sort in the order of publishing all the same, and the clock was really set.
    let times = world
        .rows("SELECT (extract(epoch FROM published_at) * 1000)::bigint FROM ledger ORDER BY rows_before")
        .await
        .unwrap();
    let times: Vec<i64> = times.iter().map(|row| row.get(0)).collect();
    assert!(times.is_sorted(), "{times:?}");
    assert!(times.last().unwrap() - times[0] > 172_000_000, "{times:?}");
    // The next run has a right clock, and goes on behind the last key.
    let more = world.file("a.csv", file(ROWS + 500));
    world.start("streamer", &[("CSV_FILE", more.to_str().unwrap())]).succeeds().await;
    world.holds_exactly(&expected(0, ROWS + 500)).await;
    collector.stop().await;
}
