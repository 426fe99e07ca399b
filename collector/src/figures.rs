//! What this collector tells of itself, of the queue and of its servers, besides what it counts ([`crate::tally`]).
//!
//! Most of it is known and looked at when somebody asks. What etcd and PostgreSQL have to be asked for is asked every five
//! seconds, so that a scrape waits for nobody; what they do not answer is left out, because an old figure would look like
//! a good one.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deadpool_postgres::Pool;
use nexus_common::books::wal::Wal;
use nexus_common::domain::Timestamp;
use nexus_common::etcd::{self, Client};
use nexus_common::observe::{Health, Metrics, Scrape, looked_at};
use nexus_common::queue::{Depth, Keys};
use nexus_common::{db, tls};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::archive;
use crate::view::Standing;
use crate::worker::Shared;
use crate::write::{Backlog, Roller};

const EVERY: Duration = Duration::from_secs(5);
/// The rollups' list may be long: it is counted every so many times.
const ROLLUPS_EVERY: u64 = 6;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The last answers.
#[derive(Debug, Default)]
pub(crate) struct Figures(Mutex<Answers>);

#[derive(Debug, Clone, Default)]
struct Answers {
    space: Option<Space>,
    /// Batches in the queue, where there are more than are in mind.
    batches: Option<u64>,
    /// Asked by who rolls up.
    rollups: Option<Backlog>,
    wal: Option<Wal>,
}

#[derive(Debug, Clone, Copy)]
struct Space {
    file_bytes: u64,
    used_bytes: u64,
    quota_bytes: u64,
}

/// Asks for ever. `quota_bytes` stands where etcd does not tell its own.
pub(crate) async fn ask(shared: &Shared, client: &Client, keys: &Keys, pool: &Pool, roller: &Roller, quota_bytes: u64) {
    let mut every = interval(EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut answers = Answers::default();
    for tick in 0_u64.. {
        every.tick().await;
        answers.space = client.health().await.ok().map(|health| Space {
            file_bytes: health.file_bytes,
            used_bytes: health.used_bytes,
            quota_bytes: health.quota_bytes.unwrap_or(quota_bytes),
        });
        let Standing { complete, leads, .. } = shared.board.view().standing();
        answers.batches = match complete {
            true => None,
            false => client.count(&keys.manifests()).await.ok().and_then(|count| u64::try_from(count).ok()),
        };
        if !leads || shared.breaker.is_open() {
            answers.rollups = None;
        } else if tick.is_multiple_of(ROLLUPS_EVERY) || answers.rollups.is_none() {
            answers.rollups = timeout(PATIENCE, roller.backlog()).await.ok().and_then(Result::ok);
        }
        answers.wal = match shared.breaker.is_open() {
            true => None,
            false => timeout(PATIENCE, archive::look(pool)).await.ok().and_then(Result::ok),
        };
        *shared.figures.0.lock().unwrap_or_else(PoisonError::into_inner) = answers.clone();
    }
}

/// What it depends on, over a pool of its own, and whether it can work.
pub(crate) fn health(
    shared: &Arc<Shared>,
    client: &Client,
    keys: &Keys,
    pool: Pool,
    migrated: &Arc<AtomicBool>,
) -> Health {
    let probes = vec![etcd::probe(client.clone(), keys.feed()), db::probe(pool)];
    let (shared, migrated) = (Arc::clone(shared), Arc::clone(migrated));
    // While etcd is full there may be no session, and work goes on.
    let may_take = move || shared.session.lease().is_some() || shared.out_of_space.load(Relaxed);
    Health::new(probes, &[etcd::DEPENDENCY, db::DEPENDENCY], move || migrated.load(Relaxed) && may_take())
}

/// Everything that Prometheus is told.
pub(crate) fn metrics(
    shared: &Arc<Shared>,
    client: &Client,
    pool: &Pool,
    database: db::Access,
    keys: &Keys,
) -> Metrics {
    let mut metrics = Metrics::new("collector", keys.cluster_id());
    let registry = metrics.registry();
    client.register(registry);
    db::register(pool, registry);
    tls::register(registry, {
        let client = client.clone();
        move || [client.expiries(), database.expiries()].concat()
    });
    shared.tally.register(registry);
    shared.writer.tell_prometheus(registry);
    let shared = Arc::clone(shared);
    registry.register_collector(looked_at(move |scrape| tell(&shared, scrape)));
    metrics
}

fn tell(shared: &Shared, scrape: &mut Scrape<'_, '_>) -> fmt::Result {
    let standing = shared.board.view().standing();
    let answers = shared.figures.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    collector(shared, &standing, scrape)?;
    queue(&standing, answers.batches, scrape)?;
    let full = shared.out_of_space.load(Relaxed);
    scrape.gauge("nexus_etcd_no_space", "1 while etcd takes no puts: its quota is used up.", i64::from(full))?;
    if let Some(space) = answers.space {
        let help = "Size of etcd's database file, of the member where it is largest; it is held against the quota.";
        scrape.gauge("nexus_etcd_db_size_bytes", help, space.file_bytes)?;
        let help = "Bytes of etcd's database file that are in use: what a defragmentation would leave.";
        scrape.gauge("nexus_etcd_db_in_use_bytes", help, space.used_bytes)?;
        let help = "The quota of etcd's database file as etcd tells it (from 3.6 on), else ETCD_QUOTA_BYTES.";
        scrape.gauge("nexus_etcd_quota_bytes", help, space.quota_bytes)?;
    }
    if let Some(rollups) = answers.rollups {
        let help = "Hours of GPUs that wait to be rolled up; told by the collector that does it.";
        scrape.gauge("nexus_rollup_todo", help, rollups.hours)?;
        let help = "For how long the hour that waits longest to be rolled up has waited; 0 where none does.";
        scrape.gauge("nexus_rollup_oldest_todo_age_seconds", help, rollups.oldest_seconds)?;
    }
    answers.wal.map_or(Ok(()), |wal| archive::tell(&wal, scrape))
}

fn collector(shared: &Shared, standing: &Standing, scrape: &mut Scrape<'_, '_>) -> fmt::Result {
    let help = "Batches this collector works on: claimed, not acknowledged.";
    scrape.gauge("nexus_collector_held_batches", help, standing.held)?;
    let help = "1 while PostgreSQL is given a rest: one tries now and then, the others wait.";
    scrape.gauge("nexus_collector_breaker_open", help, i64::from(shared.breaker.is_open()))?;
    let help = "How often PostgreSQL went away.";
    scrape.counter("nexus_collector_breaker_trips", help, shared.breaker.trips())?;
    let help = "1 while etcd holds this collector's lease, and with it its claims.";
    scrape.gauge("nexus_collector_session_up", help, i64::from(shared.session.lease().is_some()))?;
    let help = "1 on the collector that does the upkeep, the conditions and the rollups: the oldest.";
    scrape.gauge("nexus_collector_upkeep_leader", help, i64::from(standing.leads))?;
    scrape.gauge("nexus_collectors", "Live collectors, as this one sees them.", standing.members)
}

/// `all`: batches in the queue, where not all are in mind; what is said of rows is then an estimate.
fn queue(standing: &Standing, all: Option<u64>, scrape: &mut Scrape<'_, '_>) -> fmt::Result {
    let Standing { batches, rows, unclaimed, .. } = *standing;
    let beyond = all.unwrap_or(0).saturating_sub(batches);
    let rows_beyond = beyond * rows.checked_div(batches).unwrap_or(0);
    let depth = Depth { batches: batches + beyond, rows: rows + rows_beyond, oldest_ms: standing.oldest_ms };
    depth.tell(Timestamp::now(), scrape)?;
    let help = "Batches in the queue that nobody works on.";
    scrape.gauge("nexus_queue_unclaimed_batches", help, unclaimed + beyond)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(standing: Standing, all: Option<u64>) -> Vec<String> {
        let text =
            Metrics::new("collector", "c").text([looked_at(move |scrape| queue(&standing, all, scrape))]).unwrap();
        let lines = text.lines().filter(|line| line.starts_with("nexus_queue_") && !line.contains("age"));
        lines.map(|line| line.replace("{cluster=\"c\"}", "").replace("nexus_queue_", "")).collect()
    }

    #[test]
    fn what_is_not_in_mind_is_counted_and_its_rows_are_estimated() {
        let standing = Standing { batches: 10, rows: 1_000, unclaimed: 4, ..Standing::default() };
        assert_eq!(told(standing, None), ["batches 10", "rows 1000", "unclaimed_batches 4"]);
        assert_eq!(told(standing, Some(30)), ["batches 30", "rows 3000", "unclaimed_batches 24"]);
        assert_eq!(told(Standing::default(), Some(0)), ["batches 0", "rows 0", "unclaimed_batches 0"]);
    }
}
