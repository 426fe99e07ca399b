//! Which hosts there are and what is on them: what clusters, hosts and figures are derived from.

use std::collections::{BTreeMap, BTreeSet};

use nexus_common::domain::{Status, Timestamp, expected_gpus, missing_gpus, most_common, whole_gpu};
use tokio_postgres::Row;

use super::{Model, Result};

/// The hosts of the clusters asked for, by cluster and host name. A cluster without hosts is there and empty.
pub(super) type Inventory = BTreeMap<String, BTreeMap<String, Machine>>;

/// One host with what its registry entries say together.
#[derive(Debug, Default)]
pub(super) struct Machine {
    /// The newest time of each place for a GPU. MIG instances share their GPU's place, and so do a GPU and the one that
    /// replaced it; a place whose name is no number is one of its own.
    places: BTreeMap<Place, Option<Timestamp>>,
    /// The model of most of its GPUs.
    model: Option<String>,
    /// How many GPUs it should have; see [`expect`].
    pub(super) expected: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Index(u32),
    Name(String),
}

/// An entry of the registry: index on the host, model, newest time.
type Entry = (Option<String>, Option<String>, Option<Timestamp>);

impl Machine {
    fn new(entries: impl IntoIterator<Item = Entry>) -> Self {
        let (mut places, mut models) = (BTreeMap::<Place, Option<Timestamp>>::new(), BTreeMap::<String, usize>::new());
        for (index, model, newest) in entries {
            let Some(index) = index else { continue };
            let place = whole_gpu(&index).map_or(Place::Name(index), Place::Index);
            let known = places.entry(place).or_default();
            *known = (*known).max(newest);
            if let Some(model) = model {
                *models.entry(model).or_default() += 1;
            }
        }
        let model = models.into_iter().max_by_key(|(_, times)| *times).map(|(model, _)| model);
        Machine { places, model, expected: 0 }
    }

    /// How many GPUs it has.
    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.places.len()).unwrap_or(u32::MAX)
    }

    fn indices(&self) -> BTreeSet<u32> {
        let numbers = self.places.keys().filter_map(|place| match place {
            Place::Index(index) => Some(*index),
            Place::Name(_) => None,
        });
        numbers.collect()
    }

    /// Indices it should have and has not. Places without a number cannot be told from those that are missing: then
    /// nothing is.
    pub(super) fn missing(&self) -> Vec<u32> {
        let numbered = self.places.keys().all(|place| matches!(place, Place::Index(_)));
        if numbered { missing_gpus(&self.indices(), self.expected) } else { Vec::new() }
    }

    /// The newest time of each of its GPUs.
    pub(super) fn times(&self) -> impl Iterator<Item = Option<Timestamp>> + '_ {
        self.places.values().copied()
    }

    pub(super) fn newest(&self) -> Option<Timestamp> {
        self.times().flatten().max()
    }

    /// Complete where no GPU is missing and none is silent.
    pub(super) fn status(&self, model: &Model, now: Timestamp) -> Status {
        let silent = self.times().any(|seen| seen.is_none_or(|seen| model.is_stale(seen, now)));
        Status::of(self.newest(), now, model.stale_after, !silent && self.missing().is_empty())
    }
}

/// Says of every host of one cluster how many GPUs it should have: as many as its highest index tells, and no fewer than
/// most hosts with the same GPU model have. A count above any index that can be true is no count.
fn expect(hosts: &mut BTreeMap<String, Machine>) {
    const MOST: u32 = 1024;
    let mut counts = BTreeMap::<Option<String>, Vec<u32>>::new();
    for host in hosts.values().filter(|host| host.count() > 0) {
        counts.entry(host.model.clone()).or_default().push(host.count());
    }
    for host in hosts.values_mut().filter(|host| host.count() > 0) {
        let usual = counts.get(&host.model).map_or(0, |counts| most_common(counts.iter().copied()));
        let believable = host.indices().into_iter().filter(|index| *index < MOST).collect();
        host.expected = expected_gpus(&believable, usual).max(host.count());
    }
}

impl Model {
    /// Of one cluster, or of all.
    pub(super) async fn inventory(&self, cluster_id: Option<&str>) -> Result<Inventory> {
        let rows = self.query(include_str!("inventory.sql"), &[&cluster_id]).await?;
        let mut inventory = Inventory::new();
        for row in &rows {
            let cluster = inventory.entry(self.column(row, "cluster_id")?).or_default();
            if let Some(host) = self.column::<Option<String>>(row, "host_id")? {
                cluster.insert(host, Machine::new(self.entries(row)?));
            }
        }
        inventory.values_mut().for_each(expect);
        Ok(inventory)
    }

    fn entries(&self, row: &Row) -> Result<Vec<Entry>> {
        let places: Vec<Option<String>> = self.column(row, "places")?;
        let models: Vec<Option<String>> = self.column(row, "models")?;
        let newest: Vec<Option<Timestamp>> = self.column(row, "newest")?;
        Ok(places.into_iter().zip(models).zip(newest).map(|((place, model), newest)| (place, model, newest)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(indices: &[&str], model: &str) -> Machine {
        Machine::new(indices.iter().map(|index| (Some((*index).to_owned()), Some(model.to_owned()), None)))
    }

    fn expected(hosts: Vec<Machine>) -> Vec<Machine> {
        let mut hosts = (0..).map(|n: u32| format!("host-{n:03}")).zip(hosts).collect();
        expect(&mut hosts);
        hosts.into_values().collect()
    }

    #[test]
    fn a_hole_is_missing() {
        let hosts = expected(vec![host(&["0", "1", "2", "3", "4", "5", "7"], "H100")]);
        assert_eq!((hosts[0].count(), hosts[0].expected, hosts[0].missing()), (7, 8, vec![6]));
    }

    #[test]
    fn the_others_of_a_model_show_what_is_usual() {
        let four = ["0", "1", "2", "3"];
        let hosts =
            expected(vec![host(&four, "H100"), host(&four, "H100"), host(&four[..3], "H100"), host(&four[..1], "L4")]);
        let missing: Vec<_> = hosts.iter().map(Machine::missing).collect();
        assert_eq!(missing, [vec![], vec![], vec![3], vec![]]);
    }

    #[test]
    fn mig_instances_and_replaced_gpus_share_a_place() {
        let hosts = expected(vec![host(&["0:1", "0:2", "1", "1"], "A100")]);
        assert_eq!((hosts[0].count(), hosts[0].expected, hosts[0].missing()), (2, 2, vec![]));
    }

    #[test]
    fn names_and_absurd_numbers_say_nothing() {
        let hosts = expected(vec![host(&["gpu-a", "7"], "A100")]);
        assert!(hosts[0].missing().is_empty());
        let hosts = expected(vec![host(&["4000000000"], "L4")]);
        assert_eq!(hosts[0].expected, 1);
    }

    #[test]
    fn an_empty_host_lacks_nothing() {
        let empty = Machine::new([(None, None, None)]);
        let hosts = expected(vec![empty, host(&["0", "1"], "H100")]);
        assert_eq!((hosts[0].count(), hosts[0].expected, hosts[0].missing()), (0, 0, vec![]));
    }
}
