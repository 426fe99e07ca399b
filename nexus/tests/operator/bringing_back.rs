//! What the tests of `dlq` and `expired` share: how rows get lost, and whether the books are balanced after.

use std::collections::BTreeMap;

use nexus_common::etcd::{Txn, TxnOp};
use nexus_common::queue::{Cursor, Keys, Lane, Manifest};
use nexus_common::testing::eventually;

use crate::process::Process;
use crate::rows::Place;
use crate::world::{PATIENCE, World};

/// Eight messages a batch and room for one: it waits in the middle, and freezes where it has not heard yet that it has to.
pub(crate) const TIGHT: [(&str, &str); 3] =
    [("MAX_TXN_OPS", "16"), ("HIGH_WATER_ROWS", "8"), ("FAILPOINTS", "publish.begin=1*off->1*return(stop)")];

impl World {
    /// A command as a process that can be killed, against this test's servers.
    pub(crate) fn operator(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Process {
        let log = self.folder.path().join(format!("operator-{:x}.log", rand::random::<u64>()));
        let mut all: Vec<(&str, String)> = vec![("ETCD_ENDPOINTS", self.etcd.endpoint())];
        all.extend(self.postgres.environment());
        all.extend(environment.iter().map(|(name, value)| (*name, (*value).to_owned())));
        Process::start(arguments, &all, log, std::process::Stdio::null())
    }

    /// A collector whose tables are there.
    pub(crate) async fn ready_collector(&self) -> Process {
        let collector = self.collector();
        let there = "SELECT to_regclass('returns') IS NOT NULL";
        eventually("the tables are there", PATIENCE, async || self.ask(there).await == Some(true)).await;
        collector
    }

    /// Makes the owner's change.
    pub(crate) async fn alter(&self, sql: &str) {
        assert!(self.rows(sql).await.is_some(), "{sql}");
    }

    /// Publishes a file, each row once.
    pub(crate) async fn publish(&self, path: &std::path::Path, environment: &[(&str, &str)]) {
        let mut all = vec![("CSV_FILE", path.to_str().unwrap())];
        all.extend(environment);
        self.start("streamer", &all).succeeds().await;
    }

    pub(crate) async fn manifests(&self) -> Vec<(String, Manifest)> {
        let found = self.client().await.list(&self.keys().manifests(), usize::MAX).await.unwrap().kvs;
        found.iter().map(|kv| (kv.key_str().unwrap().to_owned(), Manifest::decode(kv.value()).unwrap())).collect()
    }

    /// What the clock would do after MESSAGE_TTL and a minute.
    pub(crate) async fn expire_all(&self) {
        let (client, keys) = (self.client().await, self.keys());
        let leases: std::collections::BTreeSet<_> =
            self.manifests().await.iter().map(|(_, manifest)| manifest.lease).collect();
        for lease in leases {
            client.revoke(lease).await.unwrap();
        }
        let gone = async || matches!(client.count(&keys.messages()).await, Ok(0));
        eventually("the messages are gone", PATIENCE, gone).await;
    }

    /// As if every batch had killed a collector so often.
    pub(crate) async fn attempted(&self, times: u32) {
        let (client, keys) = (self.client().await, self.keys());
        for (key, _) in self.manifests().await {
            let batch = Keys::batch_of(&key).unwrap();
            let value = format!(r#"{{"v":1,"attempts":{times}}}"#);
            client.txn(Txn::new().and_then([TxnOp::put(keys.attempt(&batch), value, None)])).await.unwrap();
        }
    }

    pub(crate) async fn cursor(&self, lane: &str) -> Option<Cursor> {
        Lane::look(&self.client().await, &self.keys(), lane).await.unwrap()
    }

    pub(crate) async fn until_published(&self, lane: &str, rows: u64) {
        let so_far = async || self.cursor(lane).await.is_some_and(|cursor| cursor.rows >= rows);
        eventually(format!("{rows} rows of {lane} are published"), PATIENCE, so_far).await;
    }

    /// Every value that is stored is the file's, and none is missing.
    pub(crate) async fn values_are(&self, expected: &BTreeMap<Place, f64>) {
        let stored = self.samples().await;
        assert_eq!(stored.len(), expected.len());
        assert!(stored == *expected, "the values differ");
        assert_eq!(self.ask::<i64>("SELECT sum(conflicts)::bigint FROM samples").await, Some(0));
    }

    /// Nothing is queued, and every lane has as many rows in the ledger as it published.
    pub(crate) async fn books_are_balanced(&self) {
        self.sums_agree().await;
        let audit = self.nexus(&["audit"]).await;
        assert_eq!(audit.status, 0, "{}{}", audit.out, audit.err);
    }

    /// Cursors, ledger, returns and dead letters tell of the same rows.
    pub(crate) async fn sums_agree(&self) {
        self.is_drained().await;
        let (client, keys) = (self.client().await, self.keys());
        for lane in Lane::named(&client, &keys, "").await.unwrap() {
            let read = self.cursor(&lane).await.unwrap().rows;
            let sum = format!("SELECT COALESCE(sum(row_count), 0)::bigint FROM ledger WHERE lane = '{lane}'");
            assert_eq!(self.ask::<i64>(&sum).await, Some(read as i64), "{lane}");
        }
        let differing = "SELECT count(*) FROM returns r WHERE r.finished_at IS NULL OR r.row_count <>
            (SELECT sum(l.row_count) FROM ledger l WHERE l.lane = r.kind || '-' || r.id)";
        assert_eq!(self.ask::<i64>(differing).await, Some(0));
        let uncounted = "SELECT count(*) FROM (SELECT sum(dead) AS dead FROM ledger) l,
            (SELECT COALESCE(sum(row_count), 0) AS dead FROM dead_letters) d WHERE l.dead <> d.dead";
        assert_eq!(self.ask::<i64>(uncounted).await, Some(0), "each dead row has its letter");
    }
}
