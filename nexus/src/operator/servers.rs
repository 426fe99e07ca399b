//! Where the queue and the memory are.

use std::time::Duration;

use clap::Args;
use deadpool_postgres::Pool;
use nexus_common::config::Common;
use nexus_common::db;
use nexus_common::etcd::{self, Client};
use nexus_common::queue::{Inspector, Keys};
use tokio_postgres::error::SqlState;

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
    /// Where a file that is named cannot be used.
    pub(crate) async fn queue(&self) -> anyhow::Result<(Client, Keys)> {
        let client = Client::of(&self.common)?;
        Ok((client, self.keys()))
    }

    /// The keys of the cluster.
    pub(crate) fn keys(&self) -> Keys {
        Keys::new(&self.common.message_queue_prefix, &self.common.cluster_id)
    }

    /// The queue, to look at.
    ///
    /// # Errors
    /// Where an endpoint cannot be read.
    pub(crate) async fn inspector(&self) -> anyhow::Result<Inspector> {
        let (client, keys) = self.queue().await?;
        Ok(Inspector::new(client, keys))
    }

    /// One line for what etcd answered, with where it was asked.
    pub(crate) fn etcd_failed(&self, error: etcd::Error) -> anyhow::Error {
        let endpoints = self.common.etcd_endpoints.join(",");
        match error {
            etcd::Error::Unavailable(reason) => {
                anyhow::anyhow!(
                    "etcd at {endpoints} does not answer: {reason}; is it running? ETCD_ENDPOINTS says where"
                )
            }
            error => anyhow::Error::new(error).context(format!("etcd at {endpoints}")),
        }
    }

    /// What PostgreSQL answered, without the pool's and the driver's introductions.
    pub(crate) fn plain(error: &db::Error) -> String {
        let text = error.to_string();
        let text = text.strip_prefix("Error occurred while creating a new object: ").unwrap_or(&text);
        text.strip_prefix("db error: ").unwrap_or(text).to_owned()
    }

    /// One line for what PostgreSQL answered, with where it was asked.
    pub(crate) fn memory_failed(&self, error: db::Error) -> anyhow::Error {
        let (place, error_said) = (self.db.place(), Self::plain(&error));
        match error.sqlstate() {
            None => anyhow::anyhow!(
                "PostgreSQL at {place} does not answer: {error_said}; is it running? DB_HOST and DB_PORT say where"
            ),
            Some(&SqlState::INVALID_PASSWORD | &SqlState::INVALID_AUTHORIZATION_SPECIFICATION) => {
                anyhow::anyhow!("PostgreSQL at {place} refuses: {error_said}; DB_USER and DB_PASSWORD say who asks")
            }
            Some(&SqlState::UNDEFINED_TABLE | &SqlState::UNDEFINED_COLUMN) => anyhow::anyhow!(
                "PostgreSQL at {place}: {error_said}; its schema is not this version's: run nexus migrate"
            ),
            Some(_) => anyhow::Error::new(error).context(format!("PostgreSQL at {place}")),
        }
    }

    /// Connections to PostgreSQL for a command that may ask for long. Nothing is connected yet.
    ///
    /// # Errors
    /// [`Invalid`](nexus_common::config::Invalid) where a file that is named cannot be used.
    pub(crate) fn memory(&self) -> anyhow::Result<Pool> {
        let session = db::Session {
            application: "nexus-operator".to_owned(),
            statement_timeout: Duration::from_secs(600),
            idle_in_transaction_timeout: Duration::from_secs(600),
            ..db::Session::default()
        };
        self.db.access()?;
        Ok(db::pool_with(&self.db, 2, &session)?)
    }
}
