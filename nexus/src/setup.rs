//! `nexus etcd` and `nexus postgres`: the local stack's servers by themselves, for whoever starts the components one by
//! one. They stay after the command; `nexus up` on the same folder uses them and leaves them running.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use nexus_common::config::Invalid;
use nexus_common::db;
use nexus_common::servers::{self, EtcdOptions, OnDrop, PostgresOptions};

/// What to do with a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Action {
    /// Start it, or find it running.
    Start,
    /// Stop it; its data stays.
    Stop,
}

/// Options of `nexus etcd`.
#[derive(Debug, Args)]
pub(crate) struct Etcd {
    /// start or stop
    #[arg(value_enum)]
    action: Action,

    /// Folder of the local stack
    #[arg(long, env = "NEXUS_DIR", default_value = ".nexus")]
    dir: PathBuf,

    /// Port for clients
    #[arg(long, env = "ETCD_PORT", default_value_t = 2379)]
    etcd_port: u16,
}

/// Options of `nexus postgres`.
#[derive(Debug, Args)]
pub(crate) struct Postgres {
    /// start or stop
    #[arg(value_enum)]
    action: Action,

    /// Folder of the local stack
    #[arg(long, env = "NEXUS_DIR", default_value = ".nexus")]
    dir: PathBuf,

    #[command(flatten)]
    db: db::Config,
}

/// Starts or stops the local etcd.
pub(crate) async fn etcd(options: &Etcd) -> anyhow::Result<()> {
    let folder = options.dir.join("etcd");
    let done = match (options.action, servers::Etcd::detached(&folder)) {
        (Action::Stop, _) => servers::Etcd::stop_detached(&folder).await.map(|()| "etcd is stopped".to_owned()),
        (Action::Start, Some(port)) => Ok(format!("etcd runs already: ETCD_ENDPOINTS=localhost:{port}")),
        (Action::Start, None) => {
            let mut options = EtcdOptions { client_port: options.etcd_port, ..EtcdOptions::new(&folder) };
            options.on_drop = OnDrop::Leave;
            let etcd = servers::Etcd::start(&options).await;
            etcd.map(|etcd| format!("etcd runs: ETCD_ENDPOINTS=localhost:{}", etcd.port()))
        }
    };
    say(done, "ETCD_PORT")
}

/// Starts or stops the local PostgreSQL.
pub(crate) async fn postgres(options: &Postgres) -> anyhow::Result<()> {
    let folder = options.dir.join("postgres");
    let done = match (options.action, servers::Postgres::detached(&folder)) {
        (Action::Stop, _) => {
            servers::Postgres::stop_detached(&folder).await.map(|()| "PostgreSQL is stopped".to_owned())
        }
        (Action::Start, Some(port)) => Ok(format!("PostgreSQL runs already: DB_HOST=localhost DB_PORT={port}")),
        (Action::Start, None) => {
            let options = PostgresOptions { on_drop: OnDrop::Leave, ..postgres_options(folder, &options.db) };
            let postgres = servers::Postgres::start(&options).await;
            postgres.map(|postgres| format!("PostgreSQL runs: DB_HOST=localhost DB_PORT={}", postgres.port()))
        }
    };
    say(done, "DB_PORT")
}

/// The server that `DB_*` describes.
pub(crate) fn postgres_options(folder: impl Into<PathBuf>, db: &db::Config) -> PostgresOptions {
    PostgresOptions {
        port: db.port,
        database: db.name.clone(),
        user: db.user.clone(),
        password: db.password.reveal().to_owned(),
        ..PostgresOptions::new(folder)
    }
}

fn say(done: Result<String, servers::Error>, variable: &str) -> anyhow::Result<()> {
    println!("{}", done.map_err(|error| invalid(error, variable))?);
    Ok(())
}

/// What the user has to change is said as such; `variable` names the port.
pub(crate) fn invalid(error: servers::Error, variable: &str) -> anyhow::Error {
    match error {
        servers::Error::PortTaken { .. } => {
            Invalid(format!("{error}; choose another with {variable}=…{}", debians(variable))).into()
        }
        servers::Error::Missing { .. } | servers::Error::Setup(_) => Invalid(error.to_string()).into(),
        error => error.into(),
    }
}

/// Who most often has the port that `variable` names: what Debian starts when it is installed.
pub(crate) fn debians(variable: &str) -> &'static str {
    match variable {
        "ETCD_PORT" => "; if it is Debian's etcd, which starts itself: sudo systemctl disable --now etcd",
        "DB_PORT" => "; pg_lsclusters lists Debian's",
        _ => "",
    }
}
