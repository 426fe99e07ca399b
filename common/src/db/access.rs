//! How each connection is made: who the server must be, and who we are to it, as the files say at that moment.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use tokio::task::JoinHandle;
use tokio_postgres::{Client, Connection, Socket};

use super::connector::{Connector, Stream};
use super::{Config, Password, SslMode};
use crate::config::Invalid;
use crate::tls::{ClientConfig, Expiry, File, Reloaded, expiries};

/// What connections are made with: cheap to clone, and always up to date. A connection that is open stays as it is; a
/// pool gives up those that are older than what the files hold now.
#[derive(Debug, Clone)]
pub struct Access(Reloaded<Credentials>);

#[derive(Debug)]
struct Credentials {
    tls: Arc<ClientConfig>,
    password: Password,
    expiries: Vec<Expiry>,
}

/// One look at the files for all pools that are made of one configuration and its copies: each change is said once.
#[derive(Clone, Default)]
pub struct Shared(Arc<OnceLock<(Settings, Access)>>);

/// What an [`Access`] is made of.
#[derive(PartialEq)]
struct Settings {
    ssl_mode: SslMode,
    files: Vec<File>,
    password: Password,
}

impl Shared {
    /// A copy that was changed since has an access of its own.
    pub(super) fn access(&self, config: &Config) -> Result<Access, Invalid> {
        let password_file = config.password_file();
        let files = config.tls().files().into_iter().chain(password_file).collect();
        let settings = Settings { ssl_mode: config.ssl_mode, files, password: config.password.clone() };
        match self.0.get() {
            Some((known, access)) if *known == settings => Ok(access.clone()),
            Some(_) => Access::new(config),
            None => {
                let access = Access::new(config)?;
                let _ = self.0.set((settings, access.clone()));
                Ok(access)
            }
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}

type Connected = (Client, Connection<Socket, Stream<Socket>>);

impl Access {
    fn new(config: &Config) -> Result<Access, Invalid> {
        let (tls, strictness, given) = (config.tls(), config.ssl_mode.strictness(), config.password.clone());
        let password_file = config.password_file();
        let files = tls.files().into_iter().chain(password_file.clone()).collect();
        let credentials = Reloaded::new("PostgreSQL", files, move |contents| {
            let password = match &password_file {
                Some(file) => contents.secret(file)?.into(),
                None => given.clone(),
            };
            let config = tls.config(contents, strictness)?;
            let own = ("postgres_client", tls.cert.as_ref());
            let expiries = expiries(contents, own, ("postgres_ca", tls.ca.as_ref()))?;
            Ok(Credentials { tls: Arc::new(config), password, expiries })
        })?;
        Ok(Access(credentials))
    }

    /// For the driver, where it connects by itself: to cancel a statement.
    pub fn connector(&self) -> Connector {
        Connector::new(Arc::clone(&self.0.present().value.tls))
    }

    /// When the certificates end with which connections are made now.
    pub fn expiries(&self) -> Vec<Expiry> {
        self.0.present().value.expiries.clone()
    }

    /// When the files changed last, or were read first.
    pub(super) fn since(&self) -> Instant {
        self.0.present().since
    }

    /// Connects once.
    pub(super) async fn connect(&self, driver: &tokio_postgres::Config) -> Result<Connected, tokio_postgres::Error> {
        let mut driver = driver.clone();
        driver.password(self.0.present().value.password.reveal());
        driver.connect(self.connector()).await
    }
}

impl deadpool_postgres::Connect for Access {
    fn connect(
        &self,
        driver: &tokio_postgres::Config,
    ) -> Pin<Box<dyn Future<Output = Result<(Client, JoinHandle<()>), tokio_postgres::Error>> + Send + '_>> {
        let driver = driver.clone();
        Box::pin(async move {
            let (client, connection) = Access::connect(self, &driver).await?;
            // The pool owns the task: it ends with the client.
            #[allow(clippy::disallowed_methods)]
            let task = tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(error = %super::Error::from(error), "a connection to PostgreSQL ended");
                }
            });
            Ok((client, task))
        })
    }
}
