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

    /// A lease with room for `keys` more, granted less than a minute ago.
    pub(super) async fn lease(&mut self, client: &Client, keys: usize) -> Result<i64> {
        if let Some(open) = &self.open
            && open.granted.elapsed() < MINUTE
            && open.keys + keys <= Bounds::LEASE_KEYS
        {
            return Ok(open.lease);
        }
        let lease = client.grant(self.ttl).await?.id;
        failpoint::here("bucket.granted");
        self.open = Some(Open { lease, granted: Instant::now(), keys: 0 });
        Ok(lease)
    }

    /// So many keys were put under the open lease.
    pub(super) fn used(&mut self, keys: usize) {
        if let Some(open) = &mut self.open {
            open.keys += keys;
        }
    }

    /// The lease is gone: the next one is a new one.
    pub(super) fn forget(&mut self) {
        self.open = None;
    }
}
