//! One server for one test.

use std::fs;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{folder, template};
use crate::db;
use crate::etcd::Client;
use crate::servers::{Account, Etcd, EtcdOptions, OnDrop, Postgres, PostgresOptions, copy_tree};

/// An etcd of this test's own; gone when dropped.
#[derive(Debug)]
pub struct TestEtcd(pub(super) Etcd);

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
    let mut options = etcd_options(folder.path());
    change(&mut options);
    let etcd = Etcd::start(&options).await.unwrap_or_else(|error| panic!("{error}"));
    // From here on the folder is the server's guard's to remove.
    let _ = folder.keep();
    TestEtcd(etcd)
}

/// How a test's etcd runs: fast, forgetful and gone afterwards.
pub(super) fn etcd_options(folder: &Path) -> EtcdOptions {
    let mut options = EtcdOptions::new(folder);
    (options.max_txn_ops, options.durable, options.on_drop) = (128, false, OnDrop::Remove);
    options
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

impl TestEtcd {
    /// Does it lead its cluster? `false` too while it does not answer.
    pub async fn leads(&self) -> bool {
        let Ok(client) = Client::connect(&self.endpoints()).await else { return false };
        let asked = tokio::time::timeout(Duration::from_secs(2), client.leads()).await;
        matches!(asked, Ok(Ok(true)))
    }

    /// Kills it, throws its data away, and starts it again: as empty as on its first day.
    ///
    /// # Panics
    /// Where that does not work.
    pub async fn wipe(&mut self) {
        self.kill().await.unwrap_or_else(|error| panic!("{error}"));
        let data = self.log().with_file_name("data");
        fs::remove_dir_all(data.join("member")).expect("etcd's data to be removed");
        self.restart().await.unwrap_or_else(|error| panic!("{error}"));
    }
}

/// A copy of a database's files; gone when dropped.
#[derive(Debug)]
pub struct Backup(tempfile::TempDir);

impl TestPostgres {
    /// Stops it, copies its files, and starts it again.
    ///
    /// # Panics
    /// Where that does not work.
    pub async fn back_up(&mut self) -> Backup {
        let backup = folder();
        self.stop().await.unwrap_or_else(|error| panic!("{error}"));
        copy_tree(&self.data(), &backup.path().join("data"), &owner()).expect("a copy of the database");
        self.restart().await.unwrap_or_else(|error| panic!("{error}"));
        Backup(backup)
    }

    /// Kills it, puts back what it was at the time of the backup, and starts it again.
    ///
    /// # Panics
    /// Where that does not work.
    pub async fn restore(&mut self, backup: &Backup) {
        self.kill().await.unwrap_or_else(|error| panic!("{error}"));
        fs::remove_dir_all(self.data()).expect("the database to be removed");
        copy_tree(&backup.0.path().join("data"), &self.data(), &owner()).expect("a copy of the database");
        self.restart().await.unwrap_or_else(|error| panic!("{error}"));
    }

    fn data(&self) -> PathBuf {
        self.log().with_file_name("data")
    }

    /// The values of `DB_*` that lead here.
    pub fn config(&self) -> db::Config {
        let options = self.options();
        db::Config {
            host: "127.0.0.1".to_owned(),
            port: self.port(),
            name: options.database.clone(),
            user: options.user.clone(),
            password: options.password.clone().into(),
            ..db::Config::default()
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

fn owner() -> Account {
    Account::for_postgres().unwrap_or_else(|error| panic!("{error}"))
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
