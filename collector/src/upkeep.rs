//! Upkeep: etcd stays the size it was, a full etcd is freed, and messages outlive PostgreSQL's absence.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use nexus_common::etcd::{Client, GetOptions};
use nexus_common::queue::{Keys, Manifest};
use tokio::time::{MissedTickBehavior, interval};

use crate::worker::Shared;

const EVERY: Duration = Duration::from_secs(5);
/// History younger than this is kept for watchers that lag, five seconds; who lags more lists anew. At 33,000 rows a second,
/// a message each, a second of history is some 40 MiB of etcd's file.
const KEEP_TICKS: usize = 1;
/// Compacting for less is not worth it.
const WORTH_REVISIONS: i64 = 500;
/// Bucket leases outlive their messages' TTL by a minute: renewing three times in it is enough.
const RENEW_EVERY_TICKS: u64 = 4;

/// What this collector may do to etcd.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Duties {
    /// Compact, defragment and disarm (ETCD_UPKEEP).
    pub(crate) maintains: bool,
    pub(crate) quota_bytes: u64,
}

/// Does what is due every five seconds, for ever.
pub(crate) async fn upkeep(shared: &Shared, client: &Client, keys: &Keys, duties: Duties) {
    let mut every = interval(EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut history = Vec::new();
    let mut compacted = 0;
    let mut tick = 0_u64;
    loop {
        every.tick().await;
        tick += 1;
        if shared.breaker.is_open() && tick.is_multiple_of(RENEW_EVERY_TICKS) {
            renew_messages(shared, client, keys).await;
        }
        if let Err(error) = look_after_space(shared, client, keys, duties).await {
            tracing::debug!(%error, "cannot look after etcd's space yet");
            continue;
        }
        if duties.maintains && shared.board.view().is_elder() {
            if let Ok(found) = client.get(&keys.feed(), GetOptions::new().with_keys_only()).await {
                history.push(found.revision);
            }
            if history.last() < history.first() {
                // Another etcd than before: its revisions start again.
                (history, compacted) = (Vec::new(), 0);
            }
            if history.len() > KEEP_TICKS {
                let revision = history.remove(0);
                if revision - compacted >= WORTH_REVISIONS && client.compact(revision, false).await.is_ok() {
                    compacted = revision;
                }
            }
        }
    }
}

/// Finds out whether etcd is full, and makes space if that is our duty.
async fn look_after_space(
    shared: &Shared,
    client: &Client,
    keys: &Keys,
    duties: Duties,
) -> Result<(), nexus_common::etcd::Error> {
    let full = client.out_of_space().await?;
    let knew = shared.out_of_space.swap(full, Ordering::Relaxed);
    if full && !knew {
        tracing::error!("etcd is full (NOSPACE): draining it without claims");
    }
    if knew && !full {
        tracing::info!("etcd has space again");
    }
    shared.board.wake();
    if !full || !duties.maintains {
        return Ok(());
    }
    let revision = client.get(&keys.feed(), GetOptions::new().with_keys_only()).await?.revision;
    client.compact(revision, true).await?;
    let before = client.health().await?;
    // A file that stays near the quota would raise the alarm again with the next put: drain on first.
    if before.used_bytes < duties.quota_bytes / 10 * 8 {
        client.defragment().await?;
        client.disarm().await?;
        let after = client.health().await?;
        tracing::warn!(
            before = before.file_bytes,
            after = after.file_bytes,
            "compacted, defragmented and disarmed etcd"
        );
    }
    Ok(())
}

/// While PostgreSQL is away nobody can read the messages: their leases are kept alive, all of them.
async fn renew_messages(shared: &Shared, client: &Client, keys: &Keys) {
    let (mut leases, complete) = shared.board.view().leases();
    if !complete && let Ok(found) = client.list(&keys.manifests(), usize::MAX).await {
        let manifests = found.kvs.iter().filter_map(|kv| Manifest::decode(kv.value()));
        leases = manifests.map(|manifest| manifest.lease).collect::<HashSet<_>>();
    }
    for lease in leases {
        if let Err(error) = client.renew(lease).await {
            tracing::debug!(%error, "cannot keep messages alive yet");
            return;
        }
    }
}
