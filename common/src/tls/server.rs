//! A server's side: its certificate, and whom it lets in.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;

use super::trust::{authorities, unfit};
use super::{Contents, File, Leaf, provider};
use crate::config::Invalid;

/// A server's files.
#[derive(Debug, Clone)]
pub struct ServerFiles {
    /// Its certificate, and those between it and the authority.
    pub cert: File,
    /// Its private key.
    pub key: File,
    /// Authorities one of which a client's certificate must be of; without it clients need none.
    pub client_ca: Option<File>,
}

impl ServerFiles {
    /// All of them.
    pub fn files(&self) -> Vec<File> {
        [&self.cert, &self.key].into_iter().chain(&self.client_ca).cloned().collect()
    }

    /// For HTTP/1.1 over TLS 1.2 and 1.3.
    ///
    /// # Errors
    /// A file that cannot be used; a key that is not the certificate's.
    pub fn config(&self, contents: &Contents) -> Result<ServerConfig, Invalid> {
        let (chain, key) = (contents.certificates(&self.cert)?, contents.key(&self.key)?);
        let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| self.cert.wrong(error))?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let authorities = Arc::new(authorities(file, contents)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(authorities, provider()).build();
                builder.with_client_cert_verifier(verifier.map_err(|error| file.wrong(error))?)
            }
        };
        let leaf = chain.first().cloned();
        let mut config = builder.with_single_cert(chain, key).map_err(|error| unfit(&self.cert, &self.key, &error))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        if let Some(leaf) = leaf {
            Leaf::announce(&self.cert, &leaf);
        }
        Ok(config)
    }
}
