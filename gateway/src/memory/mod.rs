//! The newest values of every GPU, held in memory: seeded from PostgreSQL, kept by the live feed.

use std::sync::Arc;

use nexus_common::domain::{Metric, Timestamp};
use nexus_common::queue::Feed;

/// A cheap handle on the memory.
#[derive(Debug, Clone, Default)]
pub struct Memory(Arc<()>);

/// One GPU's newest values.
#[derive(Debug)]
pub struct Newest<'a> {
    /// The cluster's name.
    pub cluster_id: &'a str,
    /// The host's name.
    pub host_id: &'a str,
    /// The index on the host.
    pub gpu_id: &'a str,
    /// Where the source had one.
    pub uuid: Option<&'a str>,
    /// The newest time of all its values.
    pub timestamp: Timestamp,
    /// The values, each with its own time; the catalogue's first and in its order.
    pub values: Vec<(Metric, f64, Timestamp)>,
}

impl Memory {
    /// Merges what a feed says: per metric the newer value stands. Asks for a refresh where the feed speaks of a GPU that
    /// is not known yet, or left something out.
    pub fn take(&self, _cluster_id: &str, _feed: &Feed) {}

    /// The feed may be missing something (the watch broke, or started anew): refresh at once and then often, until
    /// [`Memory::trust`].
    pub fn distrust(&self) {}

    /// The feed tells everything from here on: refresh once more, then at leisure.
    pub fn trust(&self) {}

    /// Shows the GPUs with a value that are wanted (cluster, host, GPU index, UUID), by cluster, host and index.
    pub fn newest(&self, _wanted: &dyn Fn(&str, &str, &str, Option<&str>) -> bool, _show: &mut dyn FnMut(&Newest<'_>)) {
    }
}
