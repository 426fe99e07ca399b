//! A row that kills whoever works on it.

use std::collections::BTreeMap;

use crate::rows::{Place, expected, lines, part};
use crate::world::World;

/// The poison's batch becomes dead letters after five attempts; its neighbours are stored.
#[tokio::test]
async fn a_batch_that_kills_collectors_is_buried_and_its_neighbours_are_stored() {
    let world = World::new().await;
    let poison = lines(1_000, 1_001).replace("host-001", "host-poison");
    assert!(poison.contains("host-poison"));
    // Seven batches of 50, the poison in the fourth.
    let path = world.file("a.csv", part(0, 150) + &poison + &lines(150, 349));
    world.start("streamer", &[("CSV_FILE", path.to_str().unwrap()), ("BATCH_SIZE", "50")]).succeeds().await;
    let mut deaths = 0;
    let survivor = loop {
        let mut collector = world.faulty("collector", "work.decoded=return(kill host-poison)", &[]);
        tokio::select! {
            status = collector.ended() => assert!(!status.success()),
            () = world.until_accounted(350) => break collector,
        }
        deaths += 1;
        assert!(deaths <= 10, "it is never buried");
        world.end_sessions().await;
    };
    println!("{deaths} collectors died of one row");
    assert_eq!(deaths, 5);
    world.is_drained().await;
    assert_eq!(world.sums().await, [350, 300, 50, 0]);
    let neighbours: BTreeMap<Place, f64> = expected(0, 150).into_iter().chain(expected(199, 349)).collect();
    assert!(world.samples().await == neighbours);
    let letters = world.rows("SELECT DISTINCT reason FROM dead_letters").await.unwrap();
    let reason: String = letters[0].get(0);
    assert!(letters.len() == 1 && reason.contains("claimed 5 times"), "{reason}");
    assert_eq!(world.ask::<i64>("SELECT sum(row_count)::bigint FROM dead_letters").await, Some(50));
    world.lanes_are_whole().await;
    survivor.stop().await;
}
