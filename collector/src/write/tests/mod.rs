//! The writer on a real PostgreSQL: what it stores, and that it stores it once.

mod conditions;
mod days;
mod once;
mod refused;
mod registry;
mod retention;
mod rollups;
mod values;

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Object, Pool};
use nexus_common::db;
use nexus_common::domain::{GpuIdentity, Metric, Timestamp};
use nexus_common::queue::{BatchId, Body, Claimed, Decoder, Manifest, MessageRow, Source};
use nexus_common::testing::{self, TestPostgres};
use tokio_postgres::types::FromSqlOwned;

use super::{Stored, Writer};
use crate::work::Work;

const SOON: Duration = Duration::from_secs(60);
/// 2025-07-18T20:42:34Z.
const NOON: Timestamp = Timestamp(1_752_871_354_000_000);
const SECOND: i64 = 1_000_000;

/// A migrated database.
struct Store {
    server: TestPostgres,
    pool: Pool,
}

async fn store() -> Store {
    let server = testing::postgres().await;
    db::migrate(&server.config()).await.unwrap();
    let pool = db::pool(&server.config(), 8).unwrap();
    Store { server, pool }
}

impl Store {
    /// A writer with connections of its own, as each collector has.
    fn writer(&self) -> Writer {
        Writer::new(db::pool(&self.server.config(), 2).unwrap(), "bench", "collector-1", true)
    }

    async fn client(&self) -> Object {
        self.pool.get().await.unwrap()
    }

    async fn run(&self, sql: &str) {
        self.client().await.batch_execute(sql).await.unwrap();
    }

    /// The first column of every row.
    async fn column<T: FromSqlOwned>(&self, sql: &str) -> Vec<T> {
        self.client().await.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
    }

    async fn one<T: FromSqlOwned>(&self, sql: &str) -> T {
        self.column(sql).await.into_iter().next().unwrap()
    }

    async fn count(&self, table: &str) -> i64 {
        self.one(&format!("SELECT count(*) FROM {table}")).await
    }

    /// What the ledger says, added up: every batch keeps its promise by the table's own constraint.
    async fn ledger(&self) -> (i64, i64, i64, i64) {
        let sums = "SELECT count(*), COALESCE(sum(stored), 0)::bigint, COALESCE(sum(dead), 0)::bigint,
                        COALESCE(sum(expired), 0)::bigint FROM ledger";
        let row = self.client().await.query_one(sums, &[]).await.unwrap();
        (row.get(0), row.get(1), row.get(2), row.get(3))
    }
}

fn gpu(host: &str, index: &str) -> GpuIdentity {
    GpuIdentity { host: host.to_owned(), gpu: index.to_owned(), uuid: None, mig: None }
}

fn gpu_with(uuid: &str, host: &str, index: &str) -> GpuIdentity {
    GpuIdentity { uuid: Some(uuid.to_owned()), ..gpu(host, index) }
}

/// One row of one GPU.
fn message(gpu: GpuIdentity, timestamp: Timestamp, line: u64, values: &[(&str, f64)]) -> Body {
    let values = values.iter().map(|(name, value)| (Metric::named(name), Some(*value))).collect();
    let rows = vec![MessageRow { line, byte: line * 10, values }];
    Body::Rows { described: Arc::new(gpu.into()), timestamp, rows }
}

/// Batch `n` of a lane, as a claim brings it.
fn batch(n: u64, bodies: &[Body]) -> Work {
    Work::decode(claimed(n, bodies), &mut Decoder::default()).unwrap()
}

fn claimed(n: u64, bodies: &[Body]) -> Claimed {
    let rows: u64 = bodies.iter().map(|body| body.rows() as u64).sum();
    let source = Source { file: "f.csv".into(), pass: 0, lines: [2, 1 + rows], bytes: [0, rows * 10], shift_us: 0 };
    let batch = BatchId { published_ms: NOON.as_millis() + n as i64, lane: "lane".into(), run: "run".into(), n };
    let manifest = Manifest {
        v: 1,
        first: String::new(),
        last: String::new(),
        messages: bodies.len(),
        rows,
        rows_before: 0,
        lease: 1,
        source,
        traceparent: None,
    };
    let messages = bodies.iter().enumerate().map(|(at, body)| (format!("key-{n}-{at}"), body.encode())).collect();
    Claimed { batch, manifest, revision: 1, messages, attempt: 1 }
}

fn stored(batches: u64, rows: u64) -> Stored {
    Stored { batches, rows, ..Stored::default() }
}
