use super::{Model, Result};

/// How much there is: what a list that is not cut short would hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// Clusters.
    pub clusters: usize,
    /// Hosts of all clusters.
    pub hosts: usize,
    /// Hosts of the cluster that has the most.
    pub hosts_of_cluster: usize,
    /// GPUs of all hosts.
    pub gpus: usize,
    /// GPUs of the host that has the most.
    pub gpus_of_host: usize,
}

impl Model {
    /// How much is known.
    ///
    /// # Errors
    /// [`super::Error::Unavailable`] before anything is known.
    pub fn size(&self) -> Result<Size> {
        let fleet = self.fleet()?;
        let mut size = Size { clusters: fleet.clusters.len(), ..Size::default() };
        for hosts in fleet.clusters.values() {
            size.hosts += hosts.len();
            size.hosts_of_cluster = size.hosts_of_cluster.max(hosts.len());
            for machine in hosts.values() {
                // Those that should be there and never reported can be listed too.
                let gpus = machine.gpus().len() + machine.host().never_seen().len();
                size.gpus += gpus;
                size.gpus_of_host = size.gpus_of_host.max(gpus);
            }
        }
        Ok(size)
    }
}
