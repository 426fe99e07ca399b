//! A cheap handle on an etcd cluster: one connection per endpoint for data, one more for leases.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use etcd_client::{GetOptions, GetResponse, KeyValue, Txn};
use tokio::sync::Mutex;

use super::access::Access;
use super::answer::Answer;
use super::endpoint::Endpoint;
use super::meter::Meter;
use super::refusal::Refusal;
use super::{Error, Result};
use crate::config::{Common, EtcdAccess, Invalid};
use crate::observe::Registry;
use crate::retry::Retry;
use crate::tls::Expiry;

/// The server gives up after 7 s; past this nothing is coming.
const CALL_DEADLINE: Duration = Duration::from_secs(8);

/// A handle on the cluster. Calls go to the current endpoint; one that does not answer makes the next one current.
///
/// Certificates and passwords are those that the files hold now: when they change, the next call connects anew, and
/// watches and keep-alives follow. What is under way ends on the connection it began on.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    places: Vec<Place>,
    current: AtomicUsize,
    access: Access,
    meter: Meter,
}

/// Where a member is, and the connections to it, once there are any. The lock is held while they are made, so that many
/// callers log in once; whoever waits for it has a deadline.
struct Place {
    address: String,
    endpoint: Mutex<Option<Arc<Endpoint>>>,
    refusal: Refusal,
}

/// What a range found.
#[derive(Debug, Default)]
pub struct Found {
    /// The store's revision when it was read.
    pub revision: i64,
    /// The keys with their values, in key order.
    pub kvs: Vec<KeyValue>,
    /// There are more keys behind the last one.
    pub more: bool,
}

impl From<GetResponse> for Found {
    fn from(mut response: GetResponse) -> Self {
        Found { revision: revision(response.header()), more: response.more(), kvs: response.take_kvs() }
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.places.iter().map(|place| &place.address)).finish()
    }
}

impl Client {
    /// A handle on the etcd of this configuration. Connections are made when first used.
    ///
    /// # Errors
    /// A file that cannot be used, parts that do not go together: what a person has to change.
    pub fn of(common: &Common) -> Result<Self, Invalid> {
        Client::with(&common.etcd_endpoints, &common.etcd)
    }

    /// A handle on these endpoints (`host:port` or a URL), reached in this way.
    ///
    /// # Errors
    /// As [`Client::of`].
    pub fn with(endpoints: &[String], access: &EtcdAccess) -> Result<Self, Invalid> {
        let endpoints = endpoints.iter().map(|endpoint| endpoint.trim().to_owned());
        let endpoints: Vec<String> = endpoints.filter(|endpoint| !endpoint.is_empty()).collect();
        if endpoints.is_empty() {
            return Err(Invalid("ETCD_ENDPOINTS names no endpoint".to_owned()));
        }
        let access = Access::new(&endpoints, access)?;
        let places = endpoints
            .into_iter()
            .map(|address| Place { address, endpoint: Mutex::default(), refusal: Refusal::default() })
            .collect();
        Ok(Client(Arc::new(Inner { places, current: AtomicUsize::new(0), access, meter: Meter::default() })))
    }

    /// A handle on endpoints that want neither TLS nor a user.
    ///
    /// # Errors
    /// [`Error::Refused`] where there is none.
    pub async fn connect(endpoints: &[String]) -> Result<Self> {
        Client::with(endpoints, &EtcdAccess::default()).map_err(|Invalid(reason)| Error::Refused(reason))
    }

    /// Has Prometheus told what the calls and watches of this handle and its clones come to.
    pub fn register(&self, registry: &mut Registry) {
        self.0.meter.register(registry);
    }

    /// When the certificates end with which this handle connects now.
    pub fn expiries(&self) -> Vec<Expiry> {
        self.0.access.present().value.expiries.clone()
    }

    /// Carries out a transaction, once. After [`Error::Unavailable`] or [`Error::NoSpace`] it may have been committed.
    ///
    /// # Errors
    /// As etcd answers.
    pub async fn txn(&self, txn: Txn) -> Result<Answer> {
        self.call("txn", async |endpoint| Ok(endpoint.kv().txn(txn).await?.into())).await
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
        self.call("get", async |endpoint| Ok(endpoint.kv().get(key, Some(options)).await?.into())).await
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
            let page = self.page(from.clone(), options).await?;
            if found.revision == 0 {
                found.revision = page.revision;
            }
            if let Some(last) = page.kvs.last() {
                from = [last.key(), &[0]].concat();
            }
            found.kvs.extend(page.kvs);
            if !page.more {
                break;
            }
        }
        Ok(found)
    }

    /// One page of a range.
    pub(super) async fn page(&self, from: Vec<u8>, options: GetOptions) -> Result<Found> {
        self.call("list", async |endpoint| Ok(endpoint.kv().get(from, Some(options)).await?.into())).await
    }

    pub(super) fn meter(&self) -> &Meter {
        &self.0.meter
    }

    /// How many endpoints there are.
    pub(super) fn size(&self) -> usize {
        self.0.places.len()
    }

    /// The address of the endpoint at this place.
    pub(super) fn address(&self, index: usize) -> &str {
        &self.0.places[index].address
    }

    /// The endpoint at this place, connected with what the files hold now.
    pub(super) async fn endpoint(&self, index: usize) -> Result<Arc<Endpoint>> {
        let place = &self.0.places[index];
        let mut kept = place.endpoint.lock().await;
        let present = self.0.access.present();
        if let Some(endpoint) = kept.as_ref().filter(|endpoint| endpoint.edition == present.number) {
            return Ok(Arc::clone(endpoint));
        }
        // Boxed: it is rare, and its future large and deep.
        let made = Box::pin(Endpoint::connect(index, &place.address, &self.0.access, &present)).await?;
        let made = Arc::new(made);
        *kept = Some(Arc::clone(&made));
        Ok(made)
    }

    /// The current endpoint, for a stream; a failure turns to the next one.
    pub(super) async fn current(&self) -> Result<Arc<Endpoint>> {
        let index = self.index();
        let made = tokio::time::timeout(CALL_DEADLINE, self.endpoint(index)).await;
        let made = made.unwrap_or_else(|_| Err(self.silent(index)));
        if let Err(Error::Unavailable(_)) = made {
            self.turn(index);
        }
        made
    }

    /// Makes the next endpoint current, unless another call did so already.
    pub(super) fn turn_from(&self, failed: &Endpoint) {
        self.turn(failed.index);
    }

    /// Comes back once this endpoint was connected with other files than there are now.
    pub(super) async fn outdates(&self, endpoint: &Endpoint) {
        self.0.access.outdates(endpoint.edition).await;
    }

    /// Was this endpoint connected with other files than there are now?
    pub(super) fn is_outdated(&self, endpoint: &Endpoint) -> bool {
        self.0.access.present().number != endpoint.edition
    }

    /// The token is not taken (any more): the next call logs in anew.
    pub(super) async fn log_in_again(&self, failed: &Endpoint) {
        let mut kept = self.0.places[failed.index].endpoint.lock().await;
        if kept.as_ref().is_some_and(|endpoint| std::ptr::eq(Arc::as_ptr(endpoint), failed)) {
            *kept = None;
        }
    }

    /// One call to the current endpoint, with a deadline; a failure that another member may not have turns to it.
    /// `name` is the call's in metrics.
    pub(super) async fn call<T>(
        &self,
        name: &'static str,
        work: impl AsyncFnOnce(&Endpoint) -> Result<T>,
    ) -> Result<T> {
        let (index, began) = (self.index(), Instant::now());
        let called = async {
            let endpoint = self.endpoint(index).await?;
            let outcome = work(&endpoint).await;
            if matches!(outcome, Err(Error::LoggedOut)) && endpoint.has_user {
                self.log_in_again(&endpoint).await;
                return Err(Error::Unavailable("it wants us to log in again".to_owned()));
            }
            outcome
        };
        let mut outcome = match tokio::time::timeout(CALL_DEADLINE, called).await {
            Ok(outcome) => outcome,
            Err(_) => Err(self.silent(index)),
        };
        self.0.meter.called(name, began.elapsed(), outcome.as_ref().err());
        if let Err(Error::Unavailable(reason)) = &mut outcome {
            self.turn(index);
            if let Some(said) = self.refusal(index).await {
                *reason = said;
            }
        }
        outcome
    }

    /// What TLS has to do with a member that does not answer.
    async fn refusal(&self, index: usize) -> Option<String> {
        let place = &self.0.places[index];
        let key = self.0.access.present().value;
        let tls = key.probe.as_ref().filter(|_| self.0.access.is_secure(&place.address))?;
        place.refusal.reason(&place.address, tls).await
    }

    fn index(&self) -> usize {
        self.0.current.load(Ordering::Relaxed) % self.0.places.len()
    }

    fn turn(&self, failed: usize) {
        if failed == self.index() {
            self.0.current.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn silent(&self, index: usize) -> Error {
        Error::Unavailable(format!("{}: no answer in {CALL_DEADLINE:?}", self.address(index)))
    }
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
