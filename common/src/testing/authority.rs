//! An authority of a test's own, and what it vouches for.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

use crate::servers::Papers;
use crate::tls::CertificateDer;

/// Who vouches.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key, good for a server at 127.0.0.1 and localhost and for a client.
#[derive(Clone)]
pub struct Issued {
    /// The certificate, in PEM.
    pub cert: String,
    /// Its key, in PEM.
    pub key: String,
    /// The certificate as it goes over the wire.
    pub der: CertificateDer<'static>,
}

impl Authority {
    /// A new one.
    pub fn new(name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("an authority").pem();
        Authority { issuer: Issuer::new(params, key), pem }
    }

    /// Its own certificate, in PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate for this name, good for a day.
    pub fn issue(&self, name: &str) -> Issued {
        self.issue_for(name, &["127.0.0.1", "localhost"], Duration::from_secs(86_400))
    }

    /// The same, which ended an hour ago.
    pub fn issue_expired(&self, name: &str) -> Issued {
        self.issue_until(name, &["127.0.0.1", "localhost"], SystemTime::now() - Duration::from_secs(3600))
    }

    /// A certificate for these hosts.
    pub fn issue_for(&self, name: &str, hosts: &[&str], lasting: Duration) -> Issued {
        self.issue_until(name, hosts, SystemTime::now() + lasting)
    }

    fn issue_until(&self, name: &str, hosts: &[&str], until: SystemTime) -> Issued {
        let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
        let mut params = CertificateParams::new(hosts).expect("names of hosts");
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = (SystemTime::now() - Duration::from_secs(86_400)).into();
        params.not_after = until.into();
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Issued { cert: certificate.pem(), key: key.serialize_pem(), der: certificate.der().clone() }
    }

    /// What a server of this name shows to clients of this authority.
    pub fn papers(&self, name: &str) -> Papers {
        let Issued { cert, key, .. } = self.issue(name);
        Papers { ca: self.pem.clone(), cert, key }
    }
}

impl Issued {
    /// Writes certificate and key beside each other, each at once, as a rotation should: `NAME.pem` and `NAME.key`.
    pub fn write(&self, folder: &Path, name: &str) -> [PathBuf; 2] {
        let files = [folder.join(format!("{name}.pem")), folder.join(format!("{name}.key"))];
        for (path, content) in files.iter().zip([&self.cert, &self.key]) {
            replace(path, content);
        }
        files
    }
}

/// Puts a file in another's place at once.
fn replace(path: &Path, content: &str) {
    let fresh = path.with_extension("fresh");
    fs::write(&fresh, content).expect("a file");
    fs::rename(&fresh, path).expect("a file in its place");
}
