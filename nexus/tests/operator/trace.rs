//! `nexus trace`: exactly the line and the byte, wherever the value is.

use std::path::Path;

use nexus_common::domain::Timestamp;
use serde_json::{Value, json};

use crate::queue::{batches, claimed};
use crate::rows;
use crate::world::World;

/// Row `index` of the export: host, GPU, time as text.
fn question(index: u64) -> (String, String, String) {
    let ((host, gpu, at), _) = rows::expected(index, index + 1).into_iter().next().unwrap();
    (host, gpu, Timestamp(at).to_string())
}

/// Where row `index` lies: line, first byte, the byte behind it, and what stands there.
fn place(content: &str, index: u64) -> (u64, u64, u64, String) {
    let wanted = usize::try_from(index).unwrap() + 1;
    let byte: usize = content.split_inclusive('\n').take(wanted).map(str::len).sum();
    let text = content.lines().nth(wanted).unwrap();
    (index + 2, byte as u64, (byte + text.len() + 1) as u64, text.to_owned())
}

async fn traced(world: &World, index: u64, more: &[&str]) -> Value {
    let (host, gpu, at) = question(index);
    let about = ["trace", "--host", &host, "--gpu", &gpu, "--at", &at, "--json"];
    world.json(&[&about, more].concat()).await
}

/// One row in one batch, exactly where it lies in the file.
fn is_at(found: &Value, content: &str, index: u64, file: &Path) {
    let (line, byte, end, text) = place(content, index);
    let [trail] = found["trails"].as_array().unwrap().as_slice() else { panic!("{found}") };
    let [row] = trail["rows"].as_array().unwrap().as_slice() else { panic!("{found}") };
    assert_eq!((&row["line"], &row["byte"]), (&json!(line), &json!(byte)), "{found}");
    assert_eq!(row["values"]["energy_millijoules"], index as f64);
    assert_eq!(trail["batch"]["file"], file.to_str().unwrap());
    // A message does not say where its row ends.
    if row["key"].is_null() {
        assert_eq!((&row["end_byte"], &row["text"]), (&json!(end), &json!(text)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_is_followed_from_the_queue_into_the_database_and_back_to_its_line() {
    let world = World::new().await;
    let content = rows::file(300);
    let file = world.file("x.csv", &content);
    world.start("streamer", &[("CSV_FILE", file.to_str().unwrap())]).succeeds().await;

    let queued = traced(&world, 137, &[]).await;
    assert_eq!(queued["state"], "queued", "{queued}");
    is_at(&queued, &content, 137, &file);
    let key = queued["trails"][0]["rows"][0]["key"].as_str().unwrap().to_owned();
    let batch = queued["trails"][0]["batch"]["id"].as_str().unwrap().to_owned();
    let by_key = world.json(&["trace", &key, "--json"]).await;
    assert_eq!(by_key["state"], "queued");
    is_at(&by_key, &content, 137, &file);

    let standee = batches(&world).await.into_iter().find(|standee| standee.batch.to_string() == batch).unwrap();
    let (consumer, _, claim) = claimed(&world, &standee, "c1").await;
    let in_flight = traced(&world, 137, &[]).await;
    assert_eq!(
        (&in_flight["state"], &in_flight["trails"][0]["queue"]["claimed_by"]),
        (&"in_flight".into(), &"c1".into())
    );
    consumer.release(&claim).await.unwrap();

    let collector = world.collector();
    world.until_accounted(300).await;
    world.is_drained().await;
    let stored = traced(&world, 137, &["--metric", "energy"]).await;
    assert_eq!(stored["state"], "stored", "{stored}");
    assert_eq!(stored["samples"][0]["values"], json!({"energy_millijoules": 137.0}));
    is_at(&stored, &content, 137, &file);
    let trail = &stored["trails"][0];
    assert_eq!((&trail["batch"]["id"], &trail["rows"][0]["is_as_stored"]), (&json!(batch), &true.into()));
    let booked: String = world.ask("SELECT DISTINCT collector FROM ledger").await.unwrap();
    assert_eq!((&trail["ledger"]["collector"], &trail["ledger"]["collector_is_alive"]), (&json!(booked), &true.into()));

    let by_key = world.json(&["trace", &key, "--json"]).await;
    assert_eq!(by_key["state"], "stored", "{by_key}");
    let lines: Vec<_> = by_key["trails"][0]["rows"].as_array().unwrap().iter().map(|row| row["line"].clone()).collect();
    assert!(lines.contains(&json!(139)), "{lines:?}");
    let by_batch = world.json(&["trace", &batch, "--json"]).await;
    assert_eq!((&by_batch["state"], &by_batch["trails"][0]["batch"]["lines"]), (&"stored".into(), &json!([102, 201])));
    let people = world.nexus(&["trace", "--host", "host-001", "--gpu", "1", "--at", &question(137).2]).await.out;
    assert!(
        people.contains("line 139, byte ") && people.contains("as stored") && people.contains(": stored\n"),
        "{people}"
    );

    // The file goes elsewhere: its content, not its name, is what counts.
    let elsewhere = world.folder.path().join("archive.csv");
    std::fs::rename(&file, &elsewhere).unwrap();
    world.file("x.csv", format!("{}{}", rows::HEADER, rows::lines(5, 9)));
    let gone = traced(&world, 137, &[]).await;
    assert_eq!((&gone["state"], &gone["trails"]), (&"stored".into(), &json!([])));
    assert!(gone["notes"].to_string().contains("another file now"), "{gone}");
    let found = traced(&world, 137, &["--file", elsewhere.to_str().unwrap()]).await;
    is_at(&found, &content, 137, &file);

    // The books are tampered with: a batch that was published and is nowhere is lost.
    world.rows("DELETE FROM ledger WHERE n = 2").await.unwrap();
    let lost = world.json(&["trace", &batch, "--json"]).await;
    assert_eq!(lost["state"], "lost", "{lost}");
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_s_value_is_followed_back_to_the_line_it_replays() {
    let world = World::new().await;
    let content = rows::file(64);
    let file = world.file("x.csv", &content);
    let (file_name, more) = (file.to_str().unwrap(), ("BATCH_SIZE", "16"));
    let streamer =
        world.start("streamer", &[("CSV_FILE", file_name), ("LOOP_MODE", "true"), ("STREAM_INTERVAL", "50ms"), more]);
    let collector = world.collector();
    world.until_accounted(64 * 3).await;
    streamer.stop().await;
    let sample = "SELECT h.name, g.gpu_index, s.ts::text, s.energy_millijoules
         FROM samples s JOIN gpus g ON g.id = s.gpu_id JOIN hosts h ON h.id = g.host_id
         ORDER BY s.ts OFFSET 100 LIMIT 1";
    let row = &world.rows(sample).await.unwrap()[0];
    let (host, gpu, at, value): (String, String, String, f64) = (row.get(0), row.get(1), row.get(2), row.get(3));
    let at: jiff::Timestamp = at.replacen(' ', "T", 1).parse().unwrap();
    let about = ["trace", "--host", &host, "--gpu", &gpu, "--at", &at.to_string(), "--json"];
    let found = world.json(&about).await;
    assert_eq!(found["state"], "stored", "{found}");
    is_at(&found, &content, value as u64, &file);
    let batch = &found["trails"][0]["batch"];
    assert!(batch["pass"] == 1 && batch["shift_us"].as_i64() > Some(0), "{batch}");
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_stored_says_why() {
    let world = World::new().await;
    let content = format!("{}not,a,row,of,host-000,2026-01-01 00:00:00\n", rows::file(20));
    let file = world.file("x.csv", &content);
    world.start("streamer", &[("CSV_FILE", file.to_str().unwrap()), ("BATCH_SIZE", "10")]).succeeds().await;
    // The messages of the first batch are unread when their time is over.
    let client = world.client().await;
    let first = batches(&world).await.remove(0);
    for (key, _) in
        match nexus_common::queue::Inspector::new(client.clone(), world.keys()).messages(&first).await.unwrap() {
            nexus_common::queue::Messages::There(messages) => messages,
            nexus_common::queue::Messages::Gone => panic!("it is there"),
        }
    {
        use nexus_common::etcd::{Txn, TxnOp};
        client.txn(Txn::new().and_then([TxnOp::delete(key, None)])).await.unwrap();
    }
    let waiting = world.json(&["trace", &first.batch.to_string(), "--json"]).await;
    assert_eq!(waiting["state"], "expired", "nobody recorded it so far");

    let collector = world.collector();
    world.until_accounted(21).await;
    world.is_drained().await;
    let expired = traced(&world, 3, &[]).await;
    assert_eq!(expired["state"], "expired", "{expired}");
    is_at(&expired, &content, 3, &file);
    assert_eq!(traced(&world, 13, &[]).await["state"], "stored");

    let key: String = world.ask("SELECT key FROM dead_letters").await.unwrap();
    let dead = world.json(&["trace", &key, "--json"]).await;
    assert_eq!((&dead["state"], &dead["trails"][0]["dead_letters"][0]["line"]), (&"dead_letter".into(), &json!(22)));

    // Host and time stand in a row that nobody could read.
    let about = ["trace", "--host", "host-000", "--gpu", "9", "--at", "2026-01-01T00:00:00Z", "--json"];
    let unknown = world.json(&about).await;
    assert_eq!((&unknown["state"], &unknown["perhaps"][0]["line"]), (&"unknown".into(), &json!(22)), "{unknown}");
    let near = world.json(&["trace", "--host", "host-000", "--gpu", "0", "--at", "2026-02-01", "--json"]).await;
    assert!(near["notes"].to_string().contains("2026-01-01T00:00:01Z"), "the nearest sample is named: {near}");
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_server_is_enough_and_a_wrong_question_is_refused() {
    let world = World::new().await;
    let file = world.file("x.csv", rows::file(5));
    world.start("streamer", &[("CSV_FILE", file.to_str().unwrap())]).succeeds().await;
    let (host, gpu, at) = question(3);
    let about = ["trace", "--host", &host, "--gpu", &gpu, "--at", &at, "--json"];
    let (no_memory, no_queue) = (("DB_PORT", "9"), ("ETCD_ENDPOINTS", "127.0.0.1:9"));
    let answer = world.nexus_with(&about, &[no_memory]).await;
    assert_eq!((answer.status, &answer.json()["state"]), (0, &"queued".into()), "{}", answer.err);
    assert!(answer.json()["notes"].to_string().contains("DB_PORT"), "{}", answer.out);
    let answer = world.nexus_with(&about, &[no_memory, no_queue]).await;
    assert_eq!(answer.status, 1);
    assert!(answer.err.contains("etcd at 127.0.0.1:9") && answer.err.contains("PostgreSQL at"), "{}", answer.err);
    for wrong in [
        &["trace"][..],
        &["trace", "host-001"],
        &["trace", "--host", "h"],
        &["trace", "--host", "h", "--gpu", "0", "--at", "noon"],
        &["trace", "--host", "h", "--gpu", "0", "--at", "now", "--file", "/nowhere.csv"],
    ] {
        let answer = world.nexus(wrong).await;
        assert_eq!((answer.status, answer.err.trim_end().lines().count()), (2, 1), "{wrong:?}: {}", answer.err);
    }
}
