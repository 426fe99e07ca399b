//! A client's side: whom it trusts, and who it is.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::{Contents, File, Leaf, provider};
use crate::config::Invalid;

/// A client's files.
#[derive(Debug, Clone, Default)]
pub struct ClientFiles {
    /// Authorities one of which the server's certificate must be of; without it those this system trusts.
    pub ca: Option<File>,
    /// The client's certificate and those between it and the authority, where the server wants one.
    pub cert: Option<File>,
    /// Its private key.
    pub key: Option<File>,
}

/// How far a server's certificate is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strictness {
    /// Not at all: nobody can listen, but anybody can be in between.
    None,
    /// An authority vouches for it, whatever host it names.
    Authority,
    /// An authority vouches for it, and it names the host that was asked for.
    Name,
}

impl ClientFiles {
    /// Those that are named.
    pub fn files(&self) -> Vec<File> {
        [&self.ca, &self.cert, &self.key].into_iter().flatten().cloned().collect()
    }

    /// Whether a certificate has its key, and a key its certificate.
    ///
    /// # Errors
    /// Which is missing: one of `cert` and `key`, the names of the variables.
    pub fn paired(&self, cert: &str, key: &str) -> Result<(), Invalid> {
        match (&self.cert, &self.key) {
            (Some(file), None) => Err(file.wrong(format!("a certificate is of no use without its key: set {key}"))),
            (None, Some(file)) => Err(file.wrong(format!("a key is of no use without its certificate: set {cert}"))),
            _ => Ok(()),
        }
    }

    /// The authorities: those of the file, or the system's.
    ///
    /// # Errors
    /// A file that cannot be used; a system that trusts nobody.
    pub fn authorities(&self, contents: &Contents) -> Result<RootCertStore, Invalid> {
        match &self.ca {
            Some(file) => authorities(file, contents),
            None => system(),
        }
    }

    /// For TLS 1.2 and 1.3.
    ///
    /// # Errors
    /// A file that cannot be used; a key that is not the certificate's.
    pub fn config(&self, contents: &Contents, strictness: Strictness) -> Result<ClientConfig, Invalid> {
        let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| Invalid(error.to_string()))?;
        let builder = match strictness {
            Strictness::Name => builder.with_root_certificates(self.authorities(contents)?),
            Strictness::Authority => {
                let lenient = Lenient { authorities: Some(self.authorities(contents)?), provider: provider() };
                builder.dangerous().with_custom_certificate_verifier(Arc::new(lenient))
            }
            Strictness::None => {
                let lenient = Lenient { authorities: None, provider: provider() };
                builder.dangerous().with_custom_certificate_verifier(Arc::new(lenient))
            }
        };
        let (Some(cert), Some(key)) = (&self.cert, &self.key) else { return Ok(builder.with_no_client_auth()) };
        let chain = contents.certificates(cert)?;
        let leaf = chain.first().cloned();
        let config = builder.with_client_auth_cert(chain, contents.key(key)?);
        let config = config.map_err(|error| unfit(cert, key, &error))?;
        if let Some(leaf) = leaf {
            Leaf::announce(cert, &leaf);
        }
        Ok(config)
    }
}

/// The authorities of a file, all of which have to be readable.
pub(super) fn authorities(file: &File, contents: &Contents) -> Result<RootCertStore, Invalid> {
    let mut store = RootCertStore::empty();
    for certificate in contents.certificates(file)? {
        store.add(certificate).map_err(|error| file.wrong(format!("holds something that is no authority: {error}")))?;
    }
    Ok(store)
}

/// The authorities this system trusts. Those that cannot be read are left out: there are a hundred others.
fn system() -> Result<RootCertStore, Invalid> {
    let mut store = RootCertStore::empty();
    let (usable, _) = store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    match usable {
        0 => {
            Err(Invalid("this system trusts no authority (is ca-certificates installed?): name yours in a file".into()))
        }
        _ => Ok(store),
    }
}

/// A certificate and a key that cannot be used together.
pub(super) fn unfit(cert: &File, key: &File, error: &Error) -> Invalid {
    match error {
        Error::InconsistentKeys(_) => key.wrong(format!("this key is not the one of the certificate in {cert}")),
        error => cert.wrong(format!("cannot be used with {key}: {error}")),
    }
}

/// Looks less closely than usual: at the authority alone, or at nothing. That whoever answers holds the key of the
/// certificate he shows is checked all the same.
#[derive(Debug)]
struct Lenient {
    authorities: Option<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(authorities) = &self.authorities {
            let certificate = ParsedCertificate::try_from(end_entity)?;
            let algorithms = self.provider.signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&certificate, authorities, intermediates, now, algorithms)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
