//! The restore drill: a real pipeline is backed up by the scripts of `scripts/backup`, destroyed, restored by them, and audited.
//!
//! `docs/BACKUP.md` says what is lost if etcd, PostgreSQL or both are lost; each line of that table is a test here, and every
//! value is compared with the file it came from. `make drill` prints how much was lost and how long it took.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, dead_code)]

#[path = "../operator/asking.rs"]
mod asking;
mod members;
mod plant;
#[path = "../support/process.rs"]
mod process;
#[path = "../support/prometheus.rs"]
mod prometheus;
#[path = "../support/rows.rs"]
mod rows;
mod scripts;
mod untold;
#[path = "../support/world.rs"]
mod world;

use std::time::{Instant, SystemTime};

use nexus_common::testing::eventually;
use serde_json::{Value, json};

use crate::plant::Plant;
use crate::rows::expected;
use crate::world::PATIENCE;

/// (a) What was queued only in etcd is gone, and how far sources were read is known as of the snapshot, or not at all. Their
/// streamers read them again.
#[tokio::test(flavor = "multi_thread")]
async fn etcd_alone_is_lost() {
    let mut plant = Plant::new().await;
    plant.stores_and_queues_behind_a_snapshot().await;
    let lost_at = Instant::now();
    plant.destroy_etcd().await;
    plant.restore_etcd(&[]).await;
    println!("(a) etcd alone: it answers {:.1} s after it was lost", lost_at.elapsed().as_secs_f64());
    let (books, balanced) = plant.audit(&[]).await;
    assert!(balanced, "{books}");
    assert!(
        books["lanes"][0]["notes"].to_string().contains("stands at row 2000, behind what PostgreSQL has"),
        "{books}"
    );
    let books = plant.goes_on(6_000).await;
    assert_eq!(books["total"]["read_again"], 2_000);

    // And without any snapshot.
    plant.world.etcd.wipe().await;
    let (books, balanced) = plant.audit(&[]).await;
    assert!(!balanced && books["lanes"][0]["known"] == false, "{books}");
    assert!(books["lanes"][0]["notes"].to_string().contains("etcd has no cursor of this lane"), "{books}");
    let books = plant.goes_on(6_000).await;
    assert_eq!(books["total"]["read_again"], 2_000 + 6_000);
}

/// (b) What was acknowledged since the end of the archived log is gone from both: the audit says which rows these are, and
/// they are read again from their file.
#[tokio::test(flavor = "multi_thread")]
async fn postgres_alone_is_lost_while_rows_flow() {
    const ROWS: u64 = 20_000;
    let mut plant = Plant::new().await;
    let path = plant.file(ROWS);
    let collector = plant.world.collector();
    let slow = [("CSV_FILE", path.as_str()), ("BATCH_SIZE", "20"), ("STREAM_INTERVAL", "10ms")];
    // It waits before half of its batches, so that rows flow after the backup, however long that takes.
    let mut streamer = plant.world.faulty("streamer", "publish.begin=500*off->1*return(stop)", &slow);
    eventually("rows flow", PATIENCE, async || plant.world.accounted().await > 500).await;
    plant.back_up_postgres().await;
    streamer.go_on().await;
    plant.stores_more_than_it_archives().await;

    let (lost_at, then) = (Instant::now(), SystemTime::now());
    plant.destroy_postgres().await;
    let point = plant.restore_postgres(&[]).await;
    let took = lost_at.elapsed();
    streamer.succeeds().await;
    plant.world.is_drained().await;
    let (books, balanced) = plant.audit(&[]).await;
    let lost = books["total"]["residue"].as_u64().unwrap();
    println!(
        "(b) PostgreSQL alone: {lost} of {ROWS} rows, {:.1} s of them (archive_timeout is 1 s here), were lost with its disk; it \
         takes writes {:.1} s after that",
        then.duration_since(point).unwrap_or_default().as_secs_f64(),
        took.as_secs_f64()
    );
    assert!(!balanced && lost > 0, "{books}");
    let holes: u64 = books["lanes"][0]["holes"].as_array().unwrap().iter().map(length).sum();
    assert_eq!(holes, lost, "{books}");
    let (samples, input) = (plant.world.samples().await, expected(0, ROWS));
    assert_eq!(samples.len() as u64, ROWS - lost);
    assert!(samples.iter().all(|(place, value)| input.get(place) == Some(value)));

    let dry = plant.world.json(&["rewind", "--all", "--dry-run", "--json"]).await;
    assert_eq!((&dry["rewound"][0]["lost"], &dry["left"]), (&json!(lost), &json!([])), "{dry}");
    assert_eq!(plant.audit(&[]).await.0["lanes"], books["lanes"], "a dry run has changed something");
    let said = plant.world.nexus(&["rewind", "--all"]).await;
    assert!(said.status == 0 && said.out.contains("read once more"), "{} {}", said.out, said.err);
    collector.stop().await;
    plant.goes_on(ROWS).await;
    let acts = plant.world.json_lines(&["actions", "--json"]).await;
    assert_eq!((&acts[0]["action"], &acts[0]["rows"]), (&json!("rewind"), &dry["rewound"][0]["read_again"]));
}

/// (c) Both are lost. A snapshot of etcd from before the point that PostgreSQL is restored to makes everything whole; one from
/// after it hides rows that PostgreSQL does not have, and the audit shows exactly these.
#[tokio::test(flavor = "multi_thread")]
async fn both_are_restored_from_different_moments() {
    let mut plant = Plant::new().await;
    let collector = plant.world.collector();
    plant.streams(2_000).await;
    plant.world.is_drained().await;
    plant.back_up_etcd().await;
    plant.back_up_postgres().await;
    plant.streams(4_000).await;
    plant.world.is_drained().await;
    let point = plant.moment().await;
    plant.streams(6_000).await;
    plant.world.is_drained().await;
    let late = plant.back_up_etcd().await;
    plant.archives().await;
    collector.stop().await;
    plant.streams(8_000).await;

    // As the runbook has it: PostgreSQL first, then etcd from before it.
    let lost_at = Instant::now();
    plant.destroy_etcd().await;
    plant.destroy_postgres().await;
    let stands = plant.restore_postgres(&["--time", &point]).await;
    assert_eq!(plant.world.samples().await, expected(0, 4_000));
    let stands = plant::text(stands);
    plant.restore_etcd(&["--before", &stands]).await;
    println!("(c) both: they answer {:.1} s after they were lost", lost_at.elapsed().as_secs_f64());
    let books = plant.goes_on(8_000).await;
    println!("    all rows are stored again after {:.1} s", lost_at.elapsed().as_secs_f64());
    assert_eq!(books["total"]["read_again"], 2_000);

    // The other way round.
    plant.archives().await;
    plant.destroy_etcd().await;
    plant.destroy_postgres().await;
    plant.restore_postgres(&["--time", &point]).await;
    plant.restore_etcd(&["--snapshot", late.to_str().unwrap()]).await;
    let (books, balanced) = plant.audit(&[]).await;
    assert!(!balanced, "{books}");
    assert_eq!(
        (&books["total"]["residue"], &books["lanes"][0]["holes"][0]["rows"]),
        (&json!(2_000), &json!([4_000, 6_000]))
    );
    assert_eq!(books["lanes"][0]["holes"][0]["after"]["line"], 4_001);
    assert_eq!(plant.shows(&["audit"]).await.status, 1);
    assert_eq!(plant.shows(&["rewind", "--all"]).await.status, 0);
    plant.goes_on(8_000).await;
    assert_eq!(plant.shows(&["audit"]).await.status, 0);
}

/// (d) One member of three loses its volume while rows flow. Under its old id it may not come back; it leaves and joins anew, as
/// the runbook has it, and is worth as much as the others.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_of_etcd_is_replaced_while_rows_flow() {
    const ROWS: u64 = 20_000;
    let mut plant = Plant::on_three_members().await;
    let path = plant.file(ROWS);
    let collector = plant.world.collector();
    let slow = [("CSV_FILE", path.as_str()), ("BATCH_SIZE", "20"), ("STREAM_INTERVAL", "10ms")];
    // It waits before the last of its batches, so that rows flow while the member is away, however long that takes.
    let mut streamer = plant.world.faulty("streamer", "publish.begin=800*off->1*return(stop)", &slow);
    eventually("rows flow", PATIENCE, async || plant.world.accounted().await > 500).await;

    let lost_at = Instant::now();
    plant.destroy_member(1).await;
    let kept = plant.world.accounted().await;
    eventually("rows flow", PATIENCE, async || plant.world.accounted().await > kept + 500).await;
    let refused = plant.member(1).restart().await;
    let log = std::fs::read_to_string(plant.member(1).log()).unwrap();
    assert!(refused.is_err() && log.contains("has already been bootstrapped"), "{refused:?}: {log}");
    plant.replace_member(1).await;
    println!(
        "(d) a member of etcd: it is one of three again {:.1} s after it was lost",
        lost_at.elapsed().as_secs_f64()
    );
    assert!(streamer.has_ended().is_none(), "nothing flowed meanwhile");
    streamer.go_on().await;

    // Without it there would be no majority now.
    plant.member(2).kill().await.unwrap();
    streamer.succeeds().await;
    plant.world.is_drained().await;
    collector.stop().await;
    let books = plant.goes_on(ROWS + 2_000).await;
    assert_eq!(books["total"]["read_again"], 0);
    plant.member(2).restart().await.unwrap();
    assert_eq!(plant.healthy_members().await, 3);
}

/// (e) etcd alone, of three members: all are stopped before the first is restored, all from the same snapshot, and then started.
#[tokio::test(flavor = "multi_thread")]
async fn an_etcd_of_three_members_is_lost() {
    let mut plant = Plant::on_three_members().await;
    plant.stores_and_queues_behind_a_snapshot().await;
    let lost_at = Instant::now();
    plant.destroy_etcd().await;
    plant.restore_etcd(&[]).await;
    println!("(e) an etcd of three members: it answers {:.1} s after it was lost", lost_at.elapsed().as_secs_f64());
    assert_eq!(plant.healthy_members().await, 3);
    let (books, balanced) = plant.audit(&[]).await;
    assert!(balanced, "{books}");
    // Any two of them are a majority of one cluster.
    plant.member(1).kill().await.unwrap();
    let books = plant.goes_on(6_000).await;
    assert_eq!(books["total"]["read_again"], 2_000);
}

fn length(hole: &Value) -> u64 {
    hole["rows"][1].as_u64().unwrap() - hole["rows"][0].as_u64().unwrap()
}
