//! The gateway: what the memory holds, over HTTP.
//!
//! Four rooms. [`read`] is the read model: typed questions and answers, the only SQL of the gateway; what is about now it
//! answers from [`memory`]. [`rest`] renders it under `/api/v1` and `graphql` at `/graphql`; they hold no SQL. [`live`]
//! gives what is committed to whoever listens, at `/ws`, `/api/v1/stream` and as GraphQL subscriptions. [`health`] asks
//! what the gateway depends on, [`metrics`] tells Prometheus, and `serve` holds the connections.

pub mod access;
pub mod audit;
pub mod config;
mod desk;
pub(crate) mod graphql;
pub mod health;
pub mod live;
pub mod memory;
pub mod metrics;
mod pass;
pub mod read;
pub mod rest;
mod serve;
pub mod tls;
mod web;
mod ws;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nexus_common::component::Answers;
use nexus_common::config::{Invalid, hostname};
use nexus_common::domain::Timestamp;
use nexus_common::observe::looked_at;
use nexus_common::queue::{Depth, Keys, Role, Session};
use nexus_common::{db, etcd, shutdown, traces};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use config::Config;

use crate::audit::{Auditor, Books, Rounds};

/// How long requests may take to end once a stop was asked for.
const GRACE: Duration = Duration::from_secs(10);

/// How long etcd may take to hear that this gateway is gone; what it does not hear it finds out by itself.
const FAREWELL: Duration = Duration::from_secs(3);

impl Config {
    /// Where this gateway tells how it is.
    pub fn answers(&self) -> Answers {
        Answers::at((self.bind_address, self.port).into(), self.tls.tls_cert_file.is_some())
    }
}

/// [`run`] on the configured address and port.
///
/// # Errors
/// [`Invalid`] where the port cannot be had; otherwise as [`run`].
pub async fn listen(config: Config, stop: CancellationToken) -> anyhow::Result<()> {
    let (address, port) = (config.bind_address, config.port);
    let listener = TcpListener::bind((address, port)).await;
    let listener = listener.map_err(|error| Invalid(format!("PORT={port} on {address}: {error}")))?;
    run(config, listener, stop).await
}

/// Serves until `stop`, then lets the requests that are under way end. The listener is the caller's, so that a test
/// can have any port.
///
/// It listens at once, also while PostgreSQL is away: requests are refused with 503 and `/ready` says so.
///
/// # Errors
/// Where the configuration cannot work, or the database refuses for a reason that time does not heal.
pub async fn run(config: Config, listener: TcpListener, stop: CancellationToken) -> anyhow::Result<()> {
    let traces = traces::start(&config.traced, "nexus-gateway", &config.common.cluster_id)?;
    let outcome = serve_until(config, listener, stop).await;
    traces.stop().await;
    outcome
}

async fn serve_until(config: Config, listener: TcpListener, stop: CancellationToken) -> anyhow::Result<()> {
    // What a person has to change is found before anything else is done.
    let address = listener.local_addr()?;
    let access = access::Access::new(&config, address)?;
    let tls = config.tls.keep()?;
    let to_database = config.db.access()?;
    let memory = memory::Memory::new(config.conditions.thresholds());
    let read = read::Model::new(&config, to_database.clone(), memory.clone())?;
    let session = read::session(&config);
    let keys = Keys::new(&config.common.message_queue_prefix, &config.common.cluster_id);
    let loader = read::Loader::new(&read, db::pool_with(&config.db, 1, &session)?);
    let etcd = etcd::Client::of(&config.common)?;
    let auditor = Auditor::new(etcd.clone(), keys.clone(), db::pool_with(&config.db, 1, &session)?);
    let rounds = rounds(&config, &etcd, &keys)?;
    let read = read.audited(Books::new(auditor, rounds.clone(), session.statement_timeout));
    let (depth, follow_depth) = Depth::follow(etcd.clone(), &keys);
    let probes = vec![db::probe(db::pool_with(&config.db, 1, &session)?), etcd::probe(etcd.clone(), keys.feed())];
    let fleet = metrics::Fleet::new(memory.clone(), etcd.clone(), keys.clone(), config.bounds.metrics_conditions);
    let migrated = Arc::new(AtomicBool::new(false));
    let ranges = rest::Ranges::new(&config, read);
    let health = health::Health::new(probes, Arc::clone(&migrated), memory.clone());
    let hub = live::Hub::new(&config.bounds, memory.clone());
    let metrics = metrics::Metrics::new(rounds.clone(), fleet, health.common().clone(), |registry| {
        etcd.register(registry);
        tls::register(registry, &etcd, to_database, tls.clone());
        // While no collector is there to tell of it, too.
        registry.register_collector(looked_at(move |scrape| {
            let depth = *depth.borrow();
            depth.map_or(Ok(()), |depth| depth.tell(Timestamp::now(), scrape))
        }));
        ranges.register(registry);
        memory.register(registry);
        hub.register(registry);
    });
    let live = live::Live::new(&config, &hub, &stop);
    let clients = live.as_ref().map(|live| live.clients.clone()).unwrap_or_default();
    let feed = live::follow(etcd.clone(), keys.clone(), memory.clone(), live.as_ref().map(|live| live.hub.clone()));
    let desk = desk::Desk::new(&config, etcd.clone(), keys.clone())?;
    let app = rest::router(&config, ranges, health, metrics.clone(), live, access.clone(), desk);

    tracing::info!(%address, https = tls.is_some(), database = config.db.place(), "the gateway listens");
    // From the moment a stop is asked for nobody should come any more: it leaves at once, and then drains.
    let leaving = stop.child_token();
    let (_, keep_session) = Session::at(reachable(address), etcd, keys, Role::Gateway, leaving.clone());
    let mut member = JoinSet::new();
    member.spawn(keep_session);
    let served = async {
        let serving = serve::serve(listener, app, tls, &config.bounds, &metrics, &stop);
        if shutdown::drained(serving, &stop, GRACE).await.is_none() {
            tracing::warn!("requests were cut off after {GRACE:?}");
        }
        clients.close();
        // Each of them takes its leave by itself, within a second.
        let _ = tokio::time::timeout(GRACE, clients.wait()).await;
        Ok(())
    };
    // A task of its own: what it decodes must not delay the accepting of connections. It ends with this function.
    let mut background = JoinSet::new();
    background.spawn(feed);
    background.spawn(follow_depth);
    background.spawn(async move { match rounds.go().await {} });
    let outcome = tokio::select! {
        done = served => done,
        Some(ended) = background.join_next() => Err(anyhow::anyhow!("what goes on in the background ended: {ended:?}")),
        error = migrate(&config.db, &migrated) => Err(error.into()),
        () = access.watch() => Ok(()),
        () = memory::refresh(&memory, loader, config.bounds.refresh_interval) => Ok(()),
    };
    leaving.cancel();
    // It ends by itself, within two seconds also where etcd does not answer.
    let _ = tokio::time::timeout(FAREWELL, member.join_next()).await;
    outcome
}

/// Looks into the books beside requests and scrapes, over a connection of their own whose statements may take long.
fn rounds(config: &Config, etcd: &etcd::Client, keys: &Keys) -> Result<Rounds, db::Error> {
    let (interval, patience) = (config.bounds.audit_interval, config.bounds.audit_timeout);
    let session = db::Session { statement_timeout: patience, random_page_cost: None, ..read::session(config) };
    let auditor = Auditor::new(etcd.clone(), keys.clone(), db::pool_with(&config.db, 1, &session)?);
    Ok(Rounds::new(auditor, interval, patience))
}

/// Where others reach what listens here: behind an address that stands for all of them, by this host's name.
fn reachable(address: SocketAddr) -> String {
    match address.ip().is_unspecified() {
        true => format!("{}:{}", hostname(), address.port()),
        false => address.to_string(),
    }
}

/// Migrates, for as long as it takes. Comes back only with an error that time does not heal.
async fn migrate(config: &db::Config, migrated: &AtomicBool) -> db::Error {
    loop {
        match db::migrate(config).await {
            Ok(_) => {
                migrated.store(true, Ordering::Release);
                std::future::pending::<()>().await;
            }
            Err(error) if error.is_transient() => tracing::warn!(%error, "the database is not reached; still trying"),
            Err(error) => return error,
        }
    }
}
