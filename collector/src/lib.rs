//! The collector: claims batches from the queue, merges their rows into samples, stores them in PostgreSQL in one
//! transaction, and only then deletes them from etcd.
//!
//! [`run`] is the whole component. Reading order: `view` what to take, `worker` what is done with it, `work` and
//! `merge` what the rows become, `write` how they are stored, `upkeep` what keeps etcd healthy; `recording` and
//! `conditions` what is told of GPUs; `rolling` and `rollup` what samples came to in an hour; `retention` what goes when it
//! is old; `tally` and `figures` what the collector tells of itself, `archive` what it tells of PostgreSQL's log.

mod archive;
#[doc(hidden)]
pub mod bench;
mod breaker;
mod conditions;
mod config;
mod figures;
mod merge;
mod preference;
mod quay;
mod recording;
mod retention;
mod rolling;
mod rollup;
mod tally;
mod traced;
mod upkeep;
mod view;
mod watching;
mod work;
mod worker;
mod write;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, bail};
pub use config::Config;
use deadpool_postgres::Pool;
use nexus_common::component::Answers;
use nexus_common::config::Invalid;
use nexus_common::etcd::Client;
use nexus_common::observe::{self, Observed};
use nexus_common::queue::{Consumer, Keys, Role, Session};
use nexus_common::retry::Retry;
use nexus_common::{db, shutdown, traces};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::breaker::Breaker;
use crate::figures::Figures;
use crate::quay::Quay;
use crate::recording::record;
use crate::retention::retain;
use crate::rolling::roll;
use crate::tally::Tally;
use crate::upkeep::{Duties, upkeep};
use crate::watching::{Board, Part, keep_up};
use crate::worker::{Shared, work};
use crate::write::{Dropper, Recorder, Roller, Writer};

/// Where metrics are served if nothing else is said.
const METRICS_PORT: u16 = 9102;
/// What PostgreSQL calls a collector's connections.
const APPLICATION: &str = "nexus-collector";

impl Config {
    /// Where this collector tells how it is.
    ///
    /// # Errors
    /// METRICS_ADDR names no place that could be asked.
    pub fn answers(&self) -> Result<Answers, Invalid> {
        Answers::given(self.watched.metrics_addr, METRICS_PORT)
    }
}

/// Runs a collector until `stop`: then it finishes what it has in hand, gives back what it cannot finish, and returns.
///
/// # Errors
/// Where the configuration cannot work, the database cannot be migrated, or a pipeline panicked (its claims go with the
/// process, so it must end).
pub async fn run(config: Config, stop: CancellationToken) -> anyhow::Result<()> {
    let traces = traces::start(&config.traced, "nexus-collector", &config.common.cluster_id)?;
    let outcome = collect(config, stop).await;
    traces.stop().await;
    outcome
}

async fn collect(config: Config, stop: CancellationToken) -> anyhow::Result<()> {
    let client = Client::of(&config.common)?;
    let database = config.db.access()?;
    let keys = Keys::new(&config.common.message_queue_prefix, &config.common.cluster_id);
    let listener = observe::listen(config.watched.metrics_addr, METRICS_PORT).await?;

    // The session outlives the workers: what they still hold must not be taken by others while they drain.
    let session_stop = CancellationToken::new();
    let (session, keep_session) = Session::start(client.clone(), keys.clone(), Role::Collector, session_stop.clone());
    let pool = db::pool_with(&config.db, usize::from(config.workers) + 2, &session_settings())?;
    let shared = Arc::new(shared(&config, &client, &keys, &pool, session));
    let mut background = JoinSet::new();
    let migrated = Arc::new(AtomicBool::new(false));
    background.spawn({
        let metrics = figures::metrics(&shared, &client, &pool, database, &keys);
        let health =
            figures::health(&shared, &client, &keys, db::pool_with(&config.db, 1, &session_settings())?, &migrated);
        async move { match observe::serve(listener, Observed { metrics, health }).await {} }
    });
    tokio::select! {
        done = db::migrate(&config.db) => done.with_context(|| format!("database {}", config.db.place()))?,
        () = stop.cancelled() => return Ok(()),
    };
    migrated.store(true, Ordering::Relaxed);
    tracing::info!(
        id = shared.session.id(),
        cluster = keys.cluster_id(),
        workers = config.workers,
        "collector started"
    );

    background.spawn(keep_session);
    begin(&mut background, &config, &shared, &client, &keys, &pool);
    let mut workers = JoinSet::new();
    for _ in 0..config.workers {
        workers.spawn(work(shared.clone(), stop.clone()));
    }
    let outcome = tokio::select! {
        outcome = shutdown::drained(all_done(&mut workers), &stop, config.drain_timeout) => outcome,
        // Without its eyes or its session a collector must not go on as if nothing had happened.
        _ = background.join_next() => Some(false),
    };
    workers.abort_all();
    shared.tally.last_word();
    session_stop.cancel();
    // The session gives its lease back; the watchers just end.
    let _ = tokio::time::timeout(Duration::from_secs(3), async {
        while shared.session.lease().is_some() {
            tokio::task::yield_now().await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        background.join_next().await
    })
    .await;
    match outcome {
        Some(true) => Ok(()),
        Some(false) => bail!("a task panicked; ending, so that its claims are taken over"),
        None => {
            tracing::warn!("not drained in {:?}: claims go back with the session", config.drain_timeout);
            Ok(())
        }
    }
}

/// What the collector's tasks share.
fn shared(config: &Config, client: &Client, keys: &Keys, pool: &Pool, session: Session) -> Shared {
    Shared {
        board: Board::new(session.id()),
        consumer: Consumer::new(client.clone(), keys.clone(), session.id()),
        writer: Writer::new(pool.clone(), keys.cluster_id(), session.id(), config.enable_nexus),
        session,
        breaker: Breaker::new(Retry::server()),
        tally: Tally::default(),
        figures: Figures::default(),
        out_of_space: AtomicBool::new(false),
        untold: AtomicUsize::new(0),
        suspect: tokio::sync::Mutex::default(),
        decoder: Mutex::default(),
        quay: Quay::new(u64::from(config.flight_rows)),
        take_rows: u64::from((config.flight_rows / u32::from(config.workers)).max(1)),
        max_attempts: config.max_attempts,
    }
}

/// Begins what goes on beside the workers, for ever: watching the queue, and the duties.
fn begin(
    background: &mut JoinSet<()>,
    config: &Config,
    shared: &Arc<Shared>,
    client: &Client,
    keys: &Keys,
    pool: &Pool,
) {
    // The tasks outlive a reference.
    let config = config.clone();
    let recorder = Recorder::new(pool.clone(), keys.cluster_id(), config.conditions.thresholds());
    let roller = Arc::new(Roller::new(pool.clone(), config.rollup_settle));
    let dropper = config.retention.map(|keep| Dropper::new(pool.clone(), keep));
    let poll = (!config.enable_watch_api).then_some(config.poll_timeout);
    for part in [Part::Manifests, Part::Claims, Part::Members] {
        let (shared, client, keys) = (shared.clone(), client.clone(), keys.clone());
        background.spawn(async move { keep_up(&shared.board, &client, &keys, part, poll).await });
    }
    let duties = Duties { maintains: config.etcd_upkeep, quota_bytes: config.etcd_quota_bytes };
    background.spawn({
        let (shared, client, keys) = (shared.clone(), client.clone(), keys.clone());
        async move { upkeep(&shared, &client, &keys, duties).await }
    });
    background.spawn({
        let (shared, client, keys) = (shared.clone(), client.clone(), keys.clone());
        async move { record(&shared, &recorder, &client, &keys, config.conditions_interval).await }
    });
    background.spawn({
        let (shared, roller) = (shared.clone(), roller.clone());
        async move { roll(&shared, &roller, config.rollup_interval).await }
    });
    if let Some(dropper) = dropper {
        let shared = shared.clone();
        background.spawn(async move { retain(&shared, &dropper).await });
    }
    background.spawn({
        let (shared, client, keys, pool) = (shared.clone(), client.clone(), keys.clone(), pool.clone());
        async move { figures::ask(&shared, &client, &keys, &pool, &roller, config.etcd_quota_bytes).await }
    });
    background.spawn({
        let shared = shared.clone();
        async move { shared.tally.report().await }
    });
}

/// Waits for all pipelines; `false` as soon as one panicked.
async fn all_done(workers: &mut JoinSet<()>) -> bool {
    while let Some(ended) = workers.join_next().await {
        if ended.is_err() {
            return false;
        }
    }
    true
}

/// Bounds that the server keeps: a collector that freezes inside a transaction must not hold up its successor. What they do
/// not bound the successor ends: `write/frozen.rs`.
fn session_settings() -> db::Session {
    db::Session {
        application: APPLICATION.to_owned(),
        statement_timeout: Duration::from_secs(60),
        lock_timeout: Duration::from_secs(5),
        idle_in_transaction_timeout: Duration::from_secs(5),
        ..db::Session::default()
    }
}
