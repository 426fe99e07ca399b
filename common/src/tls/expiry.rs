//! When certificates end, for whoever watches over that.
//!
//! Told is what is in use: a file that was replaced by something that cannot be used changes nothing.

use rustls::pki_types::CertificateDer;

use super::{Contents, File, Leaf};
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

/// When our certificate ends, and the authorities of the other side: each file with the name it is told under.
///
/// # Errors
/// A file that cannot be used.
pub fn expiries(
    contents: &Contents,
    own: (&'static str, Option<&File>),
    authorities: (&'static str, Option<&File>),
) -> Result<Vec<Expiry>, Invalid> {
    let mut found = Vec::new();
    for ((certificate, file), chosen) in [(own, first as Chosen), (authorities, last as Chosen)] {
        let Some(file) = file else { continue };
        let ends = |certificate: &CertificateDer<'_>| Leaf::of(certificate).map(|leaf| leaf.until);
        let ends: Vec<_> = contents.certificates(file)?.iter().filter_map(ends).collect();
        found.extend(chosen(&ends).map(|until| Expiry { certificate, until }));
    }
    Ok(found)
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

    fn file(folder: &std::path::Path, name: &str, parts: &[&str]) -> File {
        let path = folder.join(name);
        std::fs::write(&path, parts.concat()).unwrap();
        File::new("A_FILE", path)
    }

    #[test]
    fn of_a_chain_the_first_end_counts_and_of_authorities_the_last() {
        let (folder, authority) = (folder(), Authority::new("ours"));
        let lasting = |days: u64| authority.issue_for("x", &["localhost"], Duration::from_secs(days * 86_400)).cert;
        let chain = file(folder.path(), "chain.pem", &[&lasting(30), &lasting(3), &lasting(300)]);
        let both = file(folder.path(), "ca.pem", &[&lasting(1), &lasting(400), &authority.issue_expired("old").cert]);
        let contents = Contents::read(&[chain.clone(), both.clone()]).unwrap();
        let found = expiries(&contents, ("postgres_client", Some(&chain)), ("postgres_ca", Some(&both))).unwrap();
        let mut metrics = Metrics::new("streamer", "c");
        register(metrics.registry(), move || found.clone());
        let text = metrics.text([]).unwrap();
        for (certificate, expected) in [("postgres_client", days(3)), ("postgres_ca", days(400))] {
            let series =
                format!("nexus_certificate_expiry_timestamp_seconds{{cluster=\"c\",certificate=\"{certificate}\"}} ");
            let told = text.lines().find_map(|line| line.strip_prefix(&series)).unwrap_or_else(|| panic!("{text}"));
            assert!((told.parse::<f64>().unwrap() - expected).abs() < 600.0, "{certificate}: {told}");
        }
        assert_eq!(expiries(&contents, ("postgres_client", None), ("postgres_ca", None)).unwrap(), []);
    }
}
