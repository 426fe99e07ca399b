//! The collector as it runs, on a real etcd and a real PostgreSQL.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use nexus_collector::Config;
use nexus_common::db;
use nexus_common::domain::{EventKind, GpuIdentity, Metric, Timestamp};
use nexus_common::etcd::{Change, Client, GetOptions, KeyValue, PutOptions, Scope, Txn, TxnOp, follow};
use nexus_common::queue::{BatchId, Body, Draft, Feed, Keys, Lane, Manifest, MessageRow, Source};
use nexus_common::testing::{self, TestEtcd, TestPostgres, eventually};
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_postgres::types::FromSqlOwned;
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(60);

struct Bench {
    etcd: TestEtcd,
    postgres: TestPostgres,
    client: Client,
    keys: Keys,
}

/// A collector that runs in this process.
struct Running {
    stop: CancellationToken,
    tasks: JoinSet<anyhow::Result<()>>,
}

async fn bench() -> Bench {
    bench_on(testing::etcd().await).await
}

async fn bench_on(etcd: TestEtcd) -> Bench {
    let postgres = testing::postgres().await;
    db::migrate(&postgres.config()).await.unwrap();
    let client = Client::connect(&etcd.endpoints()).await.unwrap();
    Bench { etcd, postgres, client, keys: Keys::new("/telemetry/queue", "bench") }
}

impl Running {
    async fn stop(mut self) {
        self.stop.cancel();
        let ended = tokio::time::timeout(SOON, self.tasks.join_next()).await.unwrap();
        ended.unwrap().unwrap().unwrap();
    }
}

impl Bench {
    /// Starts a collector; it is a member of the cluster when this returns.
    async fn collector(&self, extra: &[&str]) -> Running {
        let members = self.members().await.len();
        let mut arguments =
            vec!["nexus-collector".to_owned(), "--cluster-id=bench".into(), "--db-host=127.0.0.1".into()];
        arguments.push(format!("--etcd-endpoints={}", self.etcd.endpoint()));
        arguments.push(format!("--db-port={}", self.postgres.port()));
        arguments.extend(["--db-name=telemetry", "--db-user=telemetry", "--db-password=password"].map(str::to_owned));
        arguments.push("--metrics-addr=127.0.0.1:0".to_owned());
        if !extra.iter().any(|argument| argument.starts_with("--conditions-interval")) {
            // Nobody looks at the GPUs, so that the feed is what the batches put.
            arguments.push("--conditions-interval=1h".to_owned());
        }
        arguments.extend(extra.iter().map(|argument| (*argument).to_owned()));
        let (config, stop) = (Config::parse_from(arguments), CancellationToken::new());
        let mut tasks = JoinSet::new();
        tasks.spawn(nexus_collector::run(config, stop.clone()));
        eventually("the collector is a member", SOON, async || self.members().await.len() > members).await;
        Running { stop, tasks }
    }

    async fn members(&self) -> Vec<String> {
        let found = self.client.list(&self.keys.members("collector"), usize::MAX).await.unwrap();
        found.kvs.iter().map(|kv| kv.key_str().unwrap().rsplit('/').next().unwrap().to_owned()).collect()
    }

    async fn lane(&self, name: &str) -> Lane {
        Lane::open(&self.client, &self.keys, name, &Value::Null, Duration::from_secs(3600)).await.unwrap()
    }

    /// The first column of every row; nothing while PostgreSQL is away.
    async fn column<T: FromSqlOwned>(&self, sql: &str) -> Vec<T> {
        let Ok(client) = db::pool(&self.postgres.config(), 1).unwrap().get().await else { return Vec::new() };
        client.query(sql, &[]).await.map_or_else(|_| Vec::new(), |rows| rows.iter().map(|row| row.get(0)).collect())
    }

    async fn one<T: FromSqlOwned>(&self, sql: &str) -> T {
        self.column(sql).await.into_iter().next().unwrap()
    }

    /// Waits until nothing of any batch is left in etcd.
    async fn until_drained(&self) {
        eventually("the queue is drained", SOON, async || {
            let mut left = 0;
            for prefix in [self.keys.messages(), self.keys.manifests(), self.keys.claims(), self.attempts()] {
                left += self.client.count(&prefix).await.unwrap();
            }
            left == 0
        })
        .await;
    }

    fn attempts(&self) -> String {
        "/telemetry/attempt/bench/".to_owned()
    }

    async fn below(&self, prefix: &str) -> BTreeMap<String, String> {
        let found = self.client.list(prefix, usize::MAX).await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let batch = |kv: &KeyValue| kv.key_str().unwrap().rsplit('/').next().unwrap().to_owned();
        found.kvs.iter().map(|kv| (batch(kv), text(kv.value()))).collect()
    }

    /// What was put on the live feed last.
    async fn feed(&self) -> Option<Feed> {
        let found = self.client.get(&self.keys.feed(), GetOptions::new()).await.unwrap();
        Some(serde_json::from_slice(found.kvs.first()?.value()).unwrap())
    }

    /// All that is put on the live feed from now on: one value may follow another at once.
    async fn feeds(&self) -> (UnboundedReceiver<Feed>, JoinSet<()>) {
        let (tell, told) = unbounded_channel();
        let (listed, begun) = oneshot::channel();
        let (client, scope, mut listed) = (self.client.clone(), Scope::all("feeds", self.keys.feeds()), Some(listed));
        let mut follower = JoinSet::new();
        follower.spawn(async move {
            follow(&client, &scope, |change| match change {
                Change::Put(kv) => tell.send(serde_json::from_slice(kv.value()).unwrap()).is_ok(),
                // What is put after this is told.
                Change::Snapshot(..) => listed.take().is_none_or(|listed| listed.send(()).is_ok()),
                _ => true,
            })
            .await;
        });
        begun.await.unwrap();
        (told, follower)
    }

    async fn exists(&self, key: &str) -> bool {
        !self.client.get(key, GetOptions::new()).await.unwrap().kvs.is_empty()
    }

    /// Publishes by hand what no streamer would: messages of any content under a manifest, in one transaction, with
    /// whatever else there is to put.
    async fn put_batch(&self, batch: &BatchId, version: u32, values: &[Vec<u8>], more: Vec<TxnOp>) {
        let keys: Vec<_> = (0..values.len())
            .map(|at| format!("{}{:013}_h_0_{at}", self.keys.messages(), batch.published_ms))
            .collect();
        let lease = self.client.grant(Duration::from_secs(600)).await.unwrap().id;
        let rows = values.len() as u64;
        let source =
            Source { file: "by-hand.csv".into(), pass: 0, lines: [2, 1 + rows], bytes: [0, 10 * rows], shift_us: 0 };
        let (first, last) = (keys[0].clone(), keys[keys.len() - 1].clone());
        let manifest = Manifest {
            v: version,
            first,
            last,
            messages: values.len(),
            rows,
            rows_before: 0,
            lease,
            source,
            traceparent: None,
        };
        let options = PutOptions::new().with_lease(lease);
        let mut puts: Vec<_> = keys
            .iter()
            .zip(values)
            .map(|(key, value)| TxnOp::put(key.as_str(), value.as_slice(), Some(options.clone())))
            .collect();
        puts.push(TxnOp::put(self.keys.manifest(batch), manifest.encode(), None));
        puts.extend(more);
        self.client.txn(Txn::new().and_then(puts)).await.unwrap();
    }
}

fn by_hand(n: u64) -> BatchId {
    BatchId { published_ms: 1_752_871_354_000, lane: "by-hand".into(), run: "run".into(), n }
}

/// One row of one GPU, at a time of its own.
fn body(line: u64) -> Body {
    Body::Rows {
        described: Arc::new(
            GpuIdentity { host: format!("h{}", line % 7), gpu: "0".into(), uuid: None, mig: None }.into(),
        ),
        timestamp: Timestamp(1_752_871_354_000_000 + line as i64),
        rows: vec![MessageRow { line, byte: line * 10, values: vec![(Metric::named("xid"), Some(line as f64))] }],
    }
}

fn draft(lines: std::ops::Range<u64>) -> Draft {
    let source = Source {
        file: "f.csv".into(),
        pass: 0,
        lines: [lines.start, lines.end - 1],
        bytes: [lines.start * 10, lines.end * 10],
        shift_us: 0,
    };
    Draft { rows: lines.end - lines.start, messages: lines.map(body).collect(), source, traceparent: None }
}

#[tokio::test]
async fn two_collectors_share_and_store_every_row_once() {
    let bench = bench().await;
    let (a, b) = (bench.collector(&[]).await, bench.collector(&["--flight-rows=20"]).await);
    let (mut left, mut right) = (bench.lane("left").await, bench.lane("right").await);
    // Sixteen in a row prefer one collector: with so many both are preferred, whatever their ids.
    for n in 0..200 {
        left.publish(&draft(n * 5..n * 5 + 5), &json!(n)).await.unwrap();
        right.publish(&draft(2_000 + n * 5..2_005 + n * 5), &json!(n)).await.unwrap();
    }
    bench.until_drained().await;
    let mut lines: Vec<f64> = bench.column("SELECT xid FROM samples ORDER BY xid").await;
    lines.dedup();
    let expected: Vec<f64> = (0..1_000).chain(2_000..3_000).map(f64::from).collect();
    assert_eq!(lines, expected);
    assert_eq!(bench.one::<i64>("SELECT sum(stored) FROM ledger").await, 2_000);
    assert_eq!(bench.one::<i64>("SELECT count(DISTINCT collector) FROM ledger").await, 2);
    let feed = bench.feed().await.unwrap();
    assert_eq!((feed.samples.len(), feed.untold), (5, 0));
    a.stop().await;
    b.stop().await;
    assert!(bench.members().await.is_empty(), "a stopped collector leaves at once");
}

#[tokio::test]
async fn a_collector_that_is_stopped_while_postgres_is_away_gives_back_without_an_attempt() {
    let mut bench = bench().await;
    let a = bench.collector(&[]).await;
    let of_a = bench.members().await.remove(0);
    let b = bench.collector(&[]).await;
    bench.postgres.stop().await.unwrap();
    let mut lane = bench.lane("l").await;
    // Sixteen in a row prefer one collector: with so many both are preferred, whatever their ids.
    for n in 0..200 {
        lane.publish(&draft(n * 5..n * 5 + 5), &json!(n)).await.unwrap();
    }
    eventually("both hold batches", SOON, async || {
        bench.below(&bench.keys.claims()).await.into_values().collect::<BTreeSet<_>>().len() == 2
    })
    .await;
    a.stop().await;
    // At one revision: what is not held by the other is as if it had never been claimed.
    let found = bench.client.list("/telemetry/", usize::MAX).await.unwrap().kvs;
    let (mut held, mut counted) = (BTreeSet::new(), BTreeSet::new());
    for kv in &found {
        let (key, value) = (kv.key_str().unwrap(), kv.value_str().unwrap());
        if let Some(batch) = key.strip_prefix(&bench.keys.claims()) {
            assert_ne!(value, of_a);
            held.insert(batch);
        } else if let Some(batch) = key.strip_prefix(&bench.attempts()) {
            assert_eq!(value, r#"{"v":1,"attempts":1}"#);
            counted.insert(batch);
        }
    }
    assert!(!held.is_empty());
    assert_eq!(held, counted);
    bench.postgres.restart().await.unwrap();
    bench.until_drained().await;
    assert_eq!(bench.one::<i64>("SELECT sum(stored) FROM ledger").await, 1_000);
    assert_eq!(bench.one::<i64>("SELECT count(*) FROM dead_letters").await, 0);
    b.stop().await;
}

#[tokio::test]
async fn what_nobody_can_read_becomes_dead_letters() {
    let bench = bench().await;
    let collector = bench.collector(&[]).await;
    let values = [b"not a message".to_vec(), body(3).encode(), b"\xff\x00".to_vec(), br#"{"v":1}"#.to_vec()];
    bench.put_batch(&by_hand(1), 1, &values, Vec::new()).await;
    bench.until_drained().await;
    let row = "SELECT row_count * 1000 + stored * 100 + dead * 10 + expired FROM ledger";
    assert_eq!(bench.one::<i32>(row).await, 4130);
    let raw: Vec<Vec<u8>> = bench.column("SELECT raw FROM dead_letters ORDER BY key").await;
    assert_eq!(raw, [values[0].clone(), values[2].clone(), values[3].clone()]);
    collector.stop().await;
}

#[tokio::test]
async fn what_a_newer_version_wrote_is_left_to_a_newer_collector() {
    let bench = bench().await;
    let collector = bench.collector(&[]).await;
    let (newer_manifest, newer_message) = (by_hand(1), BatchId { published_ms: 1_752_871_355_000, ..by_hand(2) });
    bench.put_batch(&newer_manifest, 2, &[body(2).encode()], Vec::new()).await;
    bench.put_batch(&newer_message, 1, &[br#"{"v":2,"rows":"in another shape"}"#.to_vec()], Vec::new()).await;
    let mut lane = bench.lane("l").await;
    lane.publish(&draft(0..5), &Value::Null).await.unwrap();
    eventually("the rest is stored", SOON, async || bench.column::<i64>("SELECT n FROM ledger").await == [1]).await;
    eventually("nobody holds a claim", SOON, async || {
        bench.below(&bench.keys.claims()).await.is_empty() && bench.below(&bench.attempts()).await.is_empty()
    })
    .await;
    for batch in [&newer_manifest, &newer_message] {
        assert!(bench.exists(&bench.keys.manifest(batch)).await);
    }
    assert_eq!(bench.client.count(&bench.keys.messages()).await.unwrap(), 2);
    assert_eq!(bench.one::<i64>("SELECT count(*) FROM dead_letters").await, 0);
    collector.stop().await;
}

#[tokio::test]
async fn without_watches_the_queue_is_polled() {
    let bench = bench().await;
    let collector = bench.collector(&["--enable-watch-api=false", "--poll-timeout=200ms"]).await;
    let mut lane = bench.lane("l").await;
    for n in 0..10 {
        lane.publish(&draft(n * 5..n * 5 + 5), &json!(n)).await.unwrap();
    }
    bench.until_drained().await;
    lane.publish(&draft(50..55), &Value::Null).await.unwrap();
    bench.until_drained().await;
    assert_eq!(bench.one::<i64>("SELECT sum(stored) FROM ledger").await, 55);
    collector.stop().await;
}

#[tokio::test]
async fn a_batch_that_was_claimed_too_often_is_buried_whole() {
    let bench = bench().await;
    let collector = bench.collector(&[]).await;
    let count = |batch: &BatchId, attempts: u32| {
        TxnOp::put(bench.keys.attempt(batch), format!("{{\"v\":1,\"attempts\":{attempts}}}"), None)
    };
    let (last_chance, too_often) = (by_hand(1), BatchId { published_ms: 1_752_871_355_000, ..by_hand(2) });
    bench.put_batch(&last_chance, 1, &[body(2).encode()], vec![count(&last_chance, 4)]).await;
    bench.put_batch(&too_often, 1, &[body(3).encode(), body(4).encode()], vec![count(&too_often, 5)]).await;
    bench.until_drained().await;
    assert_eq!(bench.column::<i32>("SELECT stored FROM ledger ORDER BY n").await, [1, 0]);
    assert_eq!(bench.column::<i32>("SELECT dead FROM ledger ORDER BY n").await, [0, 2]);
    let raw: Vec<Vec<u8>> = bench.column("SELECT raw FROM dead_letters ORDER BY key").await;
    assert_eq!(raw, [body(3).encode(), body(4).encode()], "as it was, undecoded");
    collector.stop().await;
}

/// Whatever kills its collector at the third attempt must not take the attempts of other batches along.
#[tokio::test]
async fn suspects_are_worked_on_one_at_a_time() {
    let mut bench = bench().await;
    let collector = bench.collector(&[]).await;
    bench.postgres.stop().await.unwrap();
    for n in 1..=6 {
        let batch = BatchId { published_ms: 1_752_871_355_000 + n as i64, ..by_hand(n) };
        let twice = TxnOp::put(bench.keys.attempt(&batch), r#"{"v":1,"attempts":2}"#, None);
        bench.put_batch(&batch, 1, &[body(n + 1).encode()], vec![twice]).await;
    }
    // One is held; the others are taken up and given back, uncounted.
    eventually("one counts its third attempt, the others none", SOON, async || {
        let attempts = bench.below(&bench.attempts()).await;
        let third = attempts.values().filter(|value| value.as_str() == r#"{"v":1,"attempts":3}"#).count();
        attempts.len() == 6 && third == 1 && bench.below(&bench.keys.claims()).await.len() == 1
    })
    .await;
    bench.postgres.restart().await.unwrap();
    bench.until_drained().await;
    assert_eq!(bench.one::<i64>("SELECT sum(stored) FROM ledger").await, 6);
    collector.stop().await;
}

/// A claim that was committed while its answer was lost is the collector's own, though it knows nothing of it.
#[tokio::test]
async fn a_claim_of_its_own_that_it_never_heard_of_is_taken_up() {
    let bench = bench().await;
    let collector = bench.collector(&[]).await;
    let id = bench.members().await.remove(0);
    let claim = TxnOp::put(bench.keys.claim(&by_hand(1)), id, None);
    bench.client.txn(Txn::new().and_then([claim])).await.unwrap();
    // By the time another batch is through, the news of the claim has arrived.
    let mut lane = bench.lane("l").await;
    lane.publish(&draft(5..10), &Value::Null).await.unwrap();
    eventually("the other is stored", SOON, async || bench.column::<i64>("SELECT n FROM ledger").await == [1]).await;
    bench.put_batch(&by_hand(1), 1, &[body(2).encode()], Vec::new()).await;
    bench.until_drained().await;
    assert_eq!(bench.one::<i64>("SELECT sum(stored) FROM ledger").await, 6);
    collector.stop().await;
}

#[tokio::test]
async fn rows_that_expired_before_a_collector_came_are_recorded() {
    let bench = bench().await;
    let mut lane = bench.lane("l").await;
    lane.publish(&draft(0..5), &Value::Null).await.unwrap();
    let found = bench.client.list(&bench.keys.manifests(), 1).await.unwrap();
    let lease = Manifest::decode(found.kvs[0].value()).unwrap().lease;
    bench.client.revoke(lease).await.unwrap();
    lane.publish(&draft(5..10), &Value::Null).await.unwrap();
    let collector = bench.collector(&[]).await;
    bench.until_drained().await;
    assert_eq!(bench.column::<i32>("SELECT expired FROM ledger ORDER BY n").await, [5, 0]);
    assert_eq!(bench.one::<i64>("SELECT last_line FROM ledger WHERE expired > 0").await, 4);
    collector.stop().await;
}

/// One row of one GPU that reports an XID now.
fn reports(n: u64, xid: f64) -> Draft {
    let Body::Rows { described, rows, .. } = body(2) else { panic!("rows") };
    let values = vec![(Metric::named("xid"), Some(xid))];
    let rows = rows.into_iter().map(|row| MessageRow { values: values.clone(), ..row }).collect();
    let body = Body::Rows { described, timestamp: Timestamp::now(), rows };
    let source = Source { file: "f.csv".into(), pass: 0, lines: [n, n], bytes: [n * 10, n * 10 + 10], shift_us: 0 };
    Draft { rows: 1, messages: vec![body], source, traceparent: None }
}

#[tokio::test]
async fn what_happens_to_a_gpu_is_told_once_and_live_whoever_is_the_oldest() {
    let bench = bench().await;
    let soon = ["--conditions-interval=50ms"];
    let (oldest, next) = (bench.collector(&soon).await, bench.collector(&soon).await);
    let mut lane = bench.lane("l").await;
    let (mut told, _follower) = bench.feeds().await;
    let mut live = async |kind: EventKind| loop {
        let next = tokio::time::timeout(SOON, told.recv()).await;
        let feed = next.unwrap_or_else(|_| panic!("{kind} is not on the feed")).unwrap();
        if feed.events.iter().any(|event| event.kind == kind) {
            break feed;
        }
    };

    lane.publish(&reports(2, 79.0), &Value::Null).await.unwrap();
    let feed = live(EventKind::Xid).await;
    assert_eq!((feed.batch.as_str(), feed.samples.len(), feed.events.len()), ("events", 0, 1));
    let event = &feed.events[0];
    assert_eq!((event.host_id.as_str(), event.gpu_id.as_str(), event.code), ("h2", "0", Some(79)));
    assert_eq!(event.detail, "XID 79 (GPU has fallen off the bus): reboot the host");
    assert_eq!(bench.one::<i64>("SELECT id FROM events").await, event.id, "it is stored before it is told");

    // The code stays, and is looked at many times, before and after the oldest collector is gone.
    lane.publish(&reports(3, 79.0), &Value::Null).await.unwrap();
    bench.until_drained().await;
    oldest.stop().await;
    lane.publish(&reports(4, 0.0), &Value::Null).await.unwrap();
    live(EventKind::Recovered).await;
    lane.publish(&reports(5, 79.0), &Value::Null).await.unwrap();
    live(EventKind::Xid).await;
    let told: Vec<String> = bench.column("SELECT kind FROM events ORDER BY id").await;
    assert_eq!(told, ["xid", "recovered", "xid"]);
    next.stop().await;
}

/// While etcd is full nothing can be put on the feed: the next value says how much was not told.
#[tokio::test]
async fn the_feed_says_how_many_batches_were_not_told() {
    let mut bench = bench_on(testing::etcd_with(|options| options.quota_backend_bytes = 16 << 20).await).await;
    let collector = bench.collector(&[]).await;
    bench.postgres.stop().await.unwrap();
    let mut lane = bench.lane("l").await;
    for n in 0..3 {
        lane.publish(&draft(n * 5..n * 5 + 5), &json!(n)).await.unwrap();
    }
    let filler = vec![b'x'; 1 << 20];
    let fill = || Txn::new().and_then([TxnOp::put("/filler", filler.clone(), None)]);
    while bench.client.txn(fill()).await.is_ok() {}
    bench.postgres.restart().await.unwrap();
    bench.until_drained().await;
    assert!(bench.feed().await.is_none());

    let revision = bench.client.get("/filler", GetOptions::new()).await.unwrap().revision;
    bench.client.compact(revision, true).await.unwrap();
    bench.client.defragment().await.unwrap();
    bench.client.disarm().await.unwrap();
    // Until the collector has found out, it goes on without a feed.
    let mut batches = 3;
    while bench.feed().await.is_none() {
        lane.publish(&draft(batches * 5..batches * 5 + 5), &json!(batches)).await.unwrap();
        bench.until_drained().await;
        batches += 1;
    }
    assert_eq!(bench.feed().await.unwrap().untold as u64, batches - 1);
    lane.publish(&draft(batches * 5..batches * 5 + 5), &json!(batches)).await.unwrap();
    bench.until_drained().await;
    assert_eq!(bench.feed().await.unwrap().untold, 0);
    collector.stop().await;
}

/// A day of the ledger and one of samples, both long ago.
const LONG_AGO: &str = "INSERT INTO clusters (name) VALUES ('old');
    CREATE TABLE samples_20250701 PARTITION OF samples FOR VALUES FROM ('2025-07-01') TO ('2025-07-02');
    CREATE TABLE ledger_20250701 PARTITION OF ledger FOR VALUES FROM ('2025-07-01') TO ('2025-07-02');
    INSERT INTO ledger (day, cluster_id, lane, run, n, published_at, rows_before, row_count, stored, dead, expired, file, pass,
        first_line, last_line, first_byte, end_byte, collector)
    SELECT '2025-07-01', id, 'lane', 'run', 1, '2025-07-01', 0, 7, 7, 0, 0, 'f.csv', 0, 2, 8, 0, 9, 'c' FROM clusters";

#[tokio::test]
async fn old_days_are_dropped_where_retention_is_set_and_by_nobody_else() {
    let bench = bench().await;
    db::pool(&bench.postgres.config(), 1).unwrap().get().await.unwrap().batch_execute(LONG_AGO).await.unwrap();
    let old = "SELECT relname::text FROM pg_class WHERE relname IN ('samples_20250701', 'ledger_20250701') ORDER BY 1";
    // The older one leads, and keeps everything.
    let keeping = bench.collector(&[]).await;
    let dropping = bench.collector(&["--retention=90d"]).await;
    bench.lane("a").await.publish(&draft(0..10), &Value::Null).await.unwrap();
    bench.until_drained().await;
    assert_eq!(bench.column::<String>(old).await, ["ledger_20250701", "samples_20250701"]);
    keeping.stop().await;
    eventually("the old days are gone", SOON, async || bench.column::<String>(old).await.is_empty()).await;
    assert_eq!(bench.column::<i64>("SELECT stored FROM ledger_totals").await, [7]);
    assert_eq!(bench.one::<i64>("SELECT sum(stored)::bigint FROM ledger").await, 10, "today's are there");
    dropping.stop().await;
}
