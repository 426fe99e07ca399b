//! Collectors that freeze, are taken for dead, and wake up to find their work done by another.

use nexus_common::testing::{Proxy, eventually};
use nix::sys::signal::Signal;

use crate::rows::{expected, part};
use crate::world::{PATIENCE, World};

const ROWS: u64 = 500;

/// A collector freezes at this place, loses its session, is replaced, and comes back.
async fn wakes_up_and_changes_nothing(places: &[&str]) {
    let world = World::new().await;
    let mut rows = 0;
    for place in places {
        publish(&world, &mut rows).await;
        let zombie = world.faulty("collector", &format!("{place}=1*return(stop)"), &[]);
        zombie.freezes().await;
        world.end_sessions().await;
        let successor = world.collector();
        world.holds_exactly(&expected(0, rows)).await;
        zombie.signal(Signal::SIGCONT);
        zombie.stop().await;
        world.holds_exactly(&expected(0, rows)).await;
        successor.stop().await;
    }
}

#[tokio::test]
async fn frozen_before_it_commits() {
    wakes_up_and_changes_nothing(&["store.before_commit"]).await;
}

/// In the midst of a COPY: into the table itself, its batches already in the ledger, and into a staging table, where nobody
/// waits for it but VACUUM. No timeout of PostgreSQL ends that.
#[tokio::test]
async fn frozen_while_it_copies() {
    let world = World::new().await;
    let mut rows = 0;
    for table in ["samples", "staged_latest"] {
        let zombie = world.faulty("collector", &format!("store.copying=return(stop {table})"), &[("WORKERS", "1")]);
        publish(&world, &mut rows).await;
        publish(&world, &mut rows).await;
        zombie.freezes().await;
        world.end_sessions().await;
        let successor = world.collector();
        world.holds_exactly(&expected(0, rows)).await;
        eventually("what it held is ended", PATIENCE, async || {
            successor.log().contains("ended what a frozen collector held")
        })
        .await;
        if table == "samples" {
            zombie.signal(Signal::SIGCONT);
            zombie.stop().await;
        } else {
            // It would copy there once more, and freeze.
            zombie.kill().await;
        }
        world.holds_exactly(&expected(0, rows)).await;
        successor.stop().await;
    }
}

#[tokio::test]
async fn frozen_once_it_has_claimed_committed_or_is_to_acknowledge() {
    wakes_up_and_changes_nothing(&["claim.committed", "store.begin", "store.committed", "ack.begin"]).await;
}

#[tokio::test]
async fn postgres_is_killed_right_after_commit() {
    let mut world = World::new().await;
    let mut rows = 0;
    publish(&world, &mut rows).await;
    let collector = world.faulty("collector", "store.committed=1*return(stop)", &[]);
    collector.freezes().await;
    world.postgres.kill().await.unwrap();
    collector.signal(Signal::SIGCONT);
    world.postgres.restart().await.unwrap();
    world.holds_exactly(&expected(0, rows)).await;
    collector.stop().await;
}

#[tokio::test]
async fn postgres_is_killed_after_commit_and_before_its_answer() {
    let mut world = World::new().await;
    let mut rows = 0;
    publish(&world, &mut rows).await;
    let line = Proxy::to(format!("127.0.0.1:{}", world.postgres.port())).await;
    let port = line.port().to_string();
    let failpoint = "store.before_commit=1*return(stop)";
    let collector = world.faulty("collector", failpoint, &[("DB_PORT", &port), ("WORKERS", "1")]);
    collector.freezes().await;
    line.withhold_answers();
    collector.signal(Signal::SIGCONT);
    world.until_accounted(1).await;
    world.postgres.kill().await.unwrap();
    line.cut();
    world.postgres.restart().await.unwrap();
    line.heal();
    world.holds_exactly(&expected(0, rows)).await;
    collector.stop().await;
}

async fn publish(world: &World, rows: &mut u64) {
    let path = world.file(&format!("{rows}.csv"), part(*rows, *rows + ROWS));
    world.start("streamer", &[("CSV_FILE", path.to_str().unwrap()), ("BATCH_SIZE", "50")]).succeeds().await;
    *rows += ROWS;
}
