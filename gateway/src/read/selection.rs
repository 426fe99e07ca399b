use std::ops::Bound;

use nexus_common::domain::Timestamp;

use super::{Error, Model, Result};

/// Which GPUs a question is about; all where nothing is set.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Of this cluster.
    pub cluster_id: Option<String>,
    /// On this host.
    pub host_id: Option<String>,
    /// With this index on its host, or this UUID.
    pub gpu_id: Option<String>,
}

/// A GPU that samples can come from: its id in the registry and the names it has in answers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Source {
    pub(super) id: i32,
    pub(super) cluster_id: String,
    pub(super) host_id: String,
    pub(super) gpu_id: String,
    pub(super) uuid: Option<String>,
    /// Of all its metrics.
    pub(super) newest: Option<Timestamp>,
}

impl Source {
    /// The same, whatever it reports.
    pub(crate) fn at_any_time(&self) -> Self {
        Source { newest: None, ..self.clone() }
    }

    #[cfg(test)]
    pub(crate) fn named(cluster_id: &str, host_id: &str, gpu_id: &str) -> Self {
        let [cluster_id, host_id, gpu_id] = [cluster_id, host_id, gpu_id].map(str::to_owned);
        Source { id: 1, cluster_id, host_id, gpu_id, uuid: None, newest: Some(Timestamp(0)) }
    }

    /// Its size in bytes.
    pub(crate) fn size(&self) -> usize {
        let names = [&self.cluster_id, &self.host_id, &self.gpu_id].map(|name| name.len());
        size_of::<Self>() + names.iter().sum::<usize>() + self.uuid.as_ref().map_or(0, String::len)
    }
}

impl Selection {
    /// Of one place or UUID.
    pub fn gpu(cluster_id: &str, host_id: &str, gpu_id: &str) -> Self {
        let owned = |name: &str| Some(name.to_owned());
        Selection { cluster_id: owned(cluster_id), host_id: owned(host_id), gpu_id: owned(gpu_id) }
    }

    pub(super) fn takes_gpu(&self, index: &str, uuid: Option<&str>) -> bool {
        self.gpu_id.as_ref().is_none_or(|wanted| wanted == index || Some(wanted.as_str()) == uuid)
    }
}

impl Model {
    /// The GPUs of a selection. A GPU that moved is found where it is now.
    ///
    /// # Errors
    /// [`Error::Unavailable`] before anything is known.
    pub fn sources(&self, selection: &Selection) -> Result<Vec<Source>> {
        let fleet = self.fleet()?;
        let mut sources = Vec::new();
        let clusters = fleet.clusters.range(between(None, selection.cluster_id.as_ref()));
        let hosts = clusters.flat_map(|(cluster, hosts)| {
            let hosts = hosts.range(between(None, selection.host_id.as_ref()));
            hosts.map(move |(host, machine)| (cluster, host, machine))
        });
        for (cluster, host, machine) in hosts {
            let gpus = machine
                .gpus()
                .values()
                .filter(|gpu| selection.takes_gpu(&gpu.identity.gpu_id, gpu.identity.uuid.as_deref()));
            sources.extend(gpus.map(|gpu| Source {
                id: gpu.identity.id,
                cluster_id: cluster.clone(),
                host_id: host.clone(),
                gpu_id: gpu.identity.gpu_id.clone(),
                uuid: gpu.identity.uuid.clone(),
                newest: gpu.last_seen,
            }));
        }
        Ok(sources)
    }

    /// The one GPU at this place or with this UUID; where an index was taken over by another GPU, the one that reported
    /// last.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is none.
    pub fn source(&self, cluster_id: &str, host_id: &str, gpu_id: &str) -> Result<Source> {
        let found = self.sources(&Selection::gpu(cluster_id, host_id, gpu_id))?;
        found
            .into_iter()
            .max_by_key(|source| (source.newest, source.id))
            .ok_or_else(|| no_gpu(cluster_id, host_id, gpu_id))
    }
}

/// From the name a cursor stands at, or from the one name that is wanted, on: whoever asks for one host walks over no other.
pub(super) fn between(first: Option<&str>, only: Option<&String>) -> (Bound<String>, Bound<String>) {
    let included = |name: &str| Bound::Included(name.to_owned());
    match (first, only) {
        (None, None) => (Bound::Unbounded, Bound::Unbounded),
        (Some(first), None) => (included(first), Bound::Unbounded),
        (None, Some(only)) => (included(only), included(only)),
        // A cursor behind the wanted name: nothing is left. The bounds must not cross.
        (Some(first), Some(only)) if first > only.as_str() => (included(first), Bound::Excluded(first.to_owned())),
        (Some(_), Some(only)) => (included(only), included(only)),
    }
}

pub(super) fn no_gpu(cluster_id: &str, host_id: &str, gpu_id: &str) -> Error {
    Error::NotFound(format!("no GPU {gpu_id:?} is known on host {host_id:?} of cluster {cluster_id:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_is_found_without_a_walk() {
        let names: std::collections::BTreeMap<String, ()> =
            ["a", "b", "c", "d"].into_iter().map(|name| (name.to_owned(), ())).collect();
        let found = |first: Option<&str>, only: Option<&str>| {
            let only = only.map(str::to_owned);
            names.range(between(first, only.as_ref())).map(|(name, ())| name.as_str()).collect::<String>()
        };
        assert_eq!(found(None, None), "abcd");
        assert_eq!(found(Some("c"), None), "cd");
        assert_eq!(found(None, Some("b")), "b");
        assert_eq!(found(Some("a"), Some("b")), "b");
        assert_eq!(found(Some("b"), Some("b")), "b");
        assert_eq!(found(Some("c"), Some("b")), "");
        assert_eq!(found(None, Some("x")), "");
    }
}
