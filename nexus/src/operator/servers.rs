//! Where the queue and the memory are.

use std::time::Duration;

use clap::Args;
use deadpool_postgres::Pool;
use nexus_common::config::Common;
use nexus_common::db;
use nexus_common::etcd::Client;
use nexus_common::queue::Keys;

/// The servers an operator's command speaks to: the same variables as every component's.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub(crate) struct Servers {
    #[command(flatten)]
    pub(crate) common: Common,

    #[command(flatten)]
    pub(crate) db: db::Config,
}

impl Servers {
    /// A handle on etcd, and the keys of the cluster. Nothing is connected yet.
    ///
    /// # Errors
    /// Where an endpoint cannot be read.
    pub(crate) async fn queue(&self) -> anyhow::Result<(Client, Keys)> {
        let client = Client::connect(&self.common.etcd_endpoints).await?;
        Ok((client, Keys::new(&self.common.message_queue_prefix, &self.common.cluster_id)))
    }

    /// Connections to PostgreSQL for a command that may ask for long. Nothing is connected yet.
    ///
    /// # Errors
    /// Only where there is no runtime to time connections with.
    pub(crate) fn memory(&self) -> anyhow::Result<Pool> {
        let session = db::Session {
            application: "nexus-operator".to_owned(),
            statement_timeout: Duration::from_secs(600),
            idle_in_transaction_timeout: Duration::from_secs(600),
            ..db::Session::default()
        };
        Ok(db::pool_with(&self.db, 2, &session)?)
    }
}
