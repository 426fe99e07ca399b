//! The GPUs of the fleet, and which of them have a story.

use super::Options;
use super::reading::mix;

/// The hosts' GPUs, in the order a scrape reads them.
#[derive(Debug)]
pub(super) struct Fleet {
    pub(super) gpus: Vec<Gpu>,
}

/// One GPU, with what every row repeats of it.
#[derive(Debug)]
pub(super) struct Gpu {
    /// Where its numbers come from.
    pub(super) seed: u64,
    pub(super) story: Story,
    pub(super) host: String,
    pub(super) index: u32,
    pub(super) uuid: String,
    /// Who holds it, where somebody does: pod, namespace, container.
    pub(super) holder: Option<(String, &'static str, &'static str)>,
}

/// What is told about a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Story {
    /// Jobs come and go.
    Worker,
    /// Works all the time and gets too hot.
    Hot,
    /// Memory held, nothing run.
    IdleAllocated,
    /// Reports a double-bit ECC error (XID 48) from two fifths of the time on.
    Failing,
}

pub(super) const MODEL: &str = "NVIDIA H100 80GB HBM3";
pub(super) const DRIVER: &str = "535.129.03";

impl Fleet {
    pub(super) fn new(options: &Options) -> Fleet {
        let mut gpus = Vec::new();
        for host in 0..options.hosts {
            for index in 0..options.gpus {
                if !is_missing(options, host, index) {
                    gpus.push(gpu(options, host, index));
                }
            }
        }
        Fleet { gpus }
    }
}

/// The last host lacks its index 6, or its last one where it has fewer.
fn is_missing(options: &Options, host: u32, index: u32) -> bool {
    options.gpus > 1 && host == options.hosts - 1 && index == 6.min(options.gpus - 1)
}

fn gpu(options: &Options, host: u32, index: u32) -> Gpu {
    let seed = mix(mix(options.seed) ^ (u64::from(host) << 32 | u64::from(index)));
    let story = match (host, index) {
        (host, 3) if host == 1 % options.hosts => Story::Hot,
        (host, 1) if host == 2 % options.hosts => Story::IdleAllocated,
        (0, 5) => Story::Failing,
        _ => Story::Worker,
    };
    let holder = match story {
        Story::IdleAllocated => Some((format!("notebook-{}", seed % 90 + 10), "research", "jupyter")),
        _ if seed.is_multiple_of(4) => None,
        _ => Some((format!("train-{}-{index}", seed % 90 + 10), "training", "worker")),
    };
    let (high, low) = (mix(seed ^ 1), mix(seed ^ 2));
    let uuid = format!(
        "GPU-{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    );
    Gpu { seed, story, host: format!("host-{:03}", host + 1), index, uuid, holder }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fleet_has_every_story_and_a_gap() {
        let fleet = Fleet::new(&Options::default());
        assert_eq!(fleet.gpus.len(), 31);
        for story in [Story::Hot, Story::IdleAllocated, Story::Failing] {
            assert_eq!(fleet.gpus.iter().filter(|gpu| gpu.story == story).count(), 1, "{story:?}");
        }
        let last: Vec<u32> = fleet.gpus.iter().filter(|gpu| gpu.host == "host-004").map(|gpu| gpu.index).collect();
        assert_eq!(last, [0, 1, 2, 3, 4, 5, 7]);
    }

    #[test]
    fn uuids_are_unique() {
        let fleet = Fleet::new(&Options { hosts: 500, ..Options::default() });
        let unique: std::collections::HashSet<&str> = fleet.gpus.iter().map(|gpu| gpu.uuid.as_str()).collect();
        assert_eq!(unique.len(), fleet.gpus.len());
    }
}
