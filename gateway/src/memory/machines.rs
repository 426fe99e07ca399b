//! The hosts of one cluster as the memory holds them. How their values are spread is worked out once for all who ask.

use std::collections::{BTreeMap, btree_map};
use std::ops::Deref;
use std::sync::Arc;

use nexus_common::domain::{Thresholds, Timestamp};

use super::health::Health;
use super::kept::Kept;
use super::machine::Machine;
use super::spread::{Spread, spread};

/// The hosts of one cluster, by name.
#[derive(Debug, Default)]
pub(crate) struct Machines {
    hosts: BTreeMap<String, Machine>,
    spread: Kept<Spread>,
}

impl Deref for Machines {
    type Target = BTreeMap<String, Machine>;

    fn deref(&self) -> &Self::Target {
        &self.hosts
    }
}

impl<'a> IntoIterator for &'a Machines {
    type Item = (&'a String, &'a Machine);
    type IntoIter = btree_map::Iter<'a, String, Machine>;

    fn into_iter(self) -> Self::IntoIter {
        self.hosts.iter()
    }
}

impl Machines {
    /// How each host is now.
    pub(crate) fn healths(&self, now: Timestamp, thresholds: &Thresholds) -> Vec<Arc<Health>> {
        self.hosts.values().map(|machine| machine.health(now, thresholds)).collect()
    }

    /// How the newest values are spread over the GPUs.
    pub(crate) fn spread(&self, now: Timestamp, thresholds: &Thresholds) -> Arc<Spread> {
        self.spread.at(now, || spread(&self.hosts, now, thresholds.stale_after))
    }

    /// The hosts, to be changed.
    pub(super) fn change(&mut self) -> &mut BTreeMap<String, Machine> {
        self.spread.forget();
        &mut self.hosts
    }
}
