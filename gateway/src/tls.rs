//! HTTPS: the gateway's own certificate, read again when its files change.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderValue;
use clap::Args;
use nexus_common::config::{Invalid, duration};
use nexus_common::observe::Registry;
use nexus_common::tls::{Expiry, File, Reloaded, ServerConfig, ServerFiles, expiries};
use nexus_common::{db, etcd};

/// How clients are spoken to. Without a certificate: plain HTTP.
#[derive(Debug, Clone, Default, Args)]
#[group(skip)]
pub struct Tls {
    /// The gateway's certificate (PEM, with those between it and the authority): with it HTTPS alone is spoken. Read again
    /// when it changes
    #[arg(long, env = "TLS_CERT_FILE")]
    pub tls_cert_file: Option<PathBuf>,

    /// Its private key (PEM)
    #[arg(long, env = "TLS_KEY_FILE")]
    pub tls_key_file: Option<PathBuf>,

    /// Authorities (PEM) one of which each client's certificate must be of; without it clients need no certificate
    #[arg(long, env = "TLS_CLIENT_CA_FILE")]
    pub tls_client_ca_file: Option<PathBuf>,

    /// How long browsers are to insist on HTTPS for this host (Strict-Transport-Security), where HTTPS is spoken; 0s does
    /// not ask them
    #[arg(long, env = "HSTS_MAX_AGE", default_value = "365d", value_parser = duration)]
    pub hsts_max_age: Duration,
}

/// What connections are accepted with, as the files say now.
pub(crate) type Kept = Reloaded<Papers>;

/// Has Prometheus told when certificates end: those that etcd and PostgreSQL are shown, and the gateway's own.
pub(crate) fn register(registry: &mut Registry, etcd: &etcd::Client, database: db::Access, own: Option<Kept>) {
    let etcd = etcd.clone();
    nexus_common::tls::register(registry, move || {
        let own = own.as_ref().map(|own| own.present().value.expiries.clone());
        [etcd.expiries(), database.expiries(), own.unwrap_or_default()].concat()
    });
}

/// What the gateway shows, and when that ends.
pub(crate) struct Papers {
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) expiries: Vec<Expiry>,
}

impl Tls {
    /// The files; `None`: plain HTTP.
    ///
    /// # Errors
    /// A file that is missing or cannot be used.
    pub(crate) fn keep(&self) -> Result<Option<Kept>, Invalid> {
        let cert = File::named("TLS_CERT_FILE", self.tls_cert_file.as_deref());
        let key = File::named("TLS_KEY_FILE", self.tls_key_file.as_deref());
        let client_ca = File::named("TLS_CLIENT_CA_FILE", self.tls_client_ca_file.as_deref());
        let files = match (cert, key, client_ca) {
            (Some(cert), Some(key), client_ca) => ServerFiles { cert, key, client_ca },
            (None, None, None) => return Ok(None),
            (cert, _, _) => {
                let missing = if cert.is_none() { "TLS_CERT_FILE" } else { "TLS_KEY_FILE" };
                return Err(Invalid(format!("HTTPS needs a certificate and its key: set {missing}")));
            }
        };
        let kept = Reloaded::new("the gateway", files.files(), move |contents| {
            let config = Arc::new(files.config(contents)?);
            let client_ca = ("gateway_client_ca", files.client_ca.as_ref());
            Ok(Papers { config, expiries: expiries(contents, ("gateway", Some(&files.cert)), client_ca)? })
        })?;
        Ok(Some(kept))
    }

    /// What answers over HTTPS promise: that this host speaks it (`Strict-Transport-Security`).
    pub(crate) fn promise(&self) -> Option<HeaderValue> {
        let promised = self.tls_cert_file.is_some() && !self.hsts_max_age.is_zero();
        promised.then(|| HeaderValue::from_str(&format!("max-age={}", self.hsts_max_age.as_secs())).ok())?
    }
}
