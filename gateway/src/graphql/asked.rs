//! What belongs to one request: its clock, and what it has looked up already.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

use async_graphql::Context;
use async_graphql::dataloader::DataLoader;
use nexus_common::domain::Timestamp;
use tokio::sync::Semaphore;

use super::batch::{self, OfEach};
use super::error::{Failure, Result, field};
use crate::read::{Cluster, Host, Model, Stats};

/// Questions to PostgreSQL that one request may have under way: it leaves room for others.
const TURNS: usize = 2;

/// One request. What is looked up twice in it, such as the cluster of every GPU, is worked out once.
pub(super) struct Asked {
    pub(super) read: Model,
    /// What `now` means wherever the query says it.
    pub(super) now: Timestamp,
    pub(super) turns: Semaphore,
    pub(super) of_each: DataLoader<OfEach>,
    clusters: Memo<String, Cluster>,
    hosts: Memo<(String, String), Host>,
    stats: Memo<String, Stats>,
}

/// Never held across an await.
type Memo<K, V> = Mutex<HashMap<K, V>>;

impl Asked {
    pub(super) fn new(read: Model) -> Self {
        Asked {
            now: Timestamp::now(),
            turns: Semaphore::new(TURNS),
            of_each: batch::loader(read.clone()),
            read,
            clusters: Memo::default(),
            hosts: Memo::default(),
            stats: Memo::default(),
        }
    }

    /// The request a field stands in.
    pub(super) fn of<'a>(context: &Context<'a>) -> Result<&'a Asked> {
        context.data::<Asked>().map_err(|error| Failure::internal(error.message))
    }

    /// The value of a field that is in memory; null and an error where there is none.
    pub(super) fn answer<'a, T>(context: &Context<'a>, look: impl FnOnce(&'a Asked) -> Result<T>) -> Option<T> {
        field(context, Asked::of(context).and_then(look))
    }

    pub(super) fn cluster(&self, cluster_id: &str) -> Result<Cluster> {
        once(&self.clusters, cluster_id.to_owned(), || Ok(self.read.cluster(cluster_id)?))
    }

    pub(super) fn host(&self, cluster_id: &str, host_id: &str) -> Result<Host> {
        let key = (cluster_id.to_owned(), host_id.to_owned());
        once(&self.hosts, key, || Ok(self.read.host(cluster_id, host_id)?))
    }

    pub(super) fn stats(&self, cluster_id: &str) -> Result<Stats> {
        once(&self.stats, cluster_id.to_owned(), || Ok(self.read.stats(cluster_id)?))
    }
}

fn once<K: Hash + Eq, V: Clone>(memo: &Memo<K, V>, key: K, look: impl FnOnce() -> Result<V>) -> Result<V> {
    let mut known = memo.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(value) = known.get(&key) {
        return Ok(value.clone());
    }
    let value = look()?;
    known.insert(key, value.clone());
    Ok(value)
}
