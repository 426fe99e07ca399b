//! When certificates end, for whoever watches over that.
//!
//! Told is what is in use: a file that was replaced by something that cannot be used changes nothing.

use rustls::pki_types::CertificateDer;

use super::{ClientFiles, Contents, File, Leaf, ServerFiles};
use crate::config::Invalid;
use crate::domain::Timestamp;
use crate::observe::{Registry, looked_at};

/// A certificate of ours, or the authorities we go by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiry {
    /// What it is called in metrics.
    pub certificate: &'static str,
    /// From when on it is of no use.
    pub until: Timestamp,
}

/// Has Prometheus told what `look` finds at each scrape.
pub fn register(registry: &mut Registry, look: impl Fn() -> Vec<Expiry> + Send + Sync + 'static) {
    registry.register_collector(looked_at(move |scrape| {
        let help = "When a certificate of this process ends, in seconds since 1970: of a chain what ends first, of several \
                    authorities the one that ends last.";
        let until = look().into_iter().map(|Expiry { certificate, until }| (certificate, until.0 as f64 / 1e6));
        scrape.gauges("nexus_certificate_expiry_timestamp_seconds", help, "certificate", until)
    }));
}

impl ClientFiles {
    /// When our certificate ends, and the authorities of the other side, under these names.
    ///
    /// # Errors
    /// A file that cannot be used.
    pub fn expiries(
        &self,
        contents: &Contents,
        own: &'static str,
        authorities: &'static str,
    ) -> Result<Vec<Expiry>, Invalid> {
        found(contents, [(own, self.cert.as_ref(), first), (authorities, self.ca.as_ref(), last)])
    }
}

impl ServerFiles {
    /// When the server's certificate ends, and the authorities of its clients, under these names.
    ///
    /// # Errors
    /// A file that cannot be used.
    pub fn expiries(
        &self,
        contents: &Contents,
        own: &'static str,
        authorities: &'static str,
    ) -> Result<Vec<Expiry>, Invalid> {
        found(contents, [(own, Some(&self.cert), first), (authorities, self.client_ca.as_ref(), last)])
    }
}

type Chosen = fn(&[Timestamp]) -> Option<Timestamp>;

/// A chain is broken where one of it is.
fn first(ends: &[Timestamp]) -> Option<Timestamp> {
    ends.iter().copied().min()
}

/// While one authority is handed over to the next a file holds both, and a system's has some that ended long ago.
fn last(ends: &[Timestamp]) -> Option<Timestamp> {
    ends.iter().copied().max()
}

fn found(contents: &Contents, files: [(&'static str, Option<&File>, Chosen); 2]) -> Result<Vec<Expiry>, Invalid> {
    let mut found = Vec::new();
    for (certificate, file, chosen) in files {
        let Some(file) = file else { continue };
        let ends = |certificate: &CertificateDer<'_>| Leaf::of(certificate).map(|leaf| leaf.until);
        let ends: Vec<_> = contents.certificates(file)?.iter().filter_map(ends).collect();
        found.extend(chosen(&ends).map(|until| Expiry { certificate, until }));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use super::*;
    use crate::observe::Metrics;
    use crate::testing::{Authority, folder};

    /// Seconds since 1970, so many days from now.
    fn days(days: u64) -> f64 {
        (SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + Duration::from_secs(days * 86_400)).as_secs_f64()
    }

    fn file(folder: &std::path::Path, name: &str, parts: &[&str]) -> Option<File> {
        let path = folder.join(name);
        std::fs::write(&path, parts.concat()).unwrap();
        Some(File::new("A_FILE", path))
    }

    #[test]
    fn of_a_chain_the_first_end_counts_and_of_authorities_the_last() {
        let (folder, authority) = (folder(), Authority::new("ours"));
        let lasting = |days: u64| authority.issue_for("x", &["localhost"], Duration::from_secs(days * 86_400)).cert;
        let chain = file(folder.path(), "chain.pem", &[&lasting(30), &lasting(3), &lasting(300)]);
        let both = file(folder.path(), "ca.pem", &[&lasting(1), &lasting(400), &authority.issue_expired("old").cert]);
        let files = ClientFiles { ca: both, cert: chain, key: None };
        let contents = Contents::read(&files.files()).unwrap();
        let found = files.expiries(&contents, "postgres_client", "postgres_ca").unwrap();
        let mut metrics = Metrics::new("streamer", "c");
        register(metrics.registry(), move || found.clone());
        let text = metrics.text([]).unwrap();
        for (certificate, expected) in [("postgres_client", days(3)), ("postgres_ca", days(400))] {
            let series =
                format!("nexus_certificate_expiry_timestamp_seconds{{cluster=\"c\",certificate=\"{certificate}\"}} ");
            let told = text.lines().find_map(|line| line.strip_prefix(&series)).unwrap_or_else(|| panic!("{text}"));
            assert!((told.parse::<f64>().unwrap() - expected).abs() < 600.0, "{certificate}: {told}");
        }
        assert_eq!(ClientFiles::default().expiries(&contents, "postgres_client", "postgres_ca").unwrap(), []);
    }
}
