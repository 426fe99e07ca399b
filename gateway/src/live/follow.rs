//! The gateway's one watch: what collectors put into the feed keys goes into the memory and the hub.
//!
//! # What holds
//!
//! - A frame is pushed once, in order of revision; the memory knows what it says before any client sees it.
//! - Where the watch is whole, so is the ring: a break is healed from the next revision on. Where it is not (history
//!   compacted away, another etcd), the ring begins anew and whoever stood before that is told.
//! - While the watch is broken the memory is told not to trust it.

use std::time::{Duration, Instant};

use nexus_common::etcd::{self, Change, Client, Compare, CompareOp, Error, GetOptions, KeyValue, Scope, Txn, TxnOp};
use nexus_common::failpoint;
use nexus_common::queue::{Feed, Keys, VERSION};
use nexus_common::retry::Retry;
use nexus_common::traces::trace_id;
use serde::Deserialize;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{MissedTickBehavior, interval};

use super::{Frame, Hub, Position, Store};
use crate::memory::Memory;

/// How often the ring is looked through when nothing comes, and etcd asked again for room for the store's id.
const TICK: Duration = Duration::from_secs(5);

/// How long one read of the store's id is tried.
const PATIENCE: Duration = Duration::from_secs(10);

/// Follows the feeds of all clusters for ever. Without a hub only the memory is told.
pub async fn follow(client: Client, keys: Keys, memory: Memory, hub: Option<Hub>) {
    let scope = Scope::all("feed", keys.feeds());
    let mut follower = Follower { client: client.clone(), keys, memory, hub, store: None, own: None, newest: 0 };
    let mut retry = Retry::call();
    loop {
        follower.memory.distrust();
        let began = Instant::now();
        let (tell, changes) = unbounded_channel();
        // In one task: the watch goes on only when what it told is taken in.
        tokio::select! {
            () = etcd::follow(&client, &scope, |change| tell.send(change).is_ok()) => {}
            Begin::Anew = follower.take_in(changes) => {}
        }
        if began.elapsed() > PATIENCE {
            retry.reset();
        }
        tokio::time::sleep(retry.next_wait()).await;
    }
}

struct Follower {
    client: Client,
    keys: Keys,
    memory: Memory,
    hub: Option<Hub>,
    store: Option<Store>,
    /// The id this process uses as long as etcd is full and has none.
    own: Option<Store>,
    /// The last revision taken in.
    newest: i64,
}

/// What was followed is of another life: list and watch again.
enum Begin {
    Anew,
}

#[derive(Deserialize)]
struct Version {
    v: u32,
}

impl Follower {
    async fn take_in(&mut self, mut changes: UnboundedReceiver<Change>) -> Begin {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let change = tokio::select! {
                biased;
                change = changes.recv() => change,
                _ = tick.tick() => {
                    if let Some(hub) = &self.hub {
                        hub.expire();
                    }
                    if self.own.is_some() && self.ensure(None).await.is_ok_and(|store| self.store != Some(store)) {
                        return Begin::Anew;
                    }
                    continue;
                }
            };
            match change {
                None => return Begin::Anew,
                Some(Change::Snapshot(kvs, revision)) => {
                    self.memory.distrust();
                    if self.snapshot(&kvs, revision).await.is_err() {
                        return Begin::Anew;
                    }
                }
                Some(Change::Put(kv)) => self.put(&kv),
                Some(Change::Delete(_)) => {}
                Some(Change::Interrupted) => self.memory.distrust(),
                // An etcd that was rebuilt and has gone on beyond our revision cannot be told by that.
                Some(Change::Resumed) => match self.ensure(None).await {
                    Ok(store) if self.store == Some(store) => self.memory.trust(),
                    _ => return Begin::Anew,
                },
            }
        }
    }

    /// This is all there is. Where nothing was put since we last looked, nothing was missed.
    async fn snapshot(&mut self, kvs: &[KeyValue], revision: i64) -> Result<(), Error> {
        // The same store at an earlier revision was restored: its revisions will come a second time.
        let restored = self.store.filter(|_| revision < self.newest);
        let store = self.ensure(restored).await?;
        let missed = kvs.iter().any(|kv| kv.mod_revision() > self.newest);
        if self.store != Some(store) || restored.is_some() || missed {
            tracing::debug!(%store, revision, "the live feed begins here");
            (self.store, self.newest) = (Some(store), revision);
            if let Some(hub) = &self.hub {
                hub.restart(store, revision);
            }
        }
        Ok(())
    }

    fn put(&mut self, kv: &KeyValue) {
        let (Some(store), revision) = (self.store, kv.mod_revision()) else { return };
        let cluster = kv.key_str().ok().and_then(|key| self.keys.cluster_of_feed(key));
        let Some(cluster) = cluster.filter(|_| revision > self.newest) else { return };
        failpoint::here("feed.taken");
        self.newest = revision;
        let position = Position { store, revision };
        let version = serde_json::from_slice::<Version>(kv.value()).map_or(VERSION, |version| version.v);
        let frame = match serde_json::from_slice::<Feed>(kv.value()) {
            Ok(feed) if version <= VERSION => {
                let trace_id = trace_id(feed.traceparent.as_deref());
                tracing::debug!(batch = feed.batch, trace_id, revision, cluster, "in the feed");
                if let Some(hub) = &self.hub {
                    hub.counts().arrived(&feed.batch);
                }
                self.memory.take(&cluster, &feed);
                Frame::of(position, &cluster, feed)
            }
            unread => {
                tracing::warn!(cluster, revision, version, error = ?unread.err(), "a feed value cannot be read");
                // What it said is in the database all the same.
                self.memory.distrust();
                self.memory.trust();
                let reason = if version > VERSION {
                    "a newer collector wrote what this gateway cannot read yet; the API has what was stored"
                } else {
                    "the feed held what cannot be read; the API has what was stored"
                };
                Frame::lost(position, &cluster, reason)
            }
        };
        failpoint::here("feed.remembered");
        if let Some(hub) = &self.hub {
            hub.push(frame);
        }
    }

    /// The store's id, made where there is none; another one in the place of `void`.
    async fn ensure(&mut self, void: Option<Store>) -> Result<Store, Error> {
        let key = self.keys.store();
        let mut retry = Retry::call();
        loop {
            let found = self.client.read(&key, GetOptions::new(), PATIENCE).await?;
            let found = found.kvs.first();
            let known = found.and_then(|kv| kv.value_str().ok()?.parse().ok());
            if let Some(store) = known.filter(|store| Some(*store) != void) {
                self.own = None;
                return Ok(store);
            }
            let fresh = self.own.filter(|own| Some(*own) != void).unwrap_or_else(Store::random);
            let revision = found.map_or(0, KeyValue::mod_revision);
            let put = Txn::new()
                .when([Compare::mod_revision(key.as_str(), CompareOp::Equal, revision)])
                .and_then([TxnOp::put(key.as_str(), fresh.to_string(), None)]);
            match self.client.txn(put).await {
                // Whether it was ours or another's: the next read says which holds.
                Ok(_) => {}
                Err(Error::NoSpace) => {
                    self.own = Some(fresh);
                    return Ok(fresh);
                }
                Err(error) if error.is_transient() => tokio::time::sleep(retry.next_wait()).await,
                Err(error) => return Err(error),
            }
        }
    }
}
