//! A host and the GPUs it has and should have.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Timestamp, expected_gpus, is_silent, missing_gpus, most_common, whole_gpu};

/// One host with what its registry entries say together.
#[derive(Debug, Clone, Default)]
pub struct Host {
    /// The newest time of each place for a GPU. MIG instances share their GPU's place, and so do a GPU and the one that
    /// replaced it; a place whose name is no number is one of its own.
    places: BTreeMap<Place, Option<Timestamp>>,
    /// The newest time at each index, as it is written.
    indices: BTreeMap<String, Option<Timestamp>>,
    /// The model of most of its GPUs.
    model: Option<String>,
    /// How many GPUs it should have; see [`expect`].
    expected: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Index(u32),
    Name(String),
}

impl Place {
    fn of(gpu_id: &str) -> Place {
        whole_gpu(gpu_id).map_or_else(|| Place::Name(gpu_id.to_owned()), Place::Index)
    }
}

impl Host {
    /// From its entries: index on the host, model, newest time.
    pub fn new<'a>(entries: impl IntoIterator<Item = (&'a str, Option<&'a str>, Option<Timestamp>)>) -> Self {
        let (mut host, mut models) = (Host::default(), BTreeMap::<&str, usize>::new());
        for (index, model, newest) in entries {
            let here = host.places.entry(Place::of(index)).or_default();
            *here = (*here).max(newest);
            let here = host.indices.entry(index.to_owned()).or_default();
            *here = (*here).max(newest);
            if let Some(model) = model {
                *models.entry(model).or_default() += 1;
            }
        }
        host.model = models.into_iter().max_by_key(|(_, times)| *times).map(|(model, _)| model.to_owned());
        host
    }

    /// A value of one of its GPUs was read at this time. `false`: no place of this name is known.
    pub fn seen(&mut self, gpu_id: &str, at: Timestamp) -> bool {
        let Some(newest) = self.places.get_mut(&Place::of(gpu_id)) else { return false };
        *newest = (*newest).max(Some(at));
        if let Some(newest) = self.indices.get_mut(gpu_id) {
            *newest = (*newest).max(Some(at));
        }
        true
    }

    /// How many GPUs it has or had.
    pub fn count(&self) -> u32 {
        u32::try_from(self.places.len()).unwrap_or(u32::MAX)
    }

    /// How many it should have: see [`expect`].
    pub fn expected(&self) -> u32 {
        self.expected
    }

    fn numbers(&self) -> BTreeSet<u32> {
        let numbers = self.places.keys().filter_map(|place| match place {
            Place::Index(index) => Some(*index),
            Place::Name(_) => None,
        });
        numbers.collect()
    }

    /// Indices it should have and that never reported. Places without a number cannot be told from those that are
    /// missing: then nothing is.
    pub fn never_seen(&self) -> Vec<u32> {
        let numbered = self.places.keys().all(|place| matches!(place, Place::Index(_)));
        if numbered { missing_gpus(&self.numbers(), self.expected) } else { Vec::new() }
    }

    /// Whether a GPU last read at `seen` is missing: others of this host went on for longer than `stale_after`.
    pub fn went_on_without(&self, seen: Timestamp, stale_after: Duration) -> bool {
        self.newest().is_some_and(|newest| is_silent(seen, newest, stale_after))
    }

    /// Everything that is missing: what never reported, and what the host went on without. Written as the indices are.
    pub fn missing(&self, stale_after: Duration) -> Vec<String> {
        let gone = self.places.iter().filter(|(_, seen)| seen.is_some_and(|at| self.went_on_without(at, stale_after)));
        let gone = gone.map(|(place, _)| place.clone());
        let all: BTreeSet<_> = gone.chain(self.never_seen().into_iter().map(Place::Index)).collect();
        all.into_iter()
            .map(|place| match place {
                Place::Index(index) => index.to_string(),
                Place::Name(name) => name,
            })
            .collect()
    }

    /// The newest time of each of its GPUs.
    pub fn times(&self) -> impl Iterator<Item = Option<Timestamp>> + '_ {
        self.places.values().copied()
    }

    /// Whether a GPU last read at `seen` is no more, so that nothing can be the matter with it: a newer one has its index,
    /// or its place goes on without it, because a GPU was cut into MIG instances, otherwise, or back into one.
    ///
    /// Instances report side by side, and not at the very same time: only what its place went on without for half of
    /// `stale_after` is gone. That is before anybody would call it stale.
    pub fn is_replaced(&self, gpu_id: &str, seen: Option<Timestamp>, stale_after: Duration) -> bool {
        let at_index = self.indices.get(gpu_id).copied().flatten();
        let at_place = self.places.get(&Place::of(gpu_id)).copied().flatten();
        match (seen, at_place) {
            (Some(seen), Some(newest)) => at_index > Some(seen) || is_silent(seen, newest, stale_after / 2),
            (None, newest) => newest.is_some(),
            (Some(_), None) => false,
        }
    }

    /// The newest time of all.
    pub fn newest(&self) -> Option<Timestamp> {
        self.times().flatten().max()
    }
}

/// Says of every host of one cluster how many GPUs it should have: as many as its highest index tells, and no fewer than
/// most hosts with the same GPU model have. A count above any index that can be true is no count.
pub fn expect<'a>(hosts: impl IntoIterator<Item = &'a mut Host>) {
    const MOST: u32 = 1024;
    let mut hosts: Vec<&mut Host> = hosts.into_iter().filter(|host| host.count() > 0).collect();
    let mut counts = BTreeMap::<Option<String>, Vec<u32>>::new();
    for host in &hosts {
        counts.entry(host.model.clone()).or_default().push(host.count());
    }
    let usual: BTreeMap<_, u32> = counts.into_iter().map(|(model, counts)| (model, most_common(counts))).collect();
    for host in &mut hosts {
        let usual = usual.get(&host.model).copied().unwrap_or(0);
        let believable = host.numbers().into_iter().filter(|index| *index < MOST).collect();
        host.expected = expected_gpus(&believable, usual).max(host.count());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(indices: &[&str], model: &str) -> Host {
        Host::new(indices.iter().map(|index| (*index, Some(model), None)))
    }

    fn expected(mut hosts: Vec<Host>) -> Vec<Host> {
        expect(&mut hosts);
        hosts
    }

    #[test]
    fn a_hole_is_missing() {
        let hosts = expected(vec![host(&["0", "1", "2", "3", "4", "5", "7"], "H100")]);
        assert_eq!((hosts[0].count(), hosts[0].expected(), hosts[0].never_seen()), (7, 8, vec![6]));
    }

    #[test]
    fn the_others_of_a_model_show_what_is_usual() {
        let four = ["0", "1", "2", "3"];
        let hosts =
            expected(vec![host(&four, "H100"), host(&four, "H100"), host(&four[..3], "H100"), host(&four[..1], "L4")]);
        let missing: Vec<_> = hosts.iter().map(Host::never_seen).collect();
        assert_eq!(missing, [vec![], vec![], vec![3], vec![]]);
    }

    #[test]
    fn mig_instances_and_replaced_gpus_share_a_place() {
        let hosts = expected(vec![host(&["0:1", "0:2", "1", "1"], "A100")]);
        assert_eq!((hosts[0].count(), hosts[0].expected(), hosts[0].never_seen()), (2, 2, vec![]));
    }

    #[test]
    fn names_and_absurd_numbers_say_nothing() {
        let hosts = expected(vec![host(&["gpu-a", "7"], "A100")]);
        assert!(hosts[0].never_seen().is_empty());
        let hosts = expected(vec![host(&["4000000000"], "L4")]);
        assert_eq!(hosts[0].expected(), 1);
    }

    #[test]
    fn an_empty_host_lacks_nothing() {
        let hosts = expected(vec![Host::default(), host(&["0", "1"], "H100")]);
        assert_eq!((hosts[0].count(), hosts[0].expected(), hosts[0].never_seen()), (0, 0, vec![]));
    }

    #[test]
    fn a_gpu_with_another_in_its_place_is_replaced() {
        let second = 1_000_000;
        let at = |seconds: i64| Some(Timestamp(seconds * second));
        let entries = [("0", at(0)), ("0:1", at(151)), ("1:1", at(0)), ("1:2", at(150)), ("2", None), ("2", at(9))];
        let mut host = Host::new(entries.map(|(index, seen)| (index, None, seen)));
        let replaced = |host: &Host, index, seen| host.is_replaced(index, seen, Duration::from_secs(300));
        assert!(replaced(&host, "0", at(0)), "cut into instances");
        assert!(!replaced(&host, "0:1", at(151)));
        assert!(!replaced(&host, "1:1", at(0)), "instances report side by side");
        assert!(replaced(&host, "2", at(8)) && replaced(&host, "2", None), "a newer one has its index");
        assert!(!replaced(&host, "2", at(9)) && !replaced(&host, "3", None) && !replaced(&host, "3", at(0)));
        host.seen("0", Timestamp(302 * second));
        assert!(replaced(&host, "0:1", at(151)) && !replaced(&host, "0", at(302)), "and back into one");
    }

    #[test]
    fn a_gpu_that_its_host_goes_on_without_is_missing() {
        let minute = 60_000_000;
        let mut host = Host::new([("0", None, Some(Timestamp(0))), ("1", None, Some(Timestamp(0)))]);
        expect([&mut host]);
        let missing = |host: &Host| host.missing(Duration::from_secs(300));
        assert!(host.seen("1", Timestamp(5 * minute)) && !host.seen("2", Timestamp(0)));
        assert!(missing(&host).is_empty());
        host.seen("1", Timestamp(6 * minute));
        assert_eq!(missing(&host), ["0"]);
        host.seen("0", Timestamp(6 * minute));
        assert!(missing(&host).is_empty());
    }
}
