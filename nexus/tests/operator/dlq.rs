//! Dead letters: looked at, sent again once the cause is gone, given up.

use nexus_common::etcd::{Txn, TxnOp};
use nexus_common::testing::eventually;
use nix::sys::signal::Signal;

use crate::bringing_back::TIGHT;
use crate::rows::{HEADER, expected, file, lines};
use crate::world::{PATIENCE, World};

const REFUSE: &str = "ALTER TABLE samples ADD CONSTRAINT not_evil CHECK (energy_millijoules::bigint % 10 <> 3)";
const RELENT: &str = "ALTER TABLE samples DROP CONSTRAINT not_evil";
const REFUSE_ALL: &str = "ALTER TABLE samples ADD CONSTRAINT not_evil CHECK (energy_millijoules < 0)";

/// A file's rows are dead, and what killed them is gone; no collector runs.
async fn a_dead_file(world: &World, rows: u64) {
    let collector = world.ready_collector().await;
    world.alter(REFUSE_ALL).await;
    let path = world.file("a.csv", file(rows));
    world.publish(&path, &[]).await;
    world.until_accounted(rows).await;
    collector.stop().await;
    world.alter(RELENT).await;
    assert_eq!(world.sums().await, [rows as i64, 0, rows as i64, 0]);
}

#[tokio::test]
async fn what_postgresql_refused_is_stored_once_the_cause_is_gone() {
    let world = World::new().await;
    let collector = world.ready_collector().await;
    world.alter(REFUSE).await;
    let path = world.file("a.csv", file(500));
    world.publish(&path, &[]).await;
    world.until_accounted(500).await;
    assert_eq!(world.sums().await, [500, 450, 50, 0]);

    let list = world.json(&["dlq", "list", "--json", "--limit", "1"]).await;
    assert_eq!((&list["reasons"][0]["dead"], &list["reasons"][0]["rows"]), (&50.into(), &50.into()), "{list}");
    let reason = list["reasons"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("not_evil"), "{reason}");
    let id = list["letters"][0]["id"].to_string();
    let shown = world.nexus(&["dlq", "show", &id]).await;
    for words in ["not_evil", "a.csv", "place    line ", "energy_millijoules", "nexus dlq redrive"] {
        assert!(shown.out.contains(words), "{words}: {}", shown.out);
    }

    // The cause is not gone: dead once more, and each letter once.
    let answer = world.nexus(&["dlq", "redrive", &id]).await;
    assert_eq!(answer.status, 0, "{}", answer.err);
    world.until_accounted(501).await;
    assert_eq!(world.sums().await, [501, 450, 51, 0]);

    world.alter(RELENT).await;
    // What the list shows as a reason is understood as one.
    let answer = world.json(&["dlq", "redrive", "--reason", reason, "--json"]).await;
    assert_eq!((&answer["returns"][0]["rows"], &answer["returns"][0]["lane"]), (&50.into(), &"redrive-2".into()));
    world.until_accounted(551).await;
    world.books_are_balanced().await;
    world.values_are(&expected(0, 500)).await;

    let again = world.nexus(&["dlq", "redrive", "--all"]).await;
    assert_eq!(again.status, 0, "{}", again.err);
    assert!(again.out.contains("nothing to do") && again.out.contains("51 letters: redriven before"), "{}", again.out);
    assert_eq!(world.sums().await, [551, 500, 51, 0]);
    let list = world.nexus(&["dlq", "list"]).await;
    assert!(list.out.contains("nothing waits for you"), "{}", list.out);
    // Unless it is said.
    let again = world.nexus(&["dlq", "redrive", "--all", "--again"]).await;
    assert_eq!(again.status, 0, "{}", again.err);
    world.until_accounted(602).await;
    world.books_are_balanced().await;
    world.values_are(&expected(0, 500)).await;
    collector.stop().await;
}

#[tokio::test]
async fn a_batch_that_was_buried_is_stored_once_the_cause_is_gone() {
    let world = World::new().await;
    let path = world.file("a.csv", file(300));
    world.publish(&path, &[]).await;
    world.attempted(5).await;
    let collector = world.ready_collector().await;
    world.until_accounted(300).await;
    assert_eq!(world.sums().await, [300, 0, 300, 0]);
    let answer = world.nexus(&["dlq", "redrive", "--reason", "kill its collectors"]).await;
    assert_eq!(answer.status, 0, "{}", answer.err);
    assert!(answer.out.contains("redrive 1: 300 rows in the queue again"), "{}", answer.out);
    world.until_accounted(600).await;
    world.books_are_balanced().await;
    world.values_are(&expected(0, 300)).await;
    assert_eq!(world.sums().await, [600, 300, 300, 0]);
    collector.stop().await;
}

#[tokio::test]
async fn a_redrive_that_was_killed_goes_on_where_it_stopped() {
    let world = World::new().await;
    a_dead_file(&world, 400).await;
    let redrive = world.operator(&["dlq", "redrive", "--all"], &TIGHT);
    world.until_published("redrive-1", 8).await;
    redrive.kill().await;
    assert_eq!(world.cursor("redrive-1").await.unwrap().rows, 8);
    let list = world.json(&["dlq", "list", "--json", "--state", "redriving", "--limit", "0"]).await;
    assert_eq!(list["reasons"][0]["letters"], 400, "{list}");
    // What is under way cannot be given up.
    let purge = world.json(&["dlq", "purge", "--all", "--yes", "--json"]).await;
    assert_eq!(purge["letters"], 0);

    let collector = world.collector();
    // Those of the redrive that is gone on with are done, even if it is said that others are sent again.
    let answer = world.nexus(&["dlq", "redrive", "--all", "--again"]).await;
    assert_eq!(answer.status, 0, "{}", answer.err);
    assert!(answer.err.contains("redrive 1 (400 rows, begun"), "{}", answer.err);
    assert!(answer.out.starts_with("redrive 1: 400 rows in the queue again"), "{}", answer.out);
    assert_eq!(answer.out.lines().count(), 1, "{}", answer.out);
    world.until_accounted(800).await;
    world.books_are_balanced().await;
    world.values_are(&expected(0, 400)).await;
    assert_eq!(world.sums().await, [800, 400, 400, 0], "nothing twice");
    assert_eq!(world.ask::<i64>("SELECT count(*) FROM returns").await, Some(1));
    collector.stop().await;
}

#[tokio::test]
async fn of_two_operators_the_second_goes_on_and_the_first_is_told() {
    let world = World::new().await;
    a_dead_file(&world, 200).await;
    let slow = [("MAX_TXN_OPS", "16"), ("FAILPOINTS", "publish.begin=1*off->1*return(stop)")];
    let mut first = world.operator(&["dlq", "redrive", "--all"], &slow);
    first.freezes().await;
    let second = world.nexus(&["dlq", "redrive", "--all"]).await;
    assert_eq!(second.status, 0, "{}", second.err);
    // The first one tries to publish.
    first.signal(Signal::SIGCONT);
    let collector = world.collector();
    assert_eq!(first.ended().await.code(), Some(1), "{}", first.log());
    assert!(first.log().contains("somebody else goes on with redrive-1"), "{}", first.log());
    world.until_accounted(400).await;
    world.books_are_balanced().await;
    world.values_are(&expected(0, 200)).await;
    assert_eq!(world.sums().await, [400, 200, 200, 0]);
    collector.stop().await;
}

#[tokio::test]
async fn of_two_who_begin_at_once_each_letter_is_with_one() {
    let world = World::new().await;
    a_dead_file(&world, 300).await;
    let collector = world.collector();
    let all = ["dlq", "redrive", "--all"];
    let (a, b, c) = tokio::join!(world.nexus(&all), world.nexus(&all), world.nexus(&all));
    assert!([&a, &b, &c].iter().any(|answer| answer.status == 0), "{} {} {}", a.err, b.err, c.err);
    let last = world.nexus(&all).await;
    assert_eq!(last.status, 0, "{}", last.err);
    world.until_accounted(600).await;
    world.books_are_balanced().await;
    world.values_are(&expected(0, 300)).await;
    assert_eq!(world.sums().await, [600, 300, 300, 0]);
    collector.stop().await;
}

#[tokio::test]
async fn an_etcd_that_was_wiped_meanwhile_gets_all_of_it() {
    let mut world = World::new().await;
    a_dead_file(&world, 200).await;
    let redrive = world.operator(&["dlq", "redrive", "--all"], &TIGHT);
    world.until_published("redrive-1", 8).await;
    redrive.kill().await;
    world.etcd = nexus_common::testing::etcd().await;
    let collector = world.collector();
    let answer = world.nexus(&["dlq", "redrive", "--all"]).await;
    assert_eq!(answer.status, 0, "{}", answer.err);
    world.until_accounted(400).await;
    world.sums_agree().await;
    // The return is known to PostgreSQL; how far the file was read only etcd knew.
    assert_eq!(world.nexus(&["audit", "--lane", "redrive-1"]).await.status, 0);
    let audit = world.nexus(&["audit"]).await;
    assert!(audit.status == 1 && audit.err.contains("lost the cursors of 1 lane"), "{}{}", audit.out, audit.err);
    world.values_are(&expected(0, 200)).await;
    collector.stop().await;
}

#[tokio::test]
async fn a_postgresql_that_begins_anew_numbers_anew() {
    let mut world = World::new().await;
    a_dead_file(&world, 200).await;
    let collector = world.collector();
    assert_eq!(world.nexus(&["dlq", "redrive", "--all"]).await.status, 0);
    world.until_accounted(400).await;
    world.is_drained().await;
    collector.stop().await;
    // The cursor of redrive-1 stays, and speaks of letters that have other numbers now.
    world.postgres = nexus_common::testing::postgres().await;
    let collector = world.ready_collector().await;
    world.alter(REFUSE_ALL).await;
    world.publish(&world.file("b.csv", format!("{HEADER}{}", lines(200, 300))), &[]).await;
    world.until_accounted(100).await;
    world.alter(RELENT).await;
    let answer = world.nexus(&["dlq", "redrive", "--all"]).await;
    assert!(answer.out.contains("redrive 1: "), "{} {}", answer.out, answer.err);
    world.until_accounted(200).await;
    world.values_are(&expected(200, 300)).await;
    collector.stop().await;
}

#[tokio::test]
async fn a_full_etcd_is_said_and_nothing_is_lost() {
    let world = World::with_etcd(|options| options.quota_backend_bytes = 16 << 20).await;
    a_dead_file(&world, 200).await;
    let (client, keys) = (world.client().await, world.keys());
    let redrive = world.operator(&["dlq", "redrive", "--all"], &TIGHT);
    world.until_published("redrive-1", 8).await;
    redrive.kill().await;
    for index in 0..64 {
        let put = TxnOp::put(format!("/elsewhere/{index}"), vec![b'x'; 1 << 20], None);
        if client.txn(Txn::new().and_then([put])).await.is_err() {
            break;
        }
    }
    assert!(client.out_of_space().await.unwrap());
    let answer = world.nexus(&["dlq", "redrive", "--all"]).await;
    assert_eq!(answer.status, 1);
    assert!(answer.err.contains("NOSPACE"), "{}", answer.err);
    // Somebody makes room.
    let elsewhere = client.list("/elsewhere/", usize::MAX).await.unwrap();
    for kv in &elsewhere.kvs {
        client.txn(Txn::new().and_then([TxnOp::delete(kv.key(), None)])).await.unwrap();
    }
    let now = client.list(&keys.lanes(), usize::MAX).await.unwrap().revision;
    client.compact(now, true).await.unwrap();
    client.defragment().await.unwrap();
    client.disarm().await.unwrap();
    let collector = world.collector();
    let answer = world.nexus(&["dlq", "redrive", "--all"]).await;
    assert_eq!(answer.status, 0, "{}", answer.err);
    world.until_accounted(400).await;
    world.books_are_balanced().await;
    world.values_are(&expected(0, 200)).await;
    collector.stop().await;
}

#[tokio::test]
async fn rows_that_were_not_understood_are_read_once_more_under_a_header() {
    let world = World::new().await;
    let late = |day: u8| format!("2090-01-0{day}T00:00:00Z,DCGM_FI_DEV_GPU_TEMP,0,nvidia0,GPU-1,H100,h,,,,4{day},\n");
    let cut = format!("2026-01-01T00:00:00Z,{}\n", "x".repeat(100_000));
    let path = world.file("a.csv", format!("{HEADER}{}broken\n{}{cut}", late(1), late(2)));
    let collector = world.ready_collector().await;
    world.publish(&path, &[]).await;
    world.until_accounted(4).await;
    assert_eq!(world.sums().await, [4, 0, 4, 0]);

    let answer = world.nexus(&["dlq", "redrive", "--all"]).await;
    assert_eq!(answer.status, 1);
    assert!(answer.out.contains("left: 3 letters: rows that were not understood; --header-from"), "{}", answer.out);
    assert!(answer.out.contains("left: 1 letter: longer than what is kept of a row, 64 KiB"), "{}", answer.out);
    let shown = world.nexus(&["dlq", "show", "4"]).await;
    assert!(
        shown.out.contains("100021 bytes, 65536 kept") && shown.out.contains("cannot be redriven"),
        "{}",
        shown.out
    );

    let path = path.to_str().unwrap();
    let answer = world.nexus(&["dlq", "redrive", "--file", "a.csv", "--header-from", path]).await;
    assert_eq!(answer.status, 1);
    assert!(answer.out.contains("not understood under this header either: timestamp"), "{}", answer.out);

    let century = [("MAX_FUTURE", "36500days")];
    let redrive = ["dlq", "redrive", "--all", "--header", HEADER.trim_end()];
    let answer = world.nexus_with(&redrive, &century).await;
    assert!(answer.out.contains("redrive 1: 2 rows in the queue again"), "{} {}", answer.out, answer.err);
    assert_eq!(answer.status, 1, "two are left");
    world.until_accounted(6).await;
    world.books_are_balanced().await;
    let stored = "SELECT string_agg(extract(day FROM ts) || ':' || temperature_celsius, ' ' ORDER BY ts) FROM samples";
    assert_eq!(world.ask::<String>(stored).await.as_deref(), Some("1:41 2:42"));
    let places =
        "SELECT first_line || '-' || last_line || ' of ' || right(file, 5) FROM ledger WHERE lane = 'redrive-1'";
    assert_eq!(world.ask::<String>(places).await.as_deref(), Some("2-4 of a.csv"));

    let refused = world.nexus(&["dlq", "redrive", "--all", "--header", "a,b,c"]).await;
    assert_eq!((refused.status, refused.err.lines().count()), (2, 1), "{}", refused.err);
    collector.stop().await;
}

#[tokio::test]
async fn purged_letters_still_count() {
    let world = World::new().await;
    a_dead_file(&world, 100).await;
    let collector = world.collector();
    let asked = world.nexus(&["dlq", "purge", "--all"]).await;
    assert_eq!(asked.status, 2, "nobody can be asked");
    assert!(asked.err.contains("100 letters (100 rows)") && asked.err.contains("--yes"), "{}", asked.err);
    let one = world.nexus(&["dlq", "purge", "7"]).await;
    assert_eq!(
        (one.status, one.out.lines().next()),
        (0, Some("purged 1 letter (1 row); they still count, with their place and reason"))
    );
    let rest = world.json(&["dlq", "purge", "--reason", "not_evil", "--yes", "--json"]).await;
    assert_eq!(rest["rows"], 99);
    let again = world.nexus(&["dlq", "purge", "--all", "--yes"]).await;
    assert!(again.status == 0 && again.out.contains("nothing to do"), "{}", again.out);

    assert_eq!(world.ask::<i64>("SELECT sum(row_count)::bigint FROM dead_letters").await, Some(100));
    assert_eq!(world.ask::<i64>("SELECT sum(length(raw))::bigint FROM dead_letters").await, Some(0));
    world.books_are_balanced().await;
    let shown = world.nexus(&["dlq", "show", "7"]).await;
    assert!(shown.out.contains("7, purged at") && shown.out.contains("not_evil"), "{}", shown.out);
    let redrive = world.nexus(&["dlq", "redrive", "--all"]).await;
    assert_eq!(redrive.status, 0, "{}", redrive.err);
    assert!(redrive.out.contains("left: 100 letters: purged"), "{}", redrive.out);
    collector.stop().await;
}

#[tokio::test]
async fn a_mistake_is_one_line() {
    let world = World::new().await;
    let collector = world.ready_collector().await;
    let one_line = async |arguments: &[&str], status: i32, words: &str| {
        let answer = world.nexus(arguments).await;
        assert_eq!(answer.status, status, "{arguments:?}: {}", answer.err);
        assert!(answer.err.contains(words) && answer.err.lines().count() == 1, "{arguments:?}: {}", answer.err);
    };
    let unknown = async || {
        let answer = world.nexus(&["dlq", "list"]).await;
        answer.status == 2 && answer.err.contains("nothing of this cluster was ever stored")
    };
    eventually("an unknown cluster is one line", PATIENCE, unknown).await;
    let path = world.file("a.csv", file(1));
    world.publish(&path, &[]).await;
    world.until_accounted(1).await;
    one_line(&["dlq", "show", "99"], 1, "there is no dead letter 99").await;
    one_line(&["dlq", "redrive", "99"], 1, "there is no dead letter 99").await;
    assert_eq!(world.nexus(&["dlq", "list"]).await.out, "no dead letters\n");
    assert_eq!(world.nexus(&["dlq", "redrive"]).await.status, 2, "nothing is no selection");
    assert_eq!(world.nexus(&["dlq", "purge", "--yes"]).await.status, 2, "nor here");
    collector.stop().await;
}
