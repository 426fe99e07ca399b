//! Leases for messages: one per lane and minute, never one per message.

use std::time::Duration;

use tokio::time::Instant;

use super::Bounds;
use crate::etcd::{Client, Result};
use crate::failpoint;

/// How long a lease takes new keys.
const MINUTE: Duration = Duration::from_secs(60);

/// The lease that the lane's next messages live under.
#[derive(Debug)]
pub(super) struct Bucket {
    ttl: Duration,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    lease: i64,
    granted: Instant,
    keys: usize,
}

impl Bucket {
    /// Leases that keep every message for at least `message_ttl`.
    pub(super) fn new(message_ttl: Duration) -> Self {
        Bucket { ttl: message_ttl + MINUTE, open: None }
    }

    /// Takes room for `keys` more under a lease that was granted less than a minute ago. Whether they are put or not, the
    /// room is taken: a lease never holds more than it may.
    pub(super) async fn lease(&mut self, client: &Client, keys: usize) -> Result<i64> {
        if let Some(open) = &mut self.open
            && open.granted.elapsed() < MINUTE
            && open.keys + keys <= Bounds::LEASE_KEYS
        {
            open.keys += keys;
            return Ok(open.lease);
        }
        let lease = client.grant(self.ttl).await?.id;
        failpoint::here("bucket.granted");
        self.open = Some(Open { lease, granted: Instant::now(), keys });
        Ok(lease)
    }

    /// The lease is gone: the next one is a new one.
    pub(super) fn forget(&mut self) {
        self.open = None;
    }
}
