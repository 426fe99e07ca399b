//! Servers of one test, the processes on them, and what can be asked of both.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nexus_common::etcd::Client;
use nexus_common::queue::Keys;
use nexus_common::servers::{EtcdOptions, PostgresOptions};
use nexus_common::testing::{
    TestEtcd, TestPostgres, etcd_cluster_with, etcd_with, eventually, postgres, postgres_with,
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_postgres::NoTls;
use tokio_postgres::types::FromSqlOwned;

use crate::process::Process;
use crate::rows::Place;

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct World {
    pub(crate) etcd: TestEtcd,
    /// The other members, where etcd has several.
    pub(crate) others: Vec<TestEtcd>,
    pub(crate) postgres: TestPostgres,
    pub(crate) folder: TempDir,
    started: AtomicU32,
}

impl World {
    pub(crate) async fn new() -> World {
        World::with_etcd(|_| ()).await
    }

    pub(crate) async fn with_etcd(change: impl FnOnce(&mut EtcdOptions)) -> World {
        let (etcd, postgres) = tokio::join!(etcd_with(change), postgres());
        World::of(vec![etcd], postgres)
    }

    /// On a PostgreSQL with other options.
    pub(crate) async fn with_postgres(change: impl FnOnce(&mut PostgresOptions)) -> World {
        let (etcd, postgres) = tokio::join!(etcd_with(|_| ()), postgres_with(change));
        World::of(vec![etcd], postgres)
    }

    /// An etcd of three members.
    pub(crate) async fn on_three_members() -> World {
        World::on_three_members_with(|_| ()).await
    }

    pub(crate) async fn on_three_members_with(change: impl Fn(&mut EtcdOptions)) -> World {
        let (etcd, postgres) = tokio::join!(etcd_cluster_with(3, change), postgres());
        World::of(etcd, postgres)
    }

    /// The same, on a PostgreSQL with other options.
    pub(crate) async fn on_three_members_with_postgres(change: impl FnOnce(&mut PostgresOptions)) -> World {
        let (etcd, postgres) = tokio::join!(etcd_cluster_with(3, |_| ()), postgres_with(change));
        World::of(etcd, postgres)
    }

    fn of(mut members: Vec<TestEtcd>, postgres: TestPostgres) -> World {
        let etcd = members.remove(0);
        World { etcd, others: members, postgres, folder: tempfile::tempdir().unwrap(), started: AtomicU32::new(0) }
    }

    /// All members of etcd.
    pub(crate) fn members(&mut self) -> Vec<&mut TestEtcd> {
        std::iter::once(&mut self.etcd).chain(&mut self.others).collect()
    }

    fn endpoints(&self) -> Vec<String> {
        std::iter::once(&self.etcd).chain(&self.others).map(|member| member.endpoint()).collect()
    }

    /// A file in the test's folder.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// A component against this test's servers.
    pub(crate) fn start(&self, component: &str, environment: &[(&str, &str)]) -> Process {
        self.start_with_input(component, environment, Stdio::null())
    }

    pub(crate) fn start_with_input(&self, component: &str, environment: &[(&str, &str)], input: Stdio) -> Process {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let log = self.folder.path().join(format!("{number}-{component}.log"));
        let mut all: Vec<(&str, String)> = vec![
            ("ETCD_ENDPOINTS", self.endpoints().join(",")),
            ("LOG_FORMAT", "text".to_owned()),
            ("LOOP_MODE", "false".to_owned()),
            ("STREAM_INTERVAL", "0s".to_owned()),
            ("METRICS_ADDR", "127.0.0.1:0".to_owned()),
        ];
        all.extend(self.postgres.environment());
        all.extend(environment.iter().map(|(name, value)| (*name, (*value).to_owned())));
        Process::start(&[component], &all, log, input)
    }

    pub(crate) fn collector(&self) -> Process {
        self.start("collector", &[])
    }

    /// A streamer slow enough to be caught in the middle.
    pub(crate) fn slow_streamer(&self, file: &str) -> Process {
        self.start("streamer", &[("CSV_FILE", file), ("BATCH_SIZE", "50"), ("STREAM_INTERVAL", "5ms")])
    }

    /// The same, which freezes before so many batches have been published, and waits there for [`Process::go_on`]: what is
    /// done to it before that is done while it publishes, however fast the machine is.
    pub(crate) fn waiting_streamer(&self, file: &str, batches: u64) -> Process {
        let (failpoint, slowly) = (format!("publish.begin={batches}*off->1*return(stop)"), "5ms");
        let environment = [("CSV_FILE", file), ("BATCH_SIZE", "50"), ("STREAM_INTERVAL", slowly)];
        self.faulty("streamer", &failpoint, &environment)
    }

    /// Waits until so many processes of a role are members of the cluster.
    pub(crate) async fn until_members(&self, role: &str, count: i64) {
        let (client, members) = (self.client().await, self.keys().members(role));
        eventually(format!("{count} members are {role}s"), PATIENCE, async || {
            client.count(&members).await.is_ok_and(|found| found == count)
        })
        .await;
    }

    /// A streamer or collector that dies, freezes or misreads the clock where `FAILPOINTS` says.
    pub(crate) fn faulty(&self, component: &str, failpoints: &str, environment: &[(&str, &str)]) -> Process {
        self.start(component, &[&[("FAILPOINTS", failpoints)], environment].concat())
    }

    /// Takes the sessions of all collectors away, as time would ten seconds after their death.
    pub(crate) async fn end_sessions(&self) {
        let client = self.client().await;
        let members = client.list(&self.keys().members("collector"), usize::MAX).await.unwrap().kvs;
        for member in members {
            client.revoke(member.lease()).await.unwrap();
        }
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(&self.endpoints()).await.unwrap()
    }

    pub(crate) fn keys(&self) -> Keys {
        Keys::new("/telemetry/queue", "local-cluster")
    }

    /// The one value that a query gives; `None` while the database cannot answer it.
    pub(crate) async fn ask<T: FromSqlOwned>(&self, sql: &str) -> Option<T> {
        let rows = self.rows(sql).await?;
        rows.first()?.try_get(0).ok()
    }

    pub(crate) async fn rows(&self, sql: &str) -> Option<Vec<tokio_postgres::Row>> {
        let (client, connection) = self.postgres.owner_config().connect(NoTls).await.ok()?;
        tokio::select! {
            rows = client.query(sql, &[]) => rows.ok(),
            _ = connection => None,
        }
    }

    /// Rows the ledger accounts for.
    pub(crate) async fn accounted(&self) -> i64 {
        self.ask("SELECT COALESCE(sum(row_count), 0)::bigint FROM ledger").await.unwrap_or(0)
    }

    pub(crate) async fn until_accounted(&self, rows: u64) {
        let rows = i64::try_from(rows).unwrap();
        eventually(format!("{rows} rows in the ledger"), PATIENCE, async || self.accounted().await >= rows).await;
    }

    /// Exactly these samples are stored, every row is accounted for once, and nothing of the batches is left in etcd.
    pub(crate) async fn holds_exactly(&self, expected: &BTreeMap<Place, f64>) {
        self.until_accounted(expected.len() as u64).await;
        self.is_drained().await;
        let stored = self.samples().await;
        assert_eq!(stored.len(), expected.len());
        assert!(stored == *expected, "the values differ");
        let [rows, stored, dead, expired] = self.sums().await;
        assert_eq!([rows, stored, dead, expired], [expected.len() as i64, expected.len() as i64, 0, 0]);
        self.lanes_are_whole().await;
        // And the operator's own look comes to the same.
        self.start("audit", &[]).succeeds().await;
    }

    /// What is stored.
    pub(crate) async fn samples(&self) -> BTreeMap<Place, f64> {
        self.rows(
            "SELECT h.name, g.gpu_index, (extract(epoch FROM s.ts) * 1000000)::bigint, s.energy_millijoules
                 FROM samples s JOIN gpus g ON g.id = s.gpu_id JOIN hosts h ON h.id = g.host_id",
        )
        .await
        .unwrap()
        .iter()
        .map(|row| ((row.get(0), row.get(1), row.get(2)), row.get(3)))
        .collect()
    }

    /// Rows in the ledger: all, stored, dead, expired.
    pub(crate) async fn sums(&self) -> [i64; 4] {
        let rows = self
            .rows(
                "SELECT COALESCE(sum(row_count), 0)::bigint, COALESCE(sum(stored), 0)::bigint,
                     COALESCE(sum(dead), 0)::bigint, COALESCE(sum(expired), 0)::bigint FROM ledger",
            )
            .await
            .unwrap();
        [0, 1, 2, 3].map(|column| rows[0].get(column))
    }

    /// Every lane's batches follow on from each other, in rows and in bytes: none is missing, none counted twice.
    pub(crate) async fn lanes_are_whole(&self) {
        let gaps: i64 = self
            .ask(
                "SELECT count(*) FROM (
                     SELECT rows_before - lag(rows_before + row_count, 1, 0::bigint) OVER lane AS rows,
                         first_byte - lag(end_byte, 1, first_byte) OVER (lane_pass) AS bytes
                     FROM ledger
                     WINDOW lane AS (PARTITION BY lane ORDER BY rows_before),
                         lane_pass AS (PARTITION BY lane, pass ORDER BY rows_before)
                 ) gaps WHERE rows <> 0 OR bytes <> 0",
            )
            .await
            .unwrap();
        assert_eq!(gaps, 0);
    }

    /// No message, manifest, claim or attempt is left.
    pub(crate) async fn is_drained(&self) {
        let (client, keys) = (self.client().await, self.keys());
        let attempts = keys.claims().replace("/claim/", "/attempt/");
        for prefix in [keys.messages(), keys.manifests(), keys.claims(), attempts] {
            eventually(format!("nothing below {prefix}"), PATIENCE, async || {
                matches!(client.count(&prefix).await, Ok(0))
            })
            .await;
        }
    }
}

/// Waits until the gateway on this port says that it can serve.
pub(crate) async fn until_ready(port: &str) {
    let address = format!("127.0.0.1:{port}");
    let asked = async || -> Option<bool> {
        let mut stream = TcpStream::connect(&address).await.ok()?;
        stream.write_all(b"GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        Some(answer.starts_with("HTTP/1.1 200"))
    };
    eventually("the gateway is ready", PATIENCE, async || asked().await == Some(true)).await;
}
