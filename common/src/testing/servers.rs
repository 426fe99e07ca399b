//! One server for one test.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use super::{folder, template};
use crate::db;
use crate::servers::{Etcd, EtcdOptions, OnDrop, Postgres, PostgresOptions};

/// An etcd of this test's own; gone when dropped.
#[derive(Debug)]
pub struct TestEtcd(Etcd);

/// A PostgreSQL of this test's own, with an empty database; gone when dropped.
#[derive(Debug)]
pub struct TestPostgres(Postgres);

/// Starts an etcd with the limits of a server as it comes (128 operations a transaction).
///
/// # Panics
/// Where it does not start, with the reason.
pub async fn etcd() -> TestEtcd {
    etcd_with(|_| ()).await
}

/// Starts an etcd with other options, e.g. a tiny quota.
///
/// # Panics
/// Where it does not start, with the reason.
pub async fn etcd_with(change: impl FnOnce(&mut EtcdOptions)) -> TestEtcd {
    let folder = folder();
    let mut options = EtcdOptions::new(folder.path());
    (options.max_txn_ops, options.durable, options.on_drop) = (128, false, OnDrop::Remove);
    change(&mut options);
    let etcd = Etcd::start(&options).await.unwrap_or_else(|error| panic!("{error}"));
    // From here on the folder is the server's guard's to remove.
    let _ = folder.keep();
    TestEtcd(etcd)
}

/// Starts a PostgreSQL. Its database is empty: `db::migrate` fills it.
///
/// # Panics
/// Where it does not start, with the reason.
pub async fn postgres() -> TestPostgres {
    postgres_with(|_| ()).await
}

/// Starts a PostgreSQL with other options, e.g. a setting.
///
/// # Panics
/// Where it does not start, with the reason.
pub async fn postgres_with(change: impl FnOnce(&mut PostgresOptions)) -> TestPostgres {
    let folder = folder();
    let mut options = template::options(folder.path().to_owned());
    change(&mut options);
    template::copy_into(&options.folder).await;
    let postgres = Postgres::start(&options).await.unwrap_or_else(|error| panic!("{error}"));
    let _ = folder.keep();
    TestPostgres(postgres)
}

impl TestEtcd {
    /// For `ETCD_ENDPOINTS`, as a component's configuration holds it.
    pub fn endpoints(&self) -> Vec<String> {
        vec![self.endpoint()]
    }
}

impl TestPostgres {
    /// The values of `DB_*` that lead here.
    pub fn config(&self) -> db::Config {
        let options = self.options();
        db::Config {
            host: "127.0.0.1".to_owned(),
            port: self.port(),
            name: options.database.clone(),
            user: options.user.clone(),
            password: options.password.clone().into(),
            connect_timeout: Duration::from_secs(5),
            startup_timeout: Duration::from_secs(60),
            migrate: true,
        }
    }

    /// The same as environment variables, for a process.
    pub fn environment(&self) -> [(&'static str, String); 5] {
        let options = self.options();
        [
            ("DB_HOST", "127.0.0.1".to_owned()),
            ("DB_PORT", self.port().to_string()),
            ("DB_NAME", options.database.clone()),
            ("DB_USER", options.user.clone()),
            ("DB_PASSWORD", options.password.clone()),
        ]
    }
}

impl Deref for TestEtcd {
    type Target = Etcd;
    fn deref(&self) -> &Etcd {
        &self.0
    }
}

impl DerefMut for TestEtcd {
    fn deref_mut(&mut self) -> &mut Etcd {
        &mut self.0
    }
}

impl Deref for TestPostgres {
    type Target = Postgres;
    fn deref(&self) -> &Postgres {
        &self.0
    }
}

impl DerefMut for TestPostgres {
    fn deref_mut(&mut self) -> &mut Postgres {
        &mut self.0
    }
}
