//! How a cluster or a host is, derived from what was reported and never from a constant.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Timestamp;

/// The state of a cluster, a host or a GPU, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// Everything that is expected reports, and lately.
    Ok,
    /// It reports, but a part of it is missing or silent.
    Degraded,
    /// Its newest value is older than the time a value may take.
    Stale,
    /// Nothing was ever reported.
    Empty,
}

impl Status {
    /// The lower-case word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::Degraded => "degraded",
            Status::Stale => "stale",
            Status::Empty => "empty",
        }
    }

    /// From the newest value's time and from whether every part is there. A replay of old rows is rightly stale.
    pub fn of(newest: Option<Timestamp>, now: Timestamp, stale_after: Duration, complete: bool) -> Status {
        match newest {
            None => Status::Empty,
            Some(newest) if is_silent(newest, now, stale_after) => Status::Stale,
            Some(_) if !complete => Status::Degraded,
            Some(_) => Status::Ok,
        }
    }
}

/// Nothing newer than `seen` came for longer than `stale_after`, at the time `at`.
pub fn is_silent(seen: Timestamp, at: Timestamp, stale_after: Duration) -> bool {
    let after = i64::try_from(stale_after.as_micros()).unwrap_or(i64::MAX);
    at.0.saturating_sub(seen.0) > after
}

/// How many GPUs a host should have: as many as its highest index says, and no fewer than most hosts with the same
/// GPU model have (`usual`, see [`most_common`]). Indices that are no numbers say nothing.
pub fn expected_gpus(indices: &BTreeSet<u32>, usual: u32) -> u32 {
    indices.last().map_or(0, |highest| highest.saturating_add(1)).max(usual)
}

/// The GPUs a host should have and has not, of which `present` report.
pub fn missing_gpus(present: &BTreeSet<u32>, expected: u32) -> Vec<u32> {
    (0..expected).filter(|index| !present.contains(index)).collect()
}

/// The count that occurs most often; of several the smallest, so that two kinds of host in equal number make nobody
/// incomplete.
pub fn most_common(counts: impl IntoIterator<Item = u32>) -> u32 {
    let mut seen = BTreeMap::<u32, u32>::new();
    for count in counts {
        *seen.entry(count).or_default() += 1;
    }
    seen.into_iter().max_by_key(|&(count, times)| (times, std::cmp::Reverse(count))).map_or(0, |(count, _)| count)
}

/// The GPU's index on its host; of a MIG instance ("0:3") that of the GPU it is a part of.
pub fn whole_gpu(gpu_id: &str) -> Option<u32> {
    gpu_id.split_once(':').map_or(gpu_id, |(gpu, _)| gpu).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(300);

    fn set(indices: impl IntoIterator<Item = u32>) -> BTreeSet<u32> {
        indices.into_iter().collect()
    }

    #[test]
    fn a_status_is_derived() {
        let now = Timestamp::from_millis(1_000_000);
        let ago = |seconds: i64| Some(now.shifted(-seconds * 1_000_000));
        assert_eq!(Status::of(None, now, LIMIT, true), Status::Empty);
        assert_eq!(Status::of(ago(300), now, LIMIT, true), Status::Ok);
        assert_eq!(Status::of(ago(301), now, LIMIT, true), Status::Stale);
        assert_eq!(Status::of(ago(1), now, LIMIT, false), Status::Degraded);
        assert_eq!(Status::of(ago(-60), now, LIMIT, true), Status::Ok, "a clock that runs ahead is no fault");
    }

    #[test]
    fn a_hole_in_the_indices_is_a_missing_gpu() {
        let host = set([0, 1, 2, 3, 4, 5, 7]);
        assert_eq!(missing_gpus(&host, expected_gpus(&host, 0)), [6]);
    }

    #[test]
    fn a_missing_last_gpu_shows_by_the_other_hosts() {
        let host = set(0..7);
        assert_eq!(missing_gpus(&host, expected_gpus(&host, most_common([8, 8, 7]))), [7]);
        assert_eq!(missing_gpus(&host, expected_gpus(&host, most_common([7, 8]))), [0u32; 0]);
        let larger = set(0..16);
        assert_eq!(missing_gpus(&larger, expected_gpus(&larger, 8)), [0u32; 0]);
    }

    #[test]
    fn a_mig_instance_is_a_part_of_its_gpu() {
        assert_eq!(whole_gpu("0:3"), Some(0));
        assert_eq!(whole_gpu("12"), Some(12));
        assert_eq!(whole_gpu("gpu-a"), None);
    }
}
