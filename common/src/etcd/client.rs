//! A cheap handle on an etcd cluster: one connection per endpoint for data, one more for leases.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use etcd_client::{ConnectOptions, GetOptions, KeyValue, Txn, TxnResponse};

use super::meter::Meter;
use super::{Error, Result};
use crate::observe::Registry;
use crate::retry::Retry;

/// The server gives up after 7 s; past this nothing is coming.
const CALL_DEADLINE: Duration = Duration::from_secs(8);
/// A claim returns up to 1 MiB of messages, a list page more than the default 4 MiB.
const DECODE_LIMIT: usize = 64 << 20;

/// A handle on the cluster. Calls go to the current endpoint; one that does not answer makes the next one current.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    endpoints: Vec<Endpoint>,
    current: AtomicUsize,
    meter: Meter,
}

/// The crate's balancer keeps sending to dead endpoints (etcd-client 12), so each endpoint is a client of its own.
pub(super) struct Endpoint {
    pub(super) address: String,
    pub(super) data: etcd_client::Client,
    /// Bulk traffic must not starve keep-alives.
    pub(super) leases: etcd_client::Client,
}

/// What a range found.
#[derive(Debug, Default)]
pub struct Found {
    /// The store's revision when it was read.
    pub revision: i64,
    /// The keys with their values, in key order.
    pub kvs: Vec<KeyValue>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.endpoints.iter().map(|endpoint| &endpoint.address)).finish()
    }
}

impl Client {
    /// A handle on these endpoints (`host:port` or a URL). Connections are made when first used.
    ///
    /// # Errors
    /// [`Error::Refused`] where an endpoint cannot be read.
    pub async fn connect(endpoints: &[String]) -> Result<Self> {
        let mut connected = Vec::with_capacity(endpoints.len());
        for address in endpoints.iter().map(|endpoint| endpoint.trim()).filter(|endpoint| !endpoint.is_empty()) {
            connected.push(Endpoint {
                address: address.to_owned(),
                data: etcd_client::Client::connect([address], Some(options())).await?,
                leases: etcd_client::Client::connect([address], Some(options())).await?,
            });
        }
        if connected.is_empty() {
            return Err(Error::Refused("ETCD_ENDPOINTS names no endpoint".to_owned()));
        }
        let current = AtomicUsize::new(0);
        Ok(Client(Arc::new(Inner { endpoints: connected, current, meter: Meter::default() })))
    }

    /// Has Prometheus told what the calls and watches of this handle and its clones come to.
    pub fn register(&self, registry: &mut Registry) {
        self.0.meter.register(registry);
    }

    /// Carries out a transaction, once. After [`Error::Unavailable`] or [`Error::NoSpace`] it may have been committed.
    ///
    /// # Errors
    /// As etcd answers.
    pub async fn txn(&self, txn: Txn) -> Result<TxnResponse> {
        self.call("txn", async |endpoint| Ok(endpoint.kv().txn(txn).await?)).await
    }

    /// One linearizable read, tried again on every endpoint until it is answered or `patience` is over.
    ///
    /// # Errors
    /// The last one.
    pub async fn read(&self, key: &str, options: GetOptions, patience: Duration) -> Result<Found> {
        let deadline = tokio::time::Instant::now() + patience;
        let mut retry = Retry::call();
        loop {
            match self.get(key, options.clone()).await {
                Err(error) if error.is_transient() && tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(retry.next_wait()).await;
                }
                found => return found,
            }
        }
    }

    /// One linearizable read, once.
    ///
    /// # Errors
    /// As etcd answers.
    pub async fn get(&self, key: &str, options: GetOptions) -> Result<Found> {
        self.call("get", async |endpoint| {
            let mut response = endpoint.kv().get(key, Some(options)).await?;
            Ok(Found { revision: revision(response.header()), kvs: response.take_kvs() })
        })
        .await
    }

    /// How many keys begin with `prefix`.
    ///
    /// # Errors
    /// As etcd answers.
    pub async fn count(&self, prefix: &str) -> Result<i64> {
        self.call("count", async |endpoint| {
            let options = GetOptions::new().with_prefix().with_count_only();
            Ok(endpoint.kv().get(prefix, Some(options)).await?.count())
        })
        .await
    }

    /// How many keys began with `prefix` at this revision.
    ///
    /// # Errors
    /// As etcd answers.
    pub async fn count_at(&self, prefix: &str, revision: i64) -> Result<i64> {
        self.call("count", async |endpoint| {
            let options = GetOptions::new().with_prefix().with_count_only().with_revision(revision);
            Ok(endpoint.kv().get(prefix, Some(options)).await?.count())
        })
        .await
    }

    /// Everything below `prefix` as it stood at one revision, page by page so that no answer grows without bound; at
    /// most `limit` keys.
    ///
    /// # Errors
    /// As etcd answers; [`Error::Compacted`] when the revision went away meanwhile: list again.
    pub async fn list(&self, prefix: &str, limit: usize) -> Result<Found> {
        const PAGE: usize = 5_000;
        let mut found = Found::default();
        let (mut from, end) = (prefix.as_bytes().to_vec(), prefix_end(prefix));
        while found.kvs.len() < limit {
            let want = PAGE.min(limit - found.kvs.len());
            let mut options = GetOptions::new().with_range(end.clone()).with_limit(i64::try_from(want).unwrap_or(1));
            if found.revision > 0 {
                options = options.with_revision(found.revision);
            }
            let page = self
                .call("list", async |endpoint| {
                    let mut response = endpoint.kv().get(from.clone(), Some(options)).await?;
                    Ok((response.more(), Found { revision: revision(response.header()), kvs: response.take_kvs() }))
                })
                .await?;
            let (more, page) = page;
            if found.revision == 0 {
                found.revision = page.revision;
            }
            if let Some(last) = page.kvs.last() {
                from = [last.key(), &[0]].concat();
            }
            found.kvs.extend(page.kvs);
            if !more {
                break;
            }
        }
        Ok(found)
    }

    /// One page of a range, and whether there is more behind it.
    pub(super) async fn page(&self, from: Vec<u8>, options: GetOptions) -> Result<(Vec<KeyValue>, bool)> {
        self.call("list", async |endpoint| {
            let mut response = endpoint.kv().get(from, Some(options)).await?;
            Ok((response.take_kvs(), response.more()))
        })
        .await
    }

    pub(super) fn meter(&self) -> &Meter {
        &self.0.meter
    }

    pub(super) fn endpoints(&self) -> &[Endpoint] {
        &self.0.endpoints
    }

    pub(super) fn current(&self) -> &Endpoint {
        let index = self.0.current.load(Ordering::Relaxed) % self.0.endpoints.len();
        &self.0.endpoints[index]
    }

    /// Makes the next endpoint current, unless another call did so already.
    pub(super) fn turn_from(&self, failed: &Endpoint) {
        if std::ptr::eq(failed, self.current()) {
            self.0.current.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One call to the current endpoint, with a deadline; a failure that another member may not have turns to it. `name` is
    /// the call's in metrics.
    pub(super) async fn call<T>(
        &self,
        name: &'static str,
        work: impl AsyncFnOnce(&Endpoint) -> Result<T>,
    ) -> Result<T> {
        let (endpoint, began) = (self.current(), Instant::now());
        let outcome = match tokio::time::timeout(CALL_DEADLINE, work(endpoint)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Error::Unavailable(format!("{}: no answer in {CALL_DEADLINE:?}", endpoint.address))),
        };
        self.0.meter.called(name, began.elapsed(), outcome.as_ref().err());
        if let Err(Error::Unavailable(_)) = outcome {
            self.turn_from(endpoint);
        }
        outcome
    }
}

impl Endpoint {
    pub(super) fn kv(&self) -> etcd_client::KvClient {
        self.data.kv_client().max_decoding_message_size(DECODE_LIMIT)
    }

    pub(super) fn watch(&self) -> etcd_client::WatchClient {
        self.data.watch_client().max_decoding_message_size(DECODE_LIMIT)
    }
}

fn options() -> ConnectOptions {
    ConnectOptions::new()
        .with_keep_alive(Duration::from_secs(10), Duration::from_secs(3))
        .with_keep_alive_while_idle(true)
        .with_connect_timeout(Duration::from_secs(2))
        .with_require_leader(true)
}

pub(super) fn revision(header: Option<&etcd_client::ResponseHeader>) -> i64 {
    header.map_or(0, etcd_client::ResponseHeader::revision)
}

/// The first key behind all that begin with `prefix`. Our prefixes end in `/`, which has a successor.
pub(super) fn prefix_end(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}
