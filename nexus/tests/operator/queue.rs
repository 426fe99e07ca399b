//! `nexus queue`: what is shown is what was published, and nothing is disturbed.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use nexus_common::etcd::{Client, PutOptions, Txn, TxnOp};
use nexus_common::queue::{
    BatchId, Consumer, Inspector, Keys, Manifest, MessageKey, Outcome, Source, Standee, VERSION,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::rows;
use crate::world::{PATIENCE, World};

/// Longer than a test takes: nothing ends by itself.
const LONG: Duration = Duration::from_secs(3_600);

/// Everything that etcd holds of the queue, with who wrote it when: what a look must leave as it is.
async fn everything(client: &Client) -> Vec<(String, i64, i64)> {
    let found = client.list("/telemetry/", usize::MAX).await.unwrap();
    found.kvs.iter().map(|kv| (kv.key_str().unwrap().to_owned(), kv.mod_revision(), kv.lease())).collect()
}

pub(crate) async fn published(world: &World, count: u64) {
    let file = world.file("x.csv", rows::file(count));
    world.start("streamer", &[("CSV_FILE", file.to_str().unwrap())]).succeeds().await;
}

pub(crate) async fn batches(world: &World) -> Vec<Standee> {
    Inspector::new(world.client().await, world.keys()).standing().await.unwrap().batches
}

/// Claims a batch as a collector does; gives the consumer and its session's lease.
pub(crate) async fn claimed(
    world: &World,
    standee: &Standee,
    id: &str,
) -> (Consumer, i64, nexus_common::queue::Claimed) {
    let client = world.client().await;
    let lease = client.grant(LONG).await.unwrap().id;
    let consumer = Consumer::new(client, world.keys(), id);
    let manifest = standee.manifest.as_ref().unwrap();
    match consumer.claim(&standee.batch, manifest, standee.revision, lease).await.unwrap() {
        Outcome::Claimed(claimed) => (consumer, lease, claimed),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shown_is_what_was_published() {
    let world = World::new().await;
    published(&world, 250).await;
    let client = world.client().await;
    let held = batches(&world).await.remove(1);
    let (_consumer, lease, _) = claimed(&world, &held, "c1").await;
    let before = (everything(&client).await, client.list("/telemetry/", 1).await.unwrap().revision);
    let left = client.time_left(lease).await.unwrap();

    let stats = world.json(&["queue", "stats", "--seconds", "100ms", "--json"]).await;
    assert_eq!(stats["depth"], serde_json::json!({"batches": 3, "rows": 250, "messages": 250}));
    assert_eq!(stats["waiting"]["rows"], 150);
    assert_eq!(stats["in_flight"], serde_json::json!({"batches": 1, "rows": 100, "messages": 100}));
    let collectors =
        serde_json::json!([{"collector": "c1", "alive": false, "batches": 1, "rows": 100, "messages": 100}]);
    assert_eq!(stats["collectors"], collectors);
    assert_eq!([&stats["expired_messages"], &stats["retried_batches"], &stats["most_attempts"]], [0, 0, 1]);
    assert_eq!(stats["rate"]["rows_in_per_second"], 0.0);
    assert_eq!(stats["etcd"]["alarms"], serde_json::json!([]));
    assert!(stats["etcd"]["members"][0]["quota_bytes"].as_u64() > Some(0), "{stats}");

    let peeked = world.json_lines(&["queue", "peek", "--limit", "1000", "--json"]).await;
    let shown: BTreeMap<_, _> = peeked.iter().map(place).collect();
    let expected = rows::expected(0, 250);
    assert_eq!(shown.len(), 250);
    for (index, (at, value)) in rows::expected(0, 250).into_iter().enumerate() {
        let (shown, line) = shown.get(&at).unwrap_or_else(|| panic!("{at:?} is not shown, {index}"));
        assert!((*shown - value).abs() < f64::EPSILON && *line == value as u64 + 2, "{at:?}: {shown} in line {line}");
    }
    assert_eq!(shown.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for message in &peeked {
        let in_claimed = message["batch"] == held.batch.to_string();
        assert_eq!(message["claimed_by"], if in_claimed { Value::from("c1") } else { Value::Null });
        assert!(message["expires_in_ms"].as_i64() > Some(3_000_000), "{message}");
    }

    let one = ["queue", "peek", "--host", "host-001", "--gpu", "3", "--metric", "energy", "--limit", "1000", "--json"];
    let found: BTreeMap<_, _> = world.json_lines(&one).await.iter().map(place).collect();
    let expected: Vec<_> = expected.keys().filter(|(host, gpu, _)| host == "host-001" && gpu == "3").collect();
    assert_eq!(found.keys().collect::<Vec<_>>(), expected);
    for nothing in [["--metric", "xid"], ["--older-than", "1h"], ["--host", "host-9"], ["--gpu", "GPU-none"]] {
        assert_eq!(world.json_lines(&[&["queue", "peek", "--json"], &nothing[..]].concat()).await, [] as [Value; 0]);
    }
    let first = world.json_lines(&["queue", "peek", "--limit", "2", "--json"]).await;
    assert_eq!((first.len(), &first[0], &first[1]["key"]), (2, &first[0], &peeked[1]["key"]));

    let table = world.nexus(&["queue", "peek", "--limit", "3"]).await;
    assert_eq!(table.out.lines().count(), 4, "{}", table.out);
    assert!(table.err.contains("3 messages shown, of 3 batches"), "{}", table.err);
    world.nexus(&["queue", "stats", "--seconds", "100ms"]).await;
    world.json_lines(&["members", "--json"]).await;
    let after = (everything(&client).await, client.list("/telemetry/", 1).await.unwrap().revision);
    assert_eq!(before, after, "a look has changed something");
    assert!(client.time_left(lease).await.unwrap() <= left, "a look has renewed a session");
}

/// Host, GPU, time; value and line.
fn place(message: &Value) -> ((String, String, i64), (f64, u64)) {
    let text = |name: &str| message[name].as_str().unwrap().to_owned();
    let at: jiff::Timestamp = message["timestamp"].as_str().unwrap().parse().unwrap();
    let [row] = message["rows"].as_array().unwrap().as_slice() else { panic!("{message}") };
    let value = row["values"]["energy_millijoules"].as_f64().unwrap();
    assert_eq!(message["lines"], serde_json::json!([row["line"], row["line"]]));
    ((text("host"), text("gpu"), at.as_microsecond()), (value, row["line"].as_u64().unwrap()))
}

/// Puts a batch of messages with these sequence numbers, as a publish does; one more is promised and missing.
async fn put(client: &Client, keys: &Keys, lane: &str, values: &[(u64, &str)]) -> BatchId {
    let batch = BatchId { published_ms: 1_700_000_000_000, lane: lane.into(), run: "r".into(), n: 1 };
    let lease = client.grant(LONG).await.unwrap().id;
    let key = |sequence| {
        let (published_ms, host, gpu) = (batch.published_ms, "h".to_owned(), "0".to_owned());
        keys.message(&MessageKey { published_ms, host, gpu, sequence })
    };
    let source = Source { file: "odd.csv".into(), pass: 0, lines: [2, 9], bytes: [1, 2], shift_us: 0 };
    let (first, last, messages) = (key(values[0].0), key(values.last().unwrap().0), values.len() + 1);
    let rows = messages as u64;
    let manifest =
        Manifest { v: VERSION, first, last, messages, rows, rows_before: 0, lease, source, traceparent: None };
    let put =
        |(sequence, value): &(u64, &str)| TxnOp::put(key(*sequence), *value, Some(PutOptions::new().with_lease(lease)));
    let mut puts: Vec<_> = values.iter().map(put).collect();
    puts.push(TxnOp::put(keys.manifest(&batch), manifest.encode(), None));
    client.txn(Txn::new().and_then(puts)).await.unwrap();
    batch
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_row_is_shown_as_what_it_is() {
    let world = World::new().await;
    let file = world.file("x.csv", format!("{}{}not,a,row\n", rows::HEADER, rows::lines(0, 1)));
    world.start("streamer", &[("CSV_FILE", file.to_str().unwrap())]).succeeds().await;
    let (client, keys) = (world.client().await, world.keys());
    put(&client, &keys, "a", &[(1, "?"), (2, r#"{"v":9}"#)]).await;
    // Another lane's key lies between those of the first: ..._1, ..._15, ..._2.
    put(&client, &keys, "b", &[(15, "!")]).await;
    let peeked = world.json_lines(&["queue", "peek", "--json"]).await;
    let kinds: Vec<_> = peeked.iter().map(|message| message["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["undecodable", "newer", "expired", "undecodable", "expired", "dead_row", "rows"]);
    let dead = &peeked[5];
    assert_eq!((&dead["lines"], dead["raw"].as_str().map(str::trim)), (&serde_json::json!([3, 3]), Some("not,a,row")));
    let table = world.nexus(&["queue", "peek"]).await.out;
    assert!(
        table.contains("DEAD ROW: ") && table.contains("UNDECODABLE: ") && table.contains("EXPIRED: 1 of 3"),
        "{table}"
    );
    let stats = world.json(&["queue", "stats", "--seconds", "100ms", "--json"]).await;
    assert_eq!(stats["expired_messages"], 2);
    let whose = world.json_lines(&["queue", "peek", "--host", "h", "--json"]).await;
    let whose: Vec<_> = whose.iter().map(|message| message["batch"].as_str().unwrap().contains("_a.")).collect();
    assert_eq!(whose, [true, true, false]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_is_told_as_it_happens() {
    let world = World::new().await;
    let unread = put(&world.client().await, &world.keys(), "odd", &[(1, "?")]).await;
    let lease = batches(&world).await[0].manifest.as_ref().unwrap().lease;
    world.client().await.revoke(lease).await.unwrap();

    let mut child = world.command(&["queue", "watch", "--json"]);
    let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut events = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = async || {
        let line =
            tokio::time::timeout(PATIENCE, events.next_line()).await.expect("an event in time").unwrap().unwrap();
        let event: Value = serde_json::from_str(&line).unwrap();
        (event["event"].as_str().unwrap().to_owned(), event["batch"].as_str().unwrap().to_owned(), event)
    };
    let greeting = tokio::time::timeout(PATIENCE, said.next_line()).await.unwrap().unwrap().unwrap();
    assert!(greeting.starts_with("watching: 1 batch (2 rows)"), "{greeting}");
    let (word, batch, _) = next().await;
    assert_eq!((word.as_str(), batch), ("expired", unread.to_string()));

    published(&world, 5).await;
    let standee = batches(&world).await.pop().unwrap();
    let (word, batch, event) = next().await;
    assert_eq!((word.as_str(), &batch), ("published", &standee.batch.to_string()));
    assert_eq!((&event["rows"], &event["lines"]), (&5.into(), &serde_json::json!([2, 6])));

    let (consumer, _, claim) = claimed(&world, &standee, "c1").await;
    let (word, _, event) = next().await;
    assert_eq!((word.as_str(), &event["collector"]), ("claimed", &"c1".into()));
    consumer.release(&claim).await.unwrap();
    let (word, _, event) = next().await;
    assert_eq!((word.as_str(), &event["collector"]), ("released", &"c1".into()));

    let (_, session, _) = claimed(&world, &standee, "c2").await;
    assert_eq!(next().await.0, "claimed");
    world.client().await.revoke(session).await.unwrap();
    let (word, _, event) = next().await;
    assert_eq!((word.as_str(), &event["collector"], &event["attempts"]), ("lost", &"c2".into(), &1.into()));

    let (consumer, _, claim) = claimed(&world, &standee, "c3").await;
    assert_eq!(next().await.0, "claimed");
    assert!(consumer.ack(&claim, None).await.unwrap());
    let (word, batch, _) = next().await;
    assert_eq!((word.as_str(), batch), ("acknowledged", standee.batch.to_string()));

    kill(Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()), Signal::SIGINT).unwrap();
    assert!(child.wait().await.unwrap().success(), "Ctrl-C is a good end");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_is_one_clear_line() {
    let world = World::new().await;
    let nowhere = [("ETCD_ENDPOINTS", "127.0.0.1:9")];
    for command in [&["queue", "stats"][..], &["queue", "peek"], &["queue", "watch"], &["members"]] {
        let answer = world.nexus_with(command, &nowhere).await;
        assert_eq!(answer.status, 1, "{command:?}");
        let line = answer.err.trim_end();
        assert!(line.contains("etcd at 127.0.0.1:9 does not answer") && line.contains("ETCD_ENDPOINTS"), "{line}");
        assert!(!line.contains('\n'), "{line}");
    }
    for wrong in [&["queue", "peek", "--limit", "0"][..], &["queue", "stats", "--seconds", "x"], &["members", "--all"]]
    {
        assert_eq!(world.nexus(wrong).await.status, 2, "{wrong:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_pipe_is_no_error() {
    let world = World::new().await;
    published(&world, 3_000).await;
    let mut child = world.command(&["queue", "peek", "--limit", "3000", "--json"]);
    let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().await.unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}
