//! Key encoding, and its way back.
//!
//! | family | key |
//! |---|---|
//! | message | `/telemetry/queue/{c}/{timestamp_ms}_{hostname}_{gpu_id}_{sequence}` |
//! | manifest | `/telemetry/batch/{c}/{timestamp_ms}_{lane}.{run}.{n}` |
//! | cursor | `/telemetry/lane/{c}/{lane}` |
//! | claim, attempt | `/telemetry/claim/{c}/{batch}`, `/telemetry/attempt/{c}/{batch}` |
//! | member | `/telemetry/member/{c}/{role}/{id}` |
//! | feed | `/telemetry/feed/{c}` |
//! | store | `/telemetry/store` |
//!
//! All families are siblings of MESSAGE_QUEUE_PREFIX. Names are percent-escaped, so a key always parses back.

use std::fmt;
use std::str::FromStr;

use crate::domain::{escape, unescape};

/// Builds the keys of one telemetry cluster.
#[derive(Debug, Clone)]
pub struct Keys {
    queue: String,
    root: String,
    cluster_id: String,
    part: String,
}

/// The name of a batch: everything one transaction published. Its order is queue order.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BatchId {
    /// When it was published, in milliseconds since 1970; never before the lane's previous batch.
    pub published_ms: i64,
    /// The lane's name: lower-case letters, digits and `-`.
    pub lane: String,
    /// The lane's run: random, made when the lane was opened.
    pub run: String,
    /// Number within the run, from 1, without gaps.
    pub n: u64,
}

/// What a message key says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageKey {
    /// When it was published, in milliseconds since 1970.
    pub published_ms: i64,
    /// Host name; empty for a row that could not be understood.
    pub host: String,
    /// GPU index on the host; empty likewise.
    pub gpu: String,
    /// Unique in the cluster: the revision at which the lane was opened, then nine digits.
    pub sequence: u64,
}

impl Keys {
    /// The keys of `cluster_id` beside the queue prefix, e.g. `/telemetry/queue`.
    pub fn new(queue_prefix: &str, cluster_id: &str) -> Self {
        let queue = queue_prefix.trim_end_matches('/').to_owned();
        let root = queue.rfind('/').map_or("", |at| &queue[..at]).to_owned();
        Keys { queue, root, cluster_id: cluster_id.to_owned(), part: escape(cluster_id).into_owned() }
    }

    /// The telemetry cluster these keys belong to, as it is called outside of keys.
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// Prefix of all messages.
    pub fn messages(&self) -> String {
        format!("{}/{}/", self.queue, self.part)
    }

    /// Prefix of all manifests.
    pub fn manifests(&self) -> String {
        self.family("batch")
    }

    /// Prefix of all claims.
    pub fn claims(&self) -> String {
        self.family("claim")
    }

    /// Prefix of all attempt counts.
    pub fn attempts(&self) -> String {
        self.family("attempt")
    }

    /// Prefix of all lanes' cursors.
    pub fn lanes(&self) -> String {
        self.family("lane")
    }

    /// Prefix of all members of a role.
    pub fn members(&self, role: &str) -> String {
        format!("{}{role}/", self.family("member"))
    }

    /// A batch's manifest.
    pub fn manifest(&self, batch: &BatchId) -> String {
        format!("{}{batch}", self.manifests())
    }

    /// A batch's claim.
    pub fn claim(&self, batch: &BatchId) -> String {
        format!("{}{batch}", self.claims())
    }

    /// How often a batch was claimed.
    pub fn attempt(&self, batch: &BatchId) -> String {
        format!("{}{batch}", self.attempts())
    }

    /// A lane's cursor.
    pub fn lane(&self, lane: &str) -> String {
        format!("{}{lane}", self.lanes())
    }

    /// A member's key.
    pub fn member(&self, role: &str, id: &str) -> String {
        format!("{}{id}", self.members(role))
    }

    /// What the last acknowledged batch stored.
    pub fn feed(&self) -> String {
        format!("{}/feed/{}", self.root, self.part)
    }

    /// Prefix of the feeds of all clusters.
    pub fn feeds(&self) -> String {
        format!("{}/feed/", self.root)
    }

    /// Whose feed a key is.
    pub fn cluster_of_feed(&self, key: &str) -> Option<String> {
        let part = key.strip_prefix(&self.feeds()).filter(|part| !part.is_empty() && !part.contains('/'))?;
        Some(unescape(part)?.into_owned())
    }

    /// The random id of this etcd's store, shared by all clusters: an etcd that was rebuilt gets another one.
    pub fn store(&self) -> String {
        format!("{}/store", self.root)
    }

    /// A message's key.
    pub fn message(&self, key: &MessageKey) -> String {
        format!("{}{key}", self.messages())
    }

    fn family(&self, name: &str) -> String {
        format!("{}/{name}/{}/", self.root, self.part)
    }

    /// The batch behind a manifest or claim key.
    pub fn batch_of(key: &str) -> Option<BatchId> {
        key.rsplit('/').next()?.parse().ok()
    }
}

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:013}_{}.{}.{}", self.published_ms, self.lane, self.run, self.n)
    }
}

impl FromStr for BatchId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (ms, rest) = text.split_once('_').ok_or(())?;
        let mut parts = rest.rsplitn(3, '.');
        let (n, run, lane) = (parts.next().ok_or(())?, parts.next().ok_or(())?, parts.next().ok_or(())?);
        Ok(BatchId {
            published_ms: ms.parse().map_err(drop)?,
            lane: lane.to_owned(),
            run: run.to_owned(),
            n: n.parse().map_err(drop)?,
        })
    }
}

impl fmt::Display for MessageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:013}_{}_{}_{}", self.published_ms, escape(&self.host), escape(&self.gpu), self.sequence)
    }
}

impl FromStr for MessageKey {
    type Err = ();

    fn from_str(key: &str) -> Result<Self, ()> {
        let mut parts = key.rsplit('/').next().ok_or(())?.split('_');
        let mut part = || parts.next().ok_or(());
        Ok(MessageKey {
            published_ms: part()?.parse().map_err(drop)?,
            host: unescape(part()?).ok_or(())?.into_owned(),
            gpu: unescape(part()?).ok_or(())?.into_owned(),
            sequence: part()?.parse().map_err(drop)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keys_look_as_the_operator_knows_them() {
        let keys = Keys::new("/telemetry/queue", "local-cluster");
        let key = MessageKey { published_ms: 1_692_712_345_000, host: "host-001".into(), gpu: "0".into(), sequence: 1 };
        assert_eq!(keys.message(&key), "/telemetry/queue/local-cluster/1692712345000_host-001_0_1");
        let batch = BatchId { published_ms: 5, lane: "0a1b-0of1".into(), run: "beef".into(), n: 7 };
        assert_eq!(keys.manifest(&batch), "/telemetry/batch/local-cluster/0000000000005_0a1b-0of1.beef.7");
        assert_eq!(keys.feed(), "/telemetry/feed/local-cluster");
    }

    proptest! {
        #[test]
        fn a_message_key_parses_back(host in any::<String>(), gpu in any::<String>(), ms in 0i64..9_999_999_999_999, sequence: u64) {
            let keys = Keys::new("/telemetry/queue", "c/1");
            let key = MessageKey { published_ms: ms, host, gpu, sequence };
            prop_assert_eq!(keys.message(&key).parse::<MessageKey>().unwrap(), key);
        }

        #[test]
        fn a_batch_id_parses_back_and_sorts_by_time(ms in 0i64..9_999_999_999_999, lane in "[a-z0-9-]{1,30}", run in "[0-9a-f]{8}", n: u64) {
            let batch = BatchId { published_ms: ms, lane, run, n };
            prop_assert_eq!(batch.to_string().parse::<BatchId>().unwrap(), batch);
        }
    }
}
