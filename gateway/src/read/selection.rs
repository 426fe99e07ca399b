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
#[derive(Debug, Clone)]
pub struct Source {
    pub(super) id: i32,
    pub(super) cluster_id: String,
    pub(super) host_id: String,
    pub(super) gpu_id: String,
    pub(super) uuid: Option<String>,
    /// Of all its metrics.
    pub(super) newest: Option<Timestamp>,
}

impl Model {
    /// The GPUs of a selection. A GPU that moved is found where it is now.
    ///
    /// # Errors
    /// As PostgreSQL answers.
    pub async fn sources(&self, selection: &Selection) -> Result<Vec<Source>> {
        let Selection { cluster_id, host_id, gpu_id } = selection;
        let rows = self.query(include_str!("selection.sql"), &[cluster_id, host_id, gpu_id]).await?;
        rows.iter()
            .map(|row| {
                Ok(Source {
                    id: self.column(row, "id")?,
                    cluster_id: self.column(row, "cluster_id")?,
                    host_id: self.column(row, "host_id")?,
                    gpu_id: self.column(row, "gpu_id")?,
                    uuid: self.column(row, "uuid")?,
                    newest: self.column(row, "newest")?,
                })
            })
            .collect()
    }

    /// The one GPU at this place or with this UUID; where an index was taken over by another GPU, the one that reported
    /// last.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is none.
    pub async fn source(&self, cluster_id: &str, host_id: &str, gpu_id: &str) -> Result<Source> {
        let selection = Selection {
            cluster_id: Some(cluster_id.to_owned()),
            host_id: Some(host_id.to_owned()),
            gpu_id: Some(gpu_id.to_owned()),
        };
        let found = self.sources(&selection).await?;
        found
            .into_iter()
            .max_by_key(|source| (source.newest, source.id))
            .ok_or_else(|| no_gpu(cluster_id, host_id, gpu_id))
    }
}

pub(super) fn no_gpu(cluster_id: &str, host_id: &str, gpu_id: &str) -> Error {
    Error::NotFound(format!("no GPU {gpu_id:?} is known on host {host_id:?} of cluster {cluster_id:?}"))
}
