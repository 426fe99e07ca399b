//! The servers under the components: ours, where the user gave none.

use anyhow::bail;
use nexus_common::config::Invalid;
use nexus_common::retry::Retry;
use nexus_common::servers::{self, Etcd, EtcdOptions, Postgres, port_taken};

use super::Options;
use super::options::MAX_TXN_OPS;
use super::screen::Screen;
use crate::setup::{debians, invalid, postgres_options};

/// What `nexus up` started, and so has to keep up and to stop.
#[derive(Debug)]
pub(super) struct Servers {
    etcd: Option<Etcd>,
    postgres: Option<Postgres>,
}

impl Servers {
    /// Starts what is ours, and writes into the options where the servers are. Before anything is started, every port
    /// that will be needed is looked at.
    pub(super) async fn start(options: &mut Options, screen: &Screen) -> anyhow::Result<Servers> {
        let (etcd_folder, postgres_folder) = (options.dir.join("etcd"), options.dir.join("postgres"));
        let etcd_stays = options.own_etcd.then(|| Etcd::detached(&etcd_folder)).flatten();
        let postgres_stays = options.own_postgres.then(|| Postgres::detached(&postgres_folder)).flatten();
        let start_etcd = options.own_etcd && etcd_stays.is_none();
        let start_postgres = options.own_postgres && postgres_stays.is_none();

        // What a killed run left on our own data would else look like somebody else's server.
        if start_etcd {
            Etcd::stop_detached(&etcd_folder).await?;
        }
        if start_postgres {
            Postgres::stop_detached(&postgres_folder).await?;
        }
        let needed = [
            (start_etcd, options.etcd_port, "ETCD_PORT", ", or use that etcd with ETCD_ENDPOINTS"),
            (start_postgres, options.db.port, "DB_PORT", ", or use that PostgreSQL with DB_HOST"),
            (true, options.port, "PORT", ""),
        ];
        for (is_needed, port, variable, or) in needed {
            if is_needed && port_taken(port) {
                let debians = debians(variable);
                bail!(Invalid(format!("port {port} is taken; choose another with {variable}=…{or}{debians}")));
            }
        }

        if options.own_etcd {
            options.etcd_port = etcd_stays.unwrap_or(options.etcd_port);
            options.common.etcd_endpoints = vec![format!("127.0.0.1:{}", options.etcd_port)];
            options.common.max_txn_ops = MAX_TXN_OPS;
        }
        if options.own_postgres {
            options.db.port = postgres_stays.unwrap_or(options.db.port);
            "127.0.0.1".clone_into(&mut options.db.host);
        }
        let etcd_options = EtcdOptions {
            client_port: options.etcd_port,
            max_txn_ops: MAX_TXN_OPS,
            quota_backend_bytes: options.etcd_quota_bytes,
            ..EtcdOptions::new(etcd_folder)
        };
        let postgres_options = postgres_options(postgres_folder, &options.db);
        if start_etcd || start_postgres {
            screen.say("starting the servers");
        }
        let etcd = async {
            let started = if start_etcd { Etcd::start(&etcd_options).await.map(Some) } else { Ok(None) };
            started.map_err(|error| invalid(error, "ETCD_PORT"))
        };
        let postgres = async {
            let started = if start_postgres { Postgres::start(&postgres_options).await.map(Some) } else { Ok(None) };
            started.map_err(|error| invalid(error, "DB_PORT"))
        };
        let (etcd, postgres) = tokio::try_join!(etcd, postgres)?;
        Ok(Servers { etcd, postgres })
    }

    /// Starts a server again when it ends by itself. Comes back only when one cannot be started any more.
    pub(super) async fn keep(&mut self, screen: &Screen) -> anyhow::Error {
        let Servers { etcd, postgres } = self;
        let etcd = async {
            match etcd {
                Some(etcd) => keep_etcd(etcd, screen).await,
                None => std::future::pending().await,
            }
        };
        let postgres = async {
            match postgres {
                Some(postgres) => keep_postgres(postgres, screen).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! { error = etcd => error, error = postgres => error }.into()
    }

    /// Stops what was started, both at once.
    pub(super) async fn stop(&mut self) {
        let etcd = async {
            match &mut self.etcd {
                Some(etcd) => etcd.stop().await,
                None => Ok(()),
            }
        };
        let postgres = async {
            match &mut self.postgres {
                Some(postgres) => postgres.stop().await,
                None => Ok(()),
            }
        };
        for stopped in <[_; 2]>::from(tokio::join!(etcd, postgres)) {
            if let Err(error) = stopped {
                tracing::error!("{error}");
            }
        }
    }
}

/// Tries in a row after which a server is given up: with the waits of [`Retry::server`] some minutes.
const TRIES: u32 = 8;

async fn keep_etcd(etcd: &mut Etcd, screen: &Screen) -> servers::Error {
    loop {
        let ended = etcd.exited().await;
        screen.say(&format!("etcd ended ({}): starting it again", said(ended)));
        let (mut retry, mut tries) = (Retry::server(), 0);
        while let Err(error) = etcd.restart().await {
            tries += 1;
            if tries == TRIES {
                return error;
            }
            screen.say(&error.to_string());
            tokio::time::sleep(retry.next_wait()).await;
        }
    }
}

async fn keep_postgres(postgres: &mut Postgres, screen: &Screen) -> servers::Error {
    loop {
        let ended = postgres.exited().await;
        screen.say(&format!("PostgreSQL ended ({}): starting it again", said(ended)));
        let (mut retry, mut tries) = (Retry::server(), 0);
        while let Err(error) = postgres.restart().await {
            tries += 1;
            if tries == TRIES {
                return error;
            }
            screen.say(&error.to_string());
            tokio::time::sleep(retry.next_wait()).await;
        }
    }
}

fn said(ended: Result<Option<std::process::ExitStatus>, servers::Error>) -> String {
    match ended {
        Ok(Some(status)) => status.to_string(),
        Ok(None) => "it was not running".to_owned(),
        Err(error) => error.to_string(),
    }
}
