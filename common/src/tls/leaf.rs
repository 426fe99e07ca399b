//! What people and protocols want to know of a certificate.

use rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::Decode;

use super::File;
use crate::domain::Timestamp;

/// A certificate that ends within this is worth a line.
const SOON_DAYS: i64 = 7;
const DAY_US: i64 = 86_400_000_000;

/// How a certificate was signed: the hash that goes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// SHA-256, or an older one that is treated like it.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

/// A certificate's particulars.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Its serial number, in hexadecimal digits as OpenSSL shows it.
    pub serial: String,
    /// When it ends.
    pub until: Timestamp,
    /// The hash of its signature; `None`: it has none of its own (Ed25519), or none that we know.
    pub signed_with: Option<Algorithm>,
}

impl Leaf {
    /// Reads it; `None` where it is no certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Leaf> {
        let parsed = Certificate::from_der(certificate).ok()?;
        let (body, oid) = (&parsed.tbs_certificate, parsed.signature_algorithm.oid.to_string());
        // A first byte of zero only says that the number is not negative.
        let serial = body.serial_number.as_bytes().iter().skip_while(|byte| **byte == 0);
        let serial = serial.map(|byte| format!("{byte:02X}")).collect::<String>();
        let until = body.validity.not_after.to_unix_duration();
        // RFC 5929 4.1: MD5 and SHA-1 count as SHA-256. Signatures without a hash of their own (PSS, EdDSA) are not defined.
        let signed_with = match oid.as_str() {
            "1.2.840.113549.1.1.4" | "1.2.840.113549.1.1.5" | "1.2.840.10045.4.1" => Some(Algorithm::Sha256),
            "1.2.840.113549.1.1.11" | "1.2.840.10045.4.3.2" => Some(Algorithm::Sha256),
            "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" => Some(Algorithm::Sha384),
            "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" => Some(Algorithm::Sha512),
            _ => None,
        };
        Some(Leaf { serial, until: Timestamp(i64::try_from(until.as_micros()).unwrap_or(i64::MAX)), signed_with })
    }

    /// Says which certificate is used from now on, and warns of its end. An expired one is used all the same: whoever
    /// it is shown to decides, and a process that refuses to start at night helps nobody.
    pub(super) fn announce(file: &File, certificate: &CertificateDer<'_>) {
        let Some(leaf) = Leaf::of(certificate) else { return };
        let (left, serial, until) = (leaf.until.0 - Timestamp::now().0, leaf.serial, leaf.until);
        match left {
            ..0 => tracing::warn!(%file, serial, %until, "this certificate has expired: others will refuse it"),
            left if left < SOON_DAYS * DAY_US => tracing::warn!(%file, serial, %until, "this certificate expires soon"),
            _ => tracing::info!(%file, serial, %until, "certificate in use"),
        }
    }
}
