//! A connection to PostgreSQL for one command, and the cluster it asks about.

use anyhow::Context;
use deadpool_postgres::Client;
use nexus_common::books::letters;
use nexus_common::config::Invalid;
use nexus_common::db;

use super::servers::Servers;

/// What a command asks.
pub(crate) struct Desk {
    pub(crate) client: Client,
    pub(crate) cluster: i32,
}

impl Desk {
    /// Connects, and finds the cluster.
    ///
    /// # Errors
    /// As PostgreSQL answers; [`Invalid`] where nothing of the cluster was ever stored.
    pub(crate) async fn open(servers: &Servers) -> anyhow::Result<Desk> {
        let place = || format!("PostgreSQL at {}", servers.db.place());
        let client = servers.memory()?.get().await.map_err(db::Error::from).with_context(place)?;
        let name = &servers.common.cluster_id;
        let cluster = letters::cluster(&client, name).await.map_err(anyhow::Error::from).map_err(explain);
        let unknown = || Invalid(format!("CLUSTER_ID={name}: nothing of this cluster was ever stored in {}", place()));
        Ok(Desk { client, cluster: cluster.with_context(place)?.ok_or_else(unknown)? })
    }
}

/// Says what to do about a database that does not know what this command asks for.
pub(crate) fn explain(error: anyhow::Error) -> anyhow::Error {
    const UNDEFINED: [&str; 2] = ["42P01", "42703"];
    let state = error.chain().find_map(|cause| cause.downcast_ref::<db::Error>()?.sqlstate());
    match state {
        Some(state) if UNDEFINED.contains(&state.code()) => {
            error.context("PostgreSQL's schema is not this version's: run nexus migrate")
        }
        _ => error,
    }
}
