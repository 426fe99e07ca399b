//! An etcd with a queue on it, and a short way to say what a batch holds.

use std::sync::Arc;
use std::time::Duration;

use nexus_common::domain::{GpuIdentity, Metric, Timestamp};
use nexus_common::etcd::{Client, GetOptions, KeyValue, PutOptions, Txn, TxnOp};
use nexus_common::queue::{
    BatchId, Body, Claimed, Consumer, Cursor, Decoded, Draft, Fate, Keys, Lane, Manifest, MessageRow, Outcome, Source,
    decode,
};
use nexus_common::testing::{self, Proxy, TestEtcd, eventually};
use serde_json::{Value, json};

/// How long an effect of another process may take.
pub(crate) const SOON: Duration = Duration::from_secs(60);
/// Message TTL of every lane: nothing expires by itself while a test runs.
pub(crate) const TTL: Duration = Duration::from_secs(3600);
/// A moment the clock does not reach: lanes that start here give all their keys one time, so that they interleave.
pub(crate) const FUTURE_MS: i64 = 4_102_444_800_000;

/// An etcd, a client on it, and the keys of one telemetry cluster.
pub(crate) struct Bench {
    pub(crate) etcd: TestEtcd,
    pub(crate) client: Client,
    pub(crate) keys: Keys,
}

pub(crate) async fn bench() -> Bench {
    bench_on(testing::etcd().await).await
}

pub(crate) async fn bench_on(etcd: TestEtcd) -> Bench {
    let client = Client::connect(&etcd.endpoints()).await.unwrap();
    Bench { etcd, client, keys: Keys::new("/telemetry/queue", "bench") }
}

impl Bench {
    pub(crate) async fn lane(&self, name: &str) -> Lane {
        self.lane_through(&self.client, name).await
    }

    pub(crate) async fn lane_through(&self, client: &Client, name: &str) -> Lane {
        Lane::open(client, &self.keys, name, &Value::Null, TTL).await.unwrap()
    }

    /// A lane behind a line that may break, with a batch of rows 0 to 3.
    pub(crate) async fn far_lane(&self) -> (Proxy, Lane) {
        let proxy = Proxy::to(self.etcd.endpoint()).await;
        let far = Client::connect(&[proxy.endpoint()]).await.unwrap();
        let mut lane = self.lane_through(&far, "l").await;
        lane.publish(&draft(0..3), &json!(1)).await.unwrap();
        (proxy, lane)
    }

    /// [`Bench::far_lane`] with a second batch, of rows 3 to 6; the answer about it was lost, and what became of it.
    /// `meanwhile` comes between its commit and the producer's look at its lane.
    pub(crate) async fn unanswered(&self, meanwhile: impl AsyncFnOnce()) -> (Proxy, Lane, Result<BatchId, Fate>) {
        let (proxy, mut lane) = self.far_lane().await;
        proxy.withhold_answers();
        let (second, position) = (draft(3..6), json!(2));
        let (outcome, ()) = tokio::join!(lane.publish(&second, &position), async {
            self.published("l", 2).await;
            meanwhile().await;
            proxy.cut();
            proxy.heal();
        });
        (proxy, lane, outcome)
    }

    /// Waits until etcd has carried out so many more writes than before, those whose conditions did not hold among them.
    pub(crate) async fn applied(&self, before: u64, more: u64) {
        let what = format!("etcd has carried out {more} writes");
        eventually(&what, SOON, async || self.writes().await >= before + more).await;
    }

    /// How many writes etcd has carried out.
    pub(crate) async fn writes(&self) -> u64 {
        let mut raw = etcd_client::Client::connect([self.etcd.endpoint()], None).await.unwrap();
        raw.status().await.unwrap().raft_applied_index()
    }

    /// Waits until so many batches of the lane's run are published.
    pub(crate) async fn published(&self, lane: &str, n: u64) {
        let what = format!("batch {n} is committed");
        eventually(&what, SOON, async || self.cursor(lane).await.unwrap().n == n).await;
    }

    /// That rows 0 to `rows` are there, each once and in messages that were put once, in batches numbered from 1 on.
    pub(crate) async fn has_each_row_once(&self, rows: u64) {
        for prefix in [self.keys.messages(), self.keys.manifests()] {
            let found = self.client.list(&prefix, usize::MAX).await.unwrap();
            assert!(found.kvs.iter().all(|kv| kv.version() == 1), "put twice: a collector may have had the first");
        }
        let mut lines: Vec<_> = self.messages().await.iter().flat_map(|kv| lines_in(kv.value())).collect();
        lines.sort_unstable();
        assert_eq!(lines, (0..rows).collect::<Vec<_>>());
        let mut batches = self.batches().await;
        batches.sort_by_key(|(_, _, revision)| *revision);
        let mut rows_before = 0;
        for (n, (batch, manifest, _)) in (1..).zip(batches) {
            assert_eq!((batch.n, manifest.rows_before), (n, rows_before), "batches come in their order");
            rows_before += manifest.rows;
        }
        assert_eq!(rows_before, rows);
    }

    /// A lane whose last batch was published in a far future.
    pub(crate) async fn future_lane(&self, name: &str) -> Lane {
        put_future_cursor(&self.client, &self.keys, name).await;
        self.lane(name).await
    }

    pub(crate) fn consumer(&self, id: &str) -> Consumer {
        Consumer::new(self.client.clone(), self.keys.clone(), id)
    }

    /// A lease as a session has it, only longer: what ends it is the test.
    pub(crate) async fn session(&self) -> i64 {
        self.client.grant(Duration::from_secs(600)).await.unwrap().id
    }

    pub(crate) async fn batches(&self) -> Vec<(BatchId, Manifest, i64)> {
        batches(&self.client, &self.keys).await
    }

    pub(crate) async fn messages(&self) -> Vec<KeyValue> {
        self.client.list(&self.keys.messages(), usize::MAX).await.unwrap().kvs
    }

    pub(crate) async fn cursor(&self, lane: &str) -> Option<Cursor> {
        Lane::look(&self.client, &self.keys, lane).await.unwrap()
    }

    pub(crate) async fn exists(&self, key: &str) -> bool {
        self.value(key).await.is_some()
    }

    pub(crate) async fn value(&self, key: &str) -> Option<Vec<u8>> {
        let found = self.client.get(key, GetOptions::new()).await.unwrap();
        found.kvs.first().map(|kv| kv.value().to_vec())
    }

    pub(crate) async fn put(&self, key: &str, value: impl Into<Vec<u8>>) {
        put(&self.client, key, value).await;
    }

    pub(crate) async fn delete(&self, key: &str) {
        self.client.txn(Txn::new().and_then([TxnOp::delete(key, None)])).await.unwrap();
    }

    /// Claims the only batch there is, or the oldest.
    pub(crate) async fn claim_first(&self, consumer: &Consumer, lease: i64) -> Outcome {
        let (batch, manifest, revision) = self.batches().await.remove(0);
        consumer.claim(&batch, &manifest, revision, lease).await.unwrap()
    }
}

pub(crate) async fn put(client: &Client, key: &str, value: impl Into<Vec<u8>>) {
    client.txn(Txn::new().and_then([TxnOp::put(key, value, None::<PutOptions>)])).await.unwrap();
}

pub(crate) async fn put_future_cursor(client: &Client, keys: &Keys, lane: &str) {
    let cursor = Cursor {
        v: 1,
        run: "before".into(),
        epoch: 1,
        n: 0,
        rows: 0,
        opened_rows: None,
        last_ms: FUTURE_MS,
        position: Value::Null,
    };
    put(client, &keys.lane(lane), serde_json::to_vec(&cursor).unwrap()).await;
}

/// Every manifest there is, oldest first.
pub(crate) async fn batches(client: &Client, keys: &Keys) -> Vec<(BatchId, Manifest, i64)> {
    let found = client.list(&keys.manifests(), usize::MAX).await.unwrap();
    let of = |kv: &KeyValue| {
        (Keys::batch_of(kv.key_str().unwrap()).unwrap(), Manifest::decode(kv.value()).unwrap(), kv.mod_revision())
    };
    found.kvs.iter().map(of).collect()
}

/// One message a row: the rows' lines are `lines`, their GPUs those of host `gpu-host-{line % 5}`.
pub(crate) fn draft(lines: impl IntoIterator<Item = u64>) -> Draft {
    let messages: Vec<_> = lines.into_iter().map(|line| body(&format!("host-{}", line % 5), &[line])).collect();
    draft_of(messages)
}

/// Rows of one GPU, told apart by their lines.
pub(crate) fn body(host: &str, lines: &[u64]) -> Body {
    let row = |line: &u64| MessageRow {
        line: *line,
        byte: line * 10,
        values: vec![(Metric::named("power_watts"), Some(*line as f64))],
    };
    Body::Rows {
        described: Arc::new(GpuIdentity { host: host.to_owned(), gpu: "0".into(), uuid: None, mig: None }.into()),
        timestamp: Timestamp(1_752_871_354_000_000),
        rows: lines.iter().map(row).collect(),
    }
}

pub(crate) fn draft_of(messages: Vec<Body>) -> Draft {
    let lines: Vec<u64> = messages.iter().flat_map(lines_of).collect();
    let (first, last) = (lines.iter().min().copied().unwrap_or(0), lines.iter().max().copied().unwrap_or(0));
    let source = Source {
        file: "f.csv".into(),
        pass: 0,
        lines: [first, last],
        bytes: [first * 10, last * 10 + 10],
        shift_us: 0,
    };
    Draft { messages, rows: lines.len() as u64, source, traceparent: None }
}

pub(crate) fn lines_of(body: &Body) -> Vec<u64> {
    match body {
        Body::Rows { rows, .. } => rows.iter().map(|row| row.line).collect(),
        Body::Dead { line, .. } => vec![*line],
    }
}

/// The lines of the rows that a claim brought, sorted.
pub(crate) fn lines(claimed: &Claimed) -> Vec<u64> {
    let mut lines: Vec<u64> = claimed.messages.iter().flat_map(|(_, value)| lines_in(value)).collect();
    lines.sort_unstable();
    lines
}

pub(crate) fn lines_in(value: &[u8]) -> Vec<u64> {
    match decode(value) {
        Decoded::Body(body) => lines_of(&body),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn claimed(outcome: Outcome) -> Claimed {
    match outcome {
        Outcome::Claimed(claimed) => claimed,
        other => panic!("not claimed: {other:?}"),
    }
}
