//! A producer's lane: one source, one writer at a time, a cursor that moves with every batch.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::bucket::Bucket;
use super::publish::Sending;
use super::{Keys, VERSION};
use crate::domain::Timestamp;
use crate::etcd::{Client, Compare, CompareOp, Error, GetOptions, KeyValue, Result, Txn, TxnOp};
use crate::failpoint;
use crate::observe::Counter;
use crate::retry::Retry;

/// The value of a lane key: how far its source was published.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cursor {
    /// Version of this value.
    pub v: u32,
    /// Random, made when the lane was opened: whoever has another one is fenced.
    pub run: String,
    /// How often the lane was opened.
    pub epoch: u64,
    /// Batches published in this run.
    pub n: u64,
    /// Rows published in all runs.
    pub rows: u64,
    /// Rows published before this run was opened: where it begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened_rows: Option<u64>,
    /// When the last batch was published, in milliseconds since 1970: the clock may step back, keys may not.
    pub last_ms: i64,
    /// Where the source stands: the producer's own, kept as it is.
    pub position: serde_json::Value,
}

/// An open lane. Dropping it is enough: nothing is held in etcd but the cursor.
#[derive(Debug)]
pub struct Lane {
    pub(super) client: Client,
    pub(super) keys: Keys,
    pub(super) name: String,
    pub(super) cursor: Cursor,
    /// Mod revision of the cursor, as of the last write of ours that we know of.
    pub(super) revision: i64,
    /// Revision at which the lane was opened: the head of every sequence number.
    pub(super) opened: i64,
    /// The tail of the next sequence number.
    pub(super) counter: u64,
    pub(super) bucket: Bucket,
    /// What was sent and is not settled, in order.
    pub(super) sent: Sending,
    /// Its first tries.
    pub(super) trying: JoinSet<()>,
    /// Publishes that had to be tried again.
    pub(super) retries: Counter,
}

/// How long a read may be tried before the caller hears of it.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

impl Lane {
    /// The lane's cursor as it stands; `None` when it was never opened.
    ///
    /// # Errors
    /// As etcd answers, after half a minute of tries.
    pub async fn look(client: &Client, keys: &Keys, name: &str) -> Result<Option<Cursor>> {
        Ok(stored(client, keys, name).await?.map(|(cursor, _)| cursor))
    }

    /// The lanes whose names begin with `prefix`.
    ///
    /// # Errors
    /// As etcd answers.
    pub async fn named(client: &Client, keys: &Keys, prefix: &str) -> Result<Vec<String>> {
        let key = keys.lane(prefix);
        let found = client.read(&key, GetOptions::new().with_prefix().with_keys_only(), PATIENCE).await?;
        let lanes = keys.lanes();
        Ok(found
            .kvs
            .iter()
            .filter_map(|kv| kv.key_str().ok()?.strip_prefix(lanes.as_str()).map(str::to_owned))
            .collect())
    }

    /// Opens a lane where its cursor stands, or at `start` when there is none: a new run, which fences whoever had the
    /// lane before. Tries until etcd takes it.
    ///
    /// # Errors
    /// What trying again does not help.
    pub async fn open(
        client: &Client,
        keys: &Keys,
        name: &str,
        start: &serde_json::Value,
        message_ttl: Duration,
    ) -> Result<Lane> {
        let mut retry = Retry::call();
        loop {
            match Self::try_open(client, keys, name, start, message_ttl).await {
                Ok(Some(lane)) => return Ok(lane),
                // Somebody else opened it at the same moment; now we fence them.
                Ok(None) => {}
                Err(error) if error.is_transient() => {
                    tracing::warn!(lane = name, %error, "cannot open the lane yet");
                    tokio::time::sleep(retry.next_wait()).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn try_open(
        client: &Client,
        keys: &Keys,
        name: &str,
        start: &serde_json::Value,
        message_ttl: Duration,
    ) -> Result<Option<Lane>> {
        let (before, revision) = match stored(client, keys, name).await? {
            Some((cursor, revision)) => (Some(cursor), revision),
            None => (None, 0),
        };
        let cursor = next_run(before, start);
        let key = keys.lane(name);
        let txn = Txn::new()
            .when([Compare::mod_revision(key.as_str(), CompareOp::Equal, revision)])
            .and_then([TxnOp::put(key.as_str(), cursor.encode(), None)]);
        failpoint::here("open.begin");
        let answer = client.txn(txn).await?;
        if !answer.succeeded {
            return Ok(None);
        }
        failpoint::here("open.committed");
        let opened = answer.revision;
        Ok(Some(Lane {
            client: client.clone(),
            keys: keys.clone(),
            name: name.to_owned(),
            cursor,
            revision: opened,
            opened,
            counter: 0,
            bucket: Bucket::new(message_ttl),
            sent: Sending::new(),
            trying: JoinSet::new(),
            retries: Counter::default(),
        }))
    }

    /// Counts here from now on how often a publish has to be tried again.
    pub fn count_retries(&mut self, retries: Counter) {
        self.retries = retries;
    }

    /// The cursor as of the last batch that is known to be published.
    pub fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// The lane's name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// The cursor of the next run: position and counts go on, the number starts again.
fn next_run(before: Option<Cursor>, start: &serde_json::Value) -> Cursor {
    let run = format!("{:016x}", rand::random::<u64>());
    match before {
        Some(before) => {
            Cursor { v: VERSION, run, epoch: before.epoch + 1, n: 0, opened_rows: Some(before.rows), ..before }
        }
        None => Cursor {
            v: VERSION,
            run,
            epoch: 1,
            n: 0,
            rows: 0,
            opened_rows: Some(0),
            last_ms: 0,
            position: start.clone(),
        },
    }
}

impl Cursor {
    pub(super) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    pub(super) fn decode(kv: &KeyValue) -> Result<Cursor> {
        let cursor: Cursor = serde_json::from_slice(kv.value()).map_err(|error| {
            Error::Refused(format!("the cursor {} is unreadable: {error}", kv.key_str().unwrap_or("?")))
        })?;
        if cursor.v > VERSION {
            return Err(Error::Refused(format!(
                "the lane was written by a newer version (v {}); this one reads up to v {VERSION}",
                cursor.v
            )));
        }
        Ok(cursor)
    }

    /// The time of the next batch: now, but never before the last one.
    pub(super) fn next_ms(&self) -> i64 {
        self.last_ms.max(Timestamp::now().as_millis() + failpoint::number("clock", 0))
    }
}

pub(super) async fn stored(client: &Client, keys: &Keys, name: &str) -> Result<Option<(Cursor, i64)>> {
    let found = client.read(&keys.lane(name), GetOptions::new(), PATIENCE).await?;
    found.kvs.first().map(|kv| Ok((Cursor::decode(kv)?, kv.mod_revision()))).transpose()
}
