//! METRICS_ADDR: which address, and what where it cannot be had.

use crate::rows::file;
use crate::stack::address_of;
use crate::world::World;

#[tokio::test]
async fn an_address_that_is_taken_is_one_line_that_names_the_variable() {
    let world = World::new().await;
    let first = world.collector();
    let address = address_of(&first).await;
    let mut second = world.start("collector", &[("METRICS_ADDR", &address)]);
    assert_eq!(second.ended().await.code(), Some(2), "{}", second.log());
    let log = second.log();
    let said: Vec<_> = log.lines().filter(|line| line.contains("METRICS_ADDR")).collect();
    assert!(matches!(said.as_slice(), [line] if line.starts_with("nexus-collector: METRICS_ADDR=")), "{log}");
    let mut third = world.start("collector", &[("METRICS_ADDR", "nonsense")]);
    assert_eq!(third.ended().await.code(), Some(2));
    assert!(third.log().contains("--metrics-addr") && third.log().lines().count() == 1, "{}", third.log());
    first.stop().await;
}

#[tokio::test]
async fn an_empty_address_is_none() {
    let world = World::new().await;
    let path = world.file("a.csv", file(10));
    let mut streamer = world.start("streamer", &[("CSV_FILE", path.to_str().unwrap()), ("METRICS_ADDR", "")]);
    streamer.succeeds().await;
    assert!(!streamer.log().contains("metrics"), "{}", streamer.log());
}
