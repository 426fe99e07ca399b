//! What a process tells of its PostgreSQL: whether it answers, and how the pool is used.

use deadpool_postgres::Pool;

use super::Error;
use crate::observe::{Probe, Registry, looked_at};

/// PostgreSQL as `/health` names it.
pub const DEPENDENCY: &str = "postgresql";

/// Whether PostgreSQL answers. Over a pool of its own: one that is busy is not a database that is down.
pub fn probe(pool: Pool) -> Probe {
    Probe::new(DEPENDENCY, move || {
        let pool = pool.clone();
        async move {
            let client = pool.get().await.map_err(|error| Error::from(error).to_string())?;
            client.simple_query("SELECT 1").await.map(drop).map_err(|error| Error::from(error).to_string())
        }
    })
}

/// How the pool that does the work is used.
pub fn register(pool: &Pool, registry: &mut Registry) {
    let pool = pool.clone();
    registry.register_collector(looked_at(move |scrape| {
        let status = pool.status();
        let used = status.size.saturating_sub(status.available);
        scrape.gauges(
            "nexus_postgres_pool_connections",
            "Connections to PostgreSQL that are open, in use and not.",
            "state",
            [("idle", status.available), ("used", used)],
        )?;
        scrape.gauge(
            "nexus_postgres_pool_max_connections",
            "The most connections to PostgreSQL that may be open.",
            status.max_size,
        )?;
        scrape.gauge("nexus_postgres_pool_waiting", "Who waits for a connection to PostgreSQL.", status.waiting)
    }));
}
