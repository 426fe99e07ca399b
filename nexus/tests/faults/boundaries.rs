//! `kill -9` between any two steps of a transaction, and of what lies around it.

use std::collections::BTreeSet;
use std::path::Path;

use crate::rows::{expected, part};
use crate::world::World;

const STREAMER: [&str; 7] = [
    "session.granted",
    "session.opened",
    "open.begin",
    "open.committed",
    "bucket.granted",
    "publish.begin",
    "publish.committed",
];

const COLLECTOR: [&str; 14] = [
    "session.granted",
    "session.opened",
    "claim.begin",
    "claim.committed",
    "work.decoded",
    "store.registered",
    "store.begin",
    "store.copying",
    "store.staged",
    "store.entered",
    "store.before_commit",
    "store.committed",
    "ack.begin",
    "ack.committed",
];

const RELEASE: [&str; 2] = ["release.begin", "release.committed"];

const GATEWAY: [&str; 2] = ["feed.taken", "feed.remembered"];

/// Rows for each place, in six batches.
const ROWS: u64 = 300;

/// At its first time, and at a later one.
fn moments(place: &str) -> Vec<String> {
    let often = ["claim", "ack", "publish"].iter().any(|verb| place.starts_with(verb));
    let later = often.then(|| format!("{place}=3*off->return(kill)"));
    std::iter::once(format!("{place}=return(kill)")).chain(later).collect()
}

#[tokio::test]
async fn a_streamer_dies_at_every_step() {
    let world = World::new().await;
    let collector = world.collector();
    let mut rows = 0;
    for failpoint in STREAMER.into_iter().flat_map(moments) {
        let path = world.file(&format!("{rows}.csv"), part(rows, rows + ROWS));
        let environment = [("CSV_FILE", path.to_str().unwrap()), ("BATCH_SIZE", "50"), ("STREAM_INTERVAL", "0s")];
        world.faulty("streamer", &failpoint, &environment).dies_at(&failpoint).await;
        world.start("streamer", &environment[..2]).succeeds().await;
        rows += ROWS;
        world.until_accounted(rows).await;
    }
    world.holds_exactly(&expected(0, rows)).await;
    collector.stop().await;
}

#[tokio::test]
async fn a_collector_dies_at_every_step() {
    let world = World::new().await;
    let mut rows = 0;
    for failpoint in COLLECTOR.into_iter().flat_map(moments) {
        publish(&world, &mut rows).await;
        world.faulty("collector", &failpoint, &[]).dies_at(&failpoint).await;
        world.end_sessions().await;
        let successor = world.collector();
        world.until_accounted(rows).await;
        world.is_drained().await;
        successor.stop().await;
    }
    world.holds_exactly(&expected(0, rows)).await;
}

/// Batches are given back when they were claimed twice without being stored: one suspect at a time is worked on.
#[tokio::test]
async fn a_collector_dies_while_it_gives_back() {
    let world = World::new().await;
    let mut rows = 0;
    for place in RELEASE {
        publish(&world, &mut rows).await;
        let alone = [("WORKERS", "1")];
        for failpoint in ["store.begin=return(kill)", "store.begin=return(kill)", &format!("{place}=return(kill)")] {
            world.faulty("collector", failpoint, &alone).dies_at(failpoint).await;
            world.end_sessions().await;
        }
        let successor = world.collector();
        world.until_accounted(rows).await;
        world.is_drained().await;
        successor.stop().await;
    }
    world.holds_exactly(&expected(0, rows)).await;
}

#[tokio::test]
async fn a_gateway_dies_at_every_step() {
    let world = World::new().await;
    let collector = world.collector();
    let mut rows = 0;
    for failpoint in GATEWAY.map(|place| format!("{place}=1*off->return(kill)")) {
        let port = nexus_common::servers::free_port().unwrap().to_string();
        let environment = [("PORT", port.as_str()), ("BIND_ADDRESS", "127.0.0.1")];
        let gateway = world.faulty("gateway", &failpoint, &environment);
        crate::world::until_ready(&port).await;
        publish(&world, &mut rows).await;
        gateway.dies_at(&failpoint).await;
        world.until_accounted(rows).await;
        let successor = world.start("gateway", &environment);
        crate::world::until_ready(&port).await;
        successor.stop().await;
    }
    world.holds_exactly(&expected(0, rows)).await;
    collector.stop().await;
}

async fn publish(world: &World, rows: &mut u64) {
    let path = world.file(&format!("{rows}.csv"), part(*rows, *rows + ROWS));
    world.start("streamer", &[("CSV_FILE", path.to_str().unwrap()), ("BATCH_SIZE", "50")]).succeeds().await;
    *rows += ROWS;
}

/// A step that is added without being tried is found here.
#[test]
fn every_failpoint_is_walked() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut named = BTreeSet::new();
    for part in ["common", "streamer", "collector", "gateway"] {
        find(&root.join(part).join("src"), &mut named);
    }
    let walked = [&STREAMER[..], &COLLECTOR, &RELEASE, &GATEWAY].concat();
    assert_eq!(named, walked.into_iter().map(str::to_owned).collect());
}

fn find(folder: &Path, named: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find(&path, named);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            for call in ["failpoint::here(\"", "failpoint::about(\""] {
                named.extend(text.split(call).skip(1).filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
            }
        }
    }
}
