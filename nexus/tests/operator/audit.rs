//! `nexus audit`: balanced as long as nothing is missing, and not a moment longer.

use std::path::Path;

use nexus_common::queue::{Cutter, Draft, Lane};
use nexus_common::testing::eventually;
use nexus_streamer::source::{Location, Next, Options, Source};
use serde_json::{Value, json};

use crate::rows::{file, lines};
use crate::world::{PATIENCE, World};

const FIGURES: [&str; 7] = ["read", "stored", "dead", "queued", "in_flight", "expired", "residue"];

fn figures(account: &Value) -> [i64; 7] {
    FIGURES.map(|name| account[name].as_i64().unwrap_or_else(|| panic!("{name} in {account}")))
}

impl World {
    /// The books, whatever their state; and whether the command says that they balance.
    async fn books(&self, arguments: &[&str]) -> (Value, bool) {
        let answer = self.nexus(&[&["audit", "--json"], arguments].concat()).await;
        assert!([0, 1].contains(&answer.status), "{} {}", answer.out, answer.err);
        let books = answer.json();
        assert_eq!(books["balanced"], answer.status == 0, "{} {}", answer.out, answer.err);
        (books, answer.status == 0)
    }

    /// A file of so many rows, published and stored.
    async fn stored_file(&self, rows: u64) -> String {
        let path = self.file("a.csv", file(rows)).to_str().unwrap().to_owned();
        let collector = self.collector();
        self.start("streamer", &[("CSV_FILE", &path)]).succeeds().await;
        self.until_accounted(rows).await;
        self.is_drained().await;
        collector.stop().await;
        path
    }

    async fn change(&self, sql: &str) {
        self.rows(sql).await.unwrap_or_else(|| panic!("{sql}"));
    }
}

#[tokio::test]
async fn the_books_balance_while_rows_flow_and_when_they_are_stored() {
    let world = World::new().await;
    let broken = "not a row\n,,,\n";
    let path = world.file("a.csv", format!("{}{broken}{}", file(3_000), lines(3_000, 6_000)));
    let path = path.to_str().unwrap();
    let mut streamer = world.slow_streamer(path);
    eventually("something is queued", PATIENCE, async || world.books(&[]).await.0["total"]["queued"] != 0).await;
    let collector = world.collector();
    // Whenever one looks, whoever is at work.
    let (mut looks, mut last) = (0, [0; 7]);
    while world.accounted().await < 6_002 {
        let (books, balanced) = world.books(&[]).await;
        assert!(balanced, "{books}");
        let now = figures(&books["total"]);
        assert!(now[0] >= last[0] && now[1] >= last[1], "{last:?} then {now:?}");
        (looks, last) = (looks + 1, now);
    }
    assert!(looks > 0);
    streamer.succeeds().await;
    world.is_drained().await;
    let (books, balanced) = world.books(&["--file", path, "--deep"]).await;
    assert!(balanced, "{books}");
    assert_eq!(figures(&books["total"]), [6_002, 6_000, 2, 0, 0, 0, 0]);
    assert_eq!(books["file"]["rows"], 6_002);
    assert_eq!(
        books["file"]["deep"],
        json!({"rows": 6_000, "values": 6_000, "differ": 0, "overruled": 0, "not_stored": 2})
    );
    collector.stop().await;
}

#[tokio::test]
async fn a_ledger_row_that_is_gone_is_a_hole_with_its_place() {
    let world = World::new().await;
    let path = world.stored_file(1_000).await;
    world.change("DELETE FROM ledger WHERE rows_before IN (300, 400, 900)").await;
    let (books, balanced) = world.books(&[]).await;
    assert!(!balanced);
    assert_eq!(figures(&books["total"]), [1_000, 700, 0, 0, 0, 0, 300]);
    let holes = &books["lanes"][0]["holes"];
    assert_eq!((&holes[0]["rows"], &holes[1]["rows"]), (&json!([300, 500]), &json!([900, 1_000])));
    assert_eq!((&holes[0]["after"]["line"], &holes[0]["before"]["line"]), (&json!(301), &json!(502)));
    assert_eq!((&holes[1]["after"]["line"], &holes[1]["before"]), (&json!(901), &Value::Null));
    assert_eq!(holes[0]["after"]["file"], json!(path));
    let said = world.nexus(&["audit"]).await;
    assert!(said.out.contains("rows 300 to 499 are LOST (200 rows): after line 301"), "{}", said.out);
    // The file itself says the same.
    assert_eq!(world.books(&["--file", &path]).await.0["file"]["skipped"], 300);
}

#[tokio::test]
async fn a_sample_changed_or_deleted_by_hand_is_found_in_the_file() {
    let world = World::new().await;
    let path = world.stored_file(500).await;
    assert!(world.books(&["--file", &path, "--deep"]).await.1);
    world.change("DELETE FROM samples WHERE energy_millijoules = 123").await;
    world.change("UPDATE samples SET energy_millijoules = -1 WHERE energy_millijoules = 321").await;
    // The books alone cannot know.
    assert!(world.books(&["--file", &path]).await.1);
    let (books, balanced) = world.books(&["--file", &path, "--deep"]).await;
    assert!(!balanced);
    assert_eq!((&books["file"]["deep"]["rows"], &books["file"]["deep"]["differ"]), (&json!(498), &json!(2)));
    let faults = books["file"]["faults"].to_string();
    assert!(
        faults.contains("line 125: ") && faults.contains("energy_millijoules is 123, stored is nothing"),
        "{faults}"
    );
    assert!(faults.contains("line 323: ") && faults.contains("energy_millijoules is 321, stored is -1"), "{faults}");
}

#[tokio::test]
async fn a_dead_letter_that_is_gone_is_missed() {
    let world = World::new().await;
    let path = world.file("a.csv", format!("{}broken\nbroken too\n", file(10)));
    let collector = world.collector();
    world.start("streamer", &[("CSV_FILE", path.to_str().unwrap())]).succeeds().await;
    world.until_accounted(12).await;
    assert!(world.books(&[]).await.1);
    world.change("DELETE FROM dead_letters WHERE line = 12").await;
    let (books, balanced) = world.books(&[]).await;
    assert!(!balanced);
    assert_eq!(figures(&books["total"]), [12, 10, 1, 0, 0, 0, 1]);
    collector.stop().await;
}

#[tokio::test]
async fn a_queue_without_collectors_balances_and_an_etcd_that_forgot_does_not() {
    let mut world = World::new().await;
    let path = world.stored_file(400).await;
    world.file("a.csv", file(700));
    world.start("streamer", &[("CSV_FILE", &path)]).succeeds().await;
    let (books, balanced) = world.books(&[]).await;
    assert!(balanced);
    assert_eq!(figures(&books["total"]), [700, 400, 0, 300, 0, 0, 0]);
    let (books, balanced) = world.books(&["--file", &path, "--deep"]).await;
    assert!(balanced, "{books}");
    assert_eq!((&books["file"]["deep"]["rows"], &books["file"]["deep"]["not_stored"]), (&json!(400), &json!(300)));
    // Wiped: what was stored is accounted for; how far the source was read nobody can tell, and that is no balance.
    world.etcd = nexus_common::testing::etcd().await;
    let (books, balanced) = world.books(&[]).await;
    assert!(!balanced);
    assert_eq!(figures(&books["total"]), [400, 400, 0, 0, 0, 0, 0]);
    assert_eq!(books["lanes"][0]["known"], false);
    assert!(books["lanes"][0]["notes"][0].as_str().unwrap().contains("no cursor"), "{books}");
    // The streamer begins again: rows that were read twice are counted twice, on both sides.
    let collector = world.collector();
    world.start("streamer", &[("CSV_FILE", &path)]).succeeds().await;
    world.until_accounted(1_100).await;
    let (books, balanced) = world.books(&["--file", &path, "--deep"]).await;
    assert!(balanced, "{books}");
    assert_eq!((&books["total"]["read"], &books["total"]["read_again"]), (&json!(1_100), &json!(400)));
    collector.stop().await;
    // What the first run stored hides nothing that the second one lost.
    let second = "run = (SELECT run FROM ledger GROUP BY run ORDER BY min(published_at) DESC LIMIT 1)";
    world.change(&format!("DELETE FROM ledger WHERE {second} AND n IN (1, 2)")).await;
    let (books, balanced) = world.books(&[]).await;
    assert!(!balanced);
    assert_eq!((&books["total"]["residue"], &books["lanes"][0]["holes"][0]["rows"]), (&json!(200), &json!([0, 200])));
}

/// The batches that a reader would publish which leaves out some lines.
fn drafts_without(path: &Path, left_out: &[u64]) -> (String, Vec<Draft>) {
    let mut source = Source::open(&Location::File(path.to_owned()), &Options::default()).unwrap();
    let lane = format!("{}-0of1", source.fingerprint().unwrap());
    let mut cutter = Cutter::new(nexus_common::queue::Bounds::new(10, 128), path.to_str().unwrap(), 0);
    let (mut drafts, mut end) = (Vec::new(), None);
    while let Next::Row(mut row) = source.next().unwrap() {
        if left_out.contains(&row.line) {
            continue;
        }
        // It does not know that it left one out: its rows follow on from each other.
        if let Some(end) = end {
            row.byte = end;
        }
        end = Some(row.end);
        drafts.extend(cutter.push(row));
    }
    drafts.extend(cutter.flush());
    (lane, drafts)
}

#[tokio::test]
async fn a_reader_that_leaves_out_a_line_is_found_out_by_counting_again() {
    let world = World::new().await;
    let path = world.file("a.csv", file(100));
    let (name, drafts) = drafts_without(&path, &[35]);
    let (client, keys) = (world.client().await, world.keys());
    let ttl = std::time::Duration::from_secs(3600);
    let mut lane = Lane::open(&client, &keys, &name, &json!({"file": "a.csv"}), ttl).await.unwrap();
    for draft in &drafts {
        lane.publish(draft, &json!({"file": "a.csv"})).await.unwrap();
    }
    let collector = world.collector();
    world.until_accounted(99).await;
    world.is_drained().await;
    collector.stop().await;
    // All that was published is accounted for ...
    assert!(world.books(&[]).await.1);
    // ... and is not all there is.
    let (books, balanced) = world.books(&["--file", path.to_str().unwrap()]).await;
    assert!(!balanced);
    assert_eq!((&books["file"]["rows"], &books["file"]["miscounted"]), (&json!(100), &json!(1)), "{books}");
    let fault = books["file"]["faults"][0].as_str().unwrap();
    assert!(fault.contains("counts 10 rows, the file has 11"), "{fault}");
}

#[tokio::test]
async fn rows_behind_the_last_batch_are_not_read_yet() {
    let world = World::new().await;
    let path = world.stored_file(100).await;
    let grown = world.file("a.csv", file(130));
    let (books, balanced) = world.books(&["--file", &path]).await;
    assert!(!balanced);
    assert_eq!((&books["file"]["rows"], &books["file"]["unread"]), (&json!(130), &json!(30)));
    let said = world.nexus(&["audit", "--file", grown.to_str().unwrap()]).await;
    assert!(said.err.contains("30 rows at the end of the file were not read (yet)"), "{}", said.err);
}

#[tokio::test]
async fn stripes_and_passes_of_a_loop_are_one_file() {
    let world = World::new().await;
    let path = world.file("a.csv", file(6_000));
    let path = path.to_str().unwrap();
    let collector = world.collector();
    let stripe = |stripe| [("CSV_FILE", path), ("STRIPE", stripe), ("LOOP_MODE", "true"), ("STREAM_INTERVAL", "1ms")];
    // Whoever comes late joins the first stripe in the pass it is in: so the other one is there before it.
    let (client, lanes) = (world.client().await, world.keys().lanes());
    let mut second = world.start("streamer", &stripe("1/2"));
    eventually("the second stripe waits for the first", PATIENCE, async || {
        client.count(&lanes).await.is_ok_and(|count| count > 0)
    })
    .await;
    let mut first = world.start("streamer", &stripe("0/2"));
    world.until_accounted(20_000).await;
    for streamer in [&mut first, &mut second] {
        streamer.signal(nix::sys::signal::Signal::SIGTERM);
        streamer.succeeds().await;
    }
    world.is_drained().await;
    let (books, balanced) = world.books(&["--file", path, "--deep"]).await;
    assert!(balanced, "{books}");
    assert_eq!(books["lanes"].as_array().unwrap().len(), 2);
    assert_eq!((&books["file"]["rows"], &books["file"]["skipped"]), (&json!(6_000), &json!(0)));
    assert!(books["file"]["passes"].as_u64().unwrap() >= 3);
    assert_eq!(books["file"]["deep"]["rows"], books["total"]["stored"]);
    collector.stop().await;
}

#[tokio::test]
async fn a_file_that_nobody_read_and_servers_that_are_away_are_said() {
    let mut world = World::new().await;
    let path = world.file("a.csv", file(5));
    let never = world.nexus(&["audit", "--file", path.to_str().unwrap()]).await;
    // PostgreSQL has no tables yet: nothing was ever started here.
    assert_eq!((never.status, never.out.as_str()), (1, ""));
    let missing = world.nexus(&["audit", "--file", "/nowhere.csv"]).await;
    assert_eq!(missing.status, 2, "{}", missing.err);
    world.stored_file(5).await;
    let other = world.file("b.csv", format!("{}{}", crate::rows::HEADER, lines(50, 55)));
    let other = world.nexus(&["audit", "--file", other.to_str().unwrap()]).await;
    assert!(other.status == 1 && other.err.contains("no lane has read it"), "{}", other.err);
    let mistyped = world.nexus(&["audit", "--lane", "nope"]).await;
    assert!(mistyped.status == 1 && mistyped.err.contains("no lane that is called"), "{}", mistyped.err);
    world.postgres.kill().await.unwrap();
    let away = world.nexus(&["audit"]).await;
    assert!(away.status == 1 && away.err.contains("PostgreSQL"), "{}", away.err);
}
