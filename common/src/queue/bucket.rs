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
    open: Option<Room>,
    /// Keys under the open lease.
    keys: usize,
}

/// Room for a batch's messages under a lease; taken whether the batch is published or not, so a lease never holds more than it may.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) lease: i64,
    granted: Instant,
}

impl Room {
    /// Whether messages that are put now live as long as they should.
    pub(super) fn is_fresh(&self) -> bool {
        self.granted.elapsed() < MINUTE
    }
}

impl Bucket {
    /// Leases that keep every message for at least `message_ttl`.
    pub(super) fn new(message_ttl: Duration) -> Self {
        Bucket { ttl: message_ttl + MINUTE, open: None, keys: 0 }
    }

    /// Takes room for `keys` more under a lease that was granted less than a minute ago.
    pub(super) async fn room(&mut self, client: &Client, keys: usize) -> Result<Room> {
        if let Some(open) = self.open.filter(Room::is_fresh)
            && self.keys + keys <= Bounds::LEASE_KEYS
        {
            self.keys += keys;
            return Ok(open);
        }
        let lease = client.grant(self.ttl).await?.id;
        failpoint::here("bucket.granted");
        let room = Room { lease, granted: Instant::now() };
        (self.open, self.keys) = (Some(room), keys);
        Ok(room)
    }

    /// This lease is gone: there is no more room under it.
    pub(super) fn forget(&mut self, gone: Room) {
        self.open = self.open.filter(|open| open.lease != gone.lease);
    }
}
