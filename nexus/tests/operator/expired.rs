//! Rows that expired unread: listed with their lines, read from their file again.

use std::collections::BTreeMap;

use flate2::Compression;
use flate2::write::GzEncoder;
use nexus_common::books::actions::Actor;
use nexus_common::books::returns::{self, Kind};
use nexus_common::books::{expired, letters};
use nexus_common::domain::Timestamp;
use serde_json::Value;

use crate::bringing_back::TIGHT;
use crate::rows::{HEADER, expected, file, lines};
use crate::world::World;

/// A file nobody read in time; a collector has recorded it and runs.
async fn an_expired_file(world: &World, rows: u64) -> crate::process::Process {
    let path = world.file("a.csv", file(rows));
    world.publish(&path, &[("MESSAGE_TTL", "5s")]).await;
    world.expire_all().await;
    let collector = world.ready_collector().await;
    world.until_accounted(rows).await;
    assert_eq!(world.sums().await, [rows as i64, 0, 0, rows as i64]);
    collector
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    std::io::Write::write_all(&mut encoder, text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn what_expired_is_listed_with_its_lines_and_comes_back() {
    let world = World::new().await;
    let collector = an_expired_file(&world, 1_000).await;
    let list = world.nexus(&["expired", "list"]).await;
    let line = list.out.lines().nth(1).unwrap();
    assert!(line.contains("2–1001") && line.contains("1,000") && line.contains("expired"), "{}", list.out);
    assert!(line.ends_with("/a.csv"), "{line}");
    assert!(list.out.contains("1,000 rows to bring back"), "{}", list.out);
    let json = world.json(&["expired", "list", "--json", "--file", "a.csv"]).await;
    let batches = json["batches"].as_array().unwrap();
    let tile = |batch: &Value| (batch["first_line"].as_u64().unwrap(), batch["last_line"].as_u64().unwrap());
    assert_eq!(
        batches.iter().map(tile).collect::<Vec<_>>(),
        (0..10).map(|n| (2 + n * 100, 101 + n * 100)).collect::<Vec<_>>()
    );

    let answer = world.nexus(&["expired", "republish", "--all"]).await;
    assert_eq!(answer.status, 0, "{}", answer.err);
    assert!(answer.out.contains("republish 1: 1,000 rows in the queue again"), "{}", answer.out);
    world.until_accounted(2_000).await;
    world.books_are_balanced().await;
    world.values_are(&expected(0, 1_000)).await;
    assert_eq!(world.sums().await, [2_000, 1_000, 0, 1_000], "what expired still counts");

    let again = world.nexus(&["expired", "republish", "--all"]).await;
    assert!(again.status == 0 && again.out.contains("nothing to do"), "{} {}", again.out, again.err);
    let list = world.nexus(&["expired", "list"]).await;
    assert!(list.out.contains("republished (1)") && list.out.contains("nothing waits for you"), "{}", list.out);
    assert_eq!(world.accounted().await, 2_000);
    collector.stop().await;
}

#[tokio::test]
async fn a_republish_that_was_killed_goes_on_where_it_stopped() {
    let world = World::new().await;
    an_expired_file(&world, 400).await.stop().await;
    // Each batch of the ledger is cut in many.
    let republish = world.operator(&["expired", "republish", "--all"], &TIGHT);
    world.until_published("republish-1", 8).await;
    republish.kill().await;
    assert_eq!(world.cursor("republish-1").await.unwrap().rows, 8);

    let collector = world.collector();
    let answer = world.nexus(&["expired", "republish", "--all"]).await;
    assert_eq!(answer.status, 0, "{}", answer.err);
    assert!(answer.err.contains("republish 1 (400 rows, begun"), "{}", answer.err);
    world.until_accounted(800).await;
    world.books_are_balanced().await;
    world.values_are(&expected(0, 400)).await;
    assert_eq!(world.sums().await, [800, 400, 0, 400], "nothing twice");
    collector.stop().await;
}

#[tokio::test]
async fn a_file_is_known_by_its_content_wherever_it_is() {
    let world = World::new().await;
    let collector = an_expired_file(&world, 300).await;
    let text = std::fs::read_to_string(world.folder.path().join("a.csv")).unwrap();
    std::fs::remove_file(world.folder.path().join("a.csv")).unwrap();
    let gone = world.nexus(&["expired", "republish", "--all"]).await;
    assert_eq!(gone.status, 1);
    assert!(
        gone.out.contains("left: 300 rows expired (3 batches) of") && gone.out.contains("--dir FOLDER"),
        "{}",
        gone.out
    );

    let other = world.file("other.csv", file(5).replace("host-", "node-"));
    let wrong =
        world.nexus(&["expired", "republish", "--lane", &lane(&world).await, "--file", other.to_str().unwrap()]).await;
    assert_eq!(wrong.status, 1);
    assert!(wrong.out.contains("is another file now"), "{}", wrong.out);

    // Zipped, moved, grown and called otherwise.
    let moved = world.file("kept.csv.gz", gzip(&(text + &lines(300, 400))));
    let answer = world.nexus(&["expired", "republish", "--file", moved.to_str().unwrap()]).await;
    assert_eq!(answer.status, 0, "{} {}", answer.out, answer.err);
    world.until_accounted(600).await;
    world.books_are_balanced().await;
    world.values_are(&expected(0, 300)).await;
    collector.stop().await;
}

async fn lane(world: &World) -> String {
    world.ask("SELECT min(lane) FROM ledger WHERE expired > 0").await.unwrap()
}

#[tokio::test]
async fn a_file_that_has_changed_is_left_and_the_others_go_on() {
    let world = World::new().await;
    an_expired_file(&world, 300).await.stop().await;
    let changed = world.file("b.csv", format!("{HEADER}{}", lines(300, 500)));
    world.publish(&changed, &[]).await;
    world.publish(&world.file("c.csv", format!("{HEADER}{}", lines(500, 700))), &[]).await;
    world.expire_all().await;
    let collector = world.collector();
    world.until_accounted(700).await;
    // A row is gone and another one, as long, is at the end: size, lines and the first row are as they were.
    let text = std::fs::read_to_string(&changed).unwrap();
    let others = text.lines().enumerate().filter(|(line, _)| *line != 50).map(|(_, text)| format!("{text}\n"));
    std::fs::write(&changed, others.collect::<String>() + &lines(699, 700)).unwrap();

    let answer = world.nexus(&["expired", "republish", "--all"]).await;
    assert_eq!(answer.status, 1);
    assert!(answer.out.contains("republish 1: 500 rows in the queue again"), "{}", answer.out);
    assert!(answer.out.contains("left: 200 rows expired (2 batches) of"), "{}", answer.out);
    assert!(answer.out.contains("b.csv has changed since"), "{}", answer.out);
    world.until_accounted(1_200).await;
    world.books_are_balanced().await;
    assert_eq!(world.sums().await, [1_200, 500, 0, 700]);
    // Once the file is back, the rest comes, too.
    std::fs::write(&changed, text).unwrap();
    let answer = world.nexus(&["expired", "republish", "--all"]).await;
    assert_eq!(answer.status, 0, "{} {}", answer.out, answer.err);
    world.until_accounted(1_400).await;
    world.books_are_balanced().await;
    world.values_are(&expected(0, 700)).await;
    collector.stop().await;
}

#[tokio::test]
async fn a_file_that_goes_away_under_a_republish_is_given_back() {
    let world = World::new().await;
    an_expired_file(&world, 300).await.stop().await;
    let republish = world.operator(&["expired", "republish", "--all"], &TIGHT[1..]);
    world.until_published("republish-1", 100).await;
    republish.kill().await;
    let path = world.folder.path().join("a.csv");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let collector = world.collector();
    let answer = world.nexus(&["expired", "republish", "--all"]).await;
    assert_eq!(answer.status, 1);
    assert!(answer.out.contains("republish 1: 100 rows in the queue again"), "{}", answer.out);
    assert!(answer.out.contains("left: 200 rows expired (2 batches)"), "{}", answer.out);
    std::fs::write(&path, text).unwrap();
    let answer = world.nexus(&["expired", "republish", "--all"]).await;
    assert_eq!(answer.status, 0, "{} {}", answer.out, answer.err);
    assert!(answer.out.contains("republish 2: 200 rows in the queue again"), "{}", answer.out);
    world.until_accounted(600).await;
    world.books_are_balanced().await;
    world.values_are(&expected(0, 300)).await;
    collector.stop().await;
}

#[tokio::test]
async fn of_two_who_begin_at_once_each_batch_is_with_one() {
    let world = World::new().await;
    let collector = an_expired_file(&world, 300).await;
    let all = ["expired", "republish", "--all"];
    let (a, b, c) = tokio::join!(world.nexus(&all), world.nexus(&all), world.nexus(&all));
    assert!([&a, &b, &c].iter().any(|answer| answer.status == 0), "{} {} {}", a.err, b.err, c.err);
    let last = world.nexus(&all).await;
    assert_eq!(last.status, 0, "{}", last.err);
    world.until_accounted(600).await;
    world.books_are_balanced().await;
    world.values_are(&expected(0, 300)).await;
    assert_eq!(world.sums().await, [600, 300, 0, 300]);
    collector.stop().await;
}

#[tokio::test]
async fn who_comes_second_finds_nothing_to_begin() {
    let world = World::new().await;
    let collector = an_expired_file(&world, 300).await;
    let pool = nexus_common::db::pool(&world.postgres.config(), 1).unwrap();
    let mut client = pool.get().await.unwrap();
    let cluster = letters::cluster(&client, "local-cluster").await.unwrap().unwrap();
    let batches = expired::list(&client, cluster).await.unwrap();
    let by = Actor { name: "test".to_owned(), request_id: None };
    let first = returns::begin_republish(&mut client, cluster, &batches[..2], &by).await.unwrap().unwrap();
    assert_eq!((first.rows, first.lane().as_str()), (200, "republish-1"));
    // Both looked before either began: the second gets what is left of its choice, and then nothing.
    let second = returns::begin_republish(&mut client, cluster, &batches, &by).await.unwrap().unwrap();
    assert_eq!(second.rows, 100);
    assert!(returns::begin_republish(&mut client, cluster, &batches, &by).await.unwrap().is_none());
    assert_eq!(returns::unfinished(&client, cluster, Kind::Republish).await.unwrap().len(), 2);
    drop(client);
    let answer = world.nexus(&["expired", "republish", "--all"]).await;
    assert_eq!(answer.status, 0, "{}", answer.err);
    world.until_accounted(600).await;
    world.values_are(&expected(0, 300)).await;
    collector.stop().await;
}

#[tokio::test]
async fn part_of_a_batch_and_a_republish_that_expires_come_back_too() {
    let world = World::new().await;
    let path = world.file("a.csv", file(100));
    world.publish(&path, &[]).await;
    // Half of the messages of the only batch.
    let (client, keys) = (world.client().await, world.keys());
    let messages = client.list(&keys.messages(), usize::MAX).await.unwrap().kvs;
    let half = messages.iter().step_by(2).map(|kv| nexus_common::etcd::TxnOp::delete(kv.key(), None));
    client.txn(nexus_common::etcd::Txn::new().and_then(half.collect::<Vec<_>>())).await.unwrap();
    let collector = world.ready_collector().await;
    world.until_accounted(100).await;
    assert_eq!(world.sums().await, [100, 50, 0, 50]);
    world.is_drained().await;
    collector.stop().await;

    let answer = world.nexus(&["expired", "republish", "--file", path.to_str().unwrap()]).await;
    assert_eq!(answer.status, 0, "{}", answer.err);
    assert!(
        answer.err.contains("no collector is running") && answer.err.contains("50 rows of them had not"),
        "{}",
        answer.err
    );
    let waiting = world.nexus(&["expired", "list"]).await;
    assert!(!waiting.out.contains("still wait"), "{}", waiting.out);
    world.expire_all().await;
    let waiting = world.nexus(&["expired", "list"]).await;
    assert!(waiting.out.contains("100 messages expired in batches that still wait"), "{}", waiting.out);
    let collector = world.collector();
    world.until_accounted(200).await;
    assert_eq!(world.sums().await, [200, 50, 0, 150]);

    // It is known by the lane that once read it.
    let answer = world.nexus(&["expired", "republish", "--file", path.to_str().unwrap()]).await;
    assert!(answer.out.contains("republish 2: 100 rows"), "{} {}", answer.out, answer.err);
    world.until_accounted(300).await;
    world.books_are_balanced().await;
    world.values_are(&expected(0, 100)).await;
    collector.stop().await;
}

#[tokio::test]
async fn a_loop_comes_back_with_the_time_of_each_pass() {
    let world = World::new().await;
    let started = Timestamp::now();
    let path = world.file("a.csv", file(32));
    let streamer = world.start(
        "streamer",
        &[
            ("CSV_FILE", path.to_str().unwrap()),
            ("LOOP_MODE", "true"),
            ("STREAM_INTERVAL", "20ms"),
            ("BATCH_SIZE", "10"),
        ],
    );
    let lane = async || {
        let lanes = nexus_common::queue::Lane::named(&world.client().await, &world.keys(), "").await.unwrap();
        lanes.first().cloned()
    };
    nexus_common::testing::eventually("a lane", crate::world::PATIENCE, async || lane().await.is_some()).await;
    let lane = lane().await.unwrap();
    world.until_published(&lane, 100).await;
    streamer.stop().await;
    let rows = world.cursor(&lane).await.unwrap().rows;
    world.expire_all().await;
    let collector = world.ready_collector().await;
    world.until_accounted(rows).await;
    let answer = world.nexus(&["expired", "republish", "--all"]).await;
    assert_eq!(answer.status, 0, "{} {}", answer.out, answer.err);
    world.until_accounted(2 * rows).await;
    world.books_are_balanced().await;
    assert_eq!(world.sums().await[1], rows as i64);
    let stored =
        world.rows("SELECT (extract(epoch FROM ts) * 1000000)::bigint, energy_millijoules FROM samples").await.unwrap();
    // Each pass has times of its own, and the 16 GPUs of a scrape share one.
    let mut passes: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
    stored.iter().for_each(|row| passes.entry(row.get(0)).or_default().push(row.get(1)));
    assert_eq!(stored.len() as u64, rows);
    assert!(passes.keys().all(|at| *at >= started.0), "times of now, as they were published");
    assert_eq!(passes.len() as u64, rows.div_ceil(16));
    collector.stop().await;
}

#[tokio::test]
async fn a_stream_comes_back_from_a_copy() {
    let world = World::new().await;
    let path = world.file("copy.csv", file(150));
    let input = std::process::Stdio::from(std::fs::File::open(&path).unwrap());
    world.start_with_input("streamer", &[("CSV_FILE", "-")], input).succeeds().await;
    world.expire_all().await;
    let collector = world.ready_collector().await;
    world.until_accounted(150).await;
    let answer = world.nexus(&["expired", "republish", "--all"]).await;
    assert_eq!(answer.status, 1);
    let lane = lane(&world).await;
    assert!(answer.out.contains(&format!("--lane {lane} --file COPY")), "{}", answer.out);
    let answer = world.nexus(&["expired", "republish", "--lane", &lane, "--file", path.to_str().unwrap()]).await;
    assert_eq!(answer.status, 0, "{} {}", answer.out, answer.err);
    world.until_accounted(300).await;
    world.books_are_balanced().await;
    world.values_are(&expected(0, 150)).await;
    collector.stop().await;
}
