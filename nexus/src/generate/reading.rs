//! What one GPU reports at one moment: pure arithmetic over the seed and the time.

use super::Options;
use super::fleet::{Gpu, Story};

/// Memory of the model, in MiB, as `FB_USED` and `FB_FREE` share it.
const MEMORY_MIB: f64 = 81_007.0;

/// Jobs last about this long, in seconds.
const JOB_SECONDS: u64 = 1_800;

/// One GPU at one moment.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) utilization: f64,
    pub(super) memory_utilization: f64,
    pub(super) temperature: f64,
    pub(super) power: f64,
    pub(super) sm_clock: f64,
    pub(super) memory_clock: f64,
    pub(super) memory_used: f64,
    pub(super) memory_free: f64,
    xid: f64,
    dbe: f64,
    energy: f64,
}

/// A metric of the long form: DCGM's name, its value, and the decimals it is printed with.
pub(super) type Metric = (&'static str, fn(&Reading) -> f64, usize);

/// In the order `--metrics` takes them.
pub(super) const METRICS: [Metric; 26] = [
    ("DCGM_FI_DEV_GPU_UTIL", |r| r.utilization, 0),
    ("DCGM_FI_DEV_MEM_COPY_UTIL", |r| r.memory_utilization, 0),
    ("DCGM_FI_DEV_GPU_TEMP", |r| r.temperature, 0),
    ("DCGM_FI_DEV_MEMORY_TEMP", |r| r.temperature + 6.0, 0),
    ("DCGM_FI_DEV_POWER_USAGE", |r| r.power, 3),
    ("DCGM_FI_DEV_SM_CLOCK", |r| r.sm_clock, 0),
    ("DCGM_FI_DEV_MEM_CLOCK", |r| r.memory_clock, 0),
    ("DCGM_FI_DEV_FB_USED", |r| r.memory_used, 0),
    ("DCGM_FI_DEV_FB_FREE", |r| r.memory_free, 0),
    ("DCGM_FI_DEV_XID_ERRORS", |r| r.xid, 0),
    ("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", |r| r.energy, 0),
    ("DCGM_FI_DEV_PCIE_REPLAY_COUNTER", |_| 0.0, 0),
    ("DCGM_FI_DEV_ENC_UTIL", |_| 0.0, 0),
    ("DCGM_FI_DEV_DEC_UTIL", |_| 0.0, 0),
    ("DCGM_FI_DEV_FB_RESERVED", |_| 552.0, 0),
    ("DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL", |r| r.utilization * 1_234.0, 0),
    ("DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS", |r| r.dbe, 0),
    ("DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS", |_| 0.0, 0),
    ("DCGM_FI_DEV_ROW_REMAP_FAILURE", |_| 0.0, 0),
    ("DCGM_FI_DEV_ECC_DBE_VOL_TOTAL", |r| r.dbe, 0),
    ("DCGM_FI_PROF_GR_ENGINE_ACTIVE", |r| r.utilization / 100.0, 6),
    ("DCGM_FI_PROF_SM_ACTIVE", |r| r.utilization / 125.0, 6),
    ("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", |r| r.utilization / 250.0, 6),
    ("DCGM_FI_PROF_DRAM_ACTIVE", |r| r.memory_utilization / 100.0, 6),
    ("DCGM_FI_PROF_PCIE_TX_BYTES", |r| r.utilization * 1.5e7, 0),
    ("DCGM_FI_PROF_PCIE_RX_BYTES", |r| r.utilization * 2.1e7, 0),
];

impl Reading {
    /// The GPU at `epoch` seconds, which is `second` of the time the fleet is watched.
    pub(super) fn new(options: &Options, gpu: &Gpu, epoch: i64, second: u32) -> Reading {
        let epoch = u64::try_from(epoch).unwrap_or_default();
        let now = mix(gpu.seed ^ mix(epoch));
        let (noise, noise2) = (unit(now), unit(mix(now)));
        // Jobs start at other times on other GPUs, more of them by day than by night.
        let job = (epoch + gpu.seed % JOB_SECONDS) / JOB_SECONDS;
        let job_seed = mix(gpu.seed ^ mix(!job));
        let works = match gpu.story {
            Story::Hot => true,
            Story::IdleAllocated => false,
            Story::Worker | Story::Failing => unit(job_seed) < 0.3 + 0.6 * daytime(epoch),
        };
        let utilization = if works { (84.0 + 17.0 * noise).floor() } else { 0.0 };
        let memory_used = match gpu.story {
            Story::IdleAllocated => 68_412.0,
            _ if works => (52_000.0 + 24_000.0 * unit(mix(job_seed)) + 500.0 * noise2).floor(),
            _ => 4.0 + (gpu.seed % 5) as f64,
        };
        let holds_memory = memory_used > 1_024.0;
        let place = (gpu.seed % 7) as f64;
        let too_hot = if gpu.story == Story::Hot { 11.0 } else { 0.0 };
        let failed = gpu.story == Story::Failing && u64::from(second) * 5 >= u64::from(options.seconds) * 2;
        Reading {
            utilization,
            memory_utilization: (utilization * (0.3 + 0.3 * noise2)).floor(),
            temperature: (31.0 + place + utilization * 0.36 + 3.0 * noise2 + too_hot).floor(),
            power: 68.0 + place + utilization * 5.4 + 20.0 * noise + if holds_memory { 45.0 } else { 0.0 },
            sm_clock: if holds_memory { 1_980.0 - (noise * 4.0).floor() * 15.0 } else { 345.0 },
            memory_clock: 2_619.0,
            memory_used,
            memory_free: MEMORY_MIB - memory_used,
            xid: if failed { 48.0 } else { 0.0 },
            dbe: if failed { 1.0 } else { 0.0 },
            // 300 W since 2025, so that it only grows.
            energy: epoch.saturating_sub(1_735_689_600) as f64 * 300_000.0 + (noise * 1_000.0).floor(),
        }
    }
}

/// How much of a working day it is: 0 at three in the night, 1 at three in the afternoon, UTC.
fn daytime(epoch: u64) -> f64 {
    let hours = (epoch % 86_400) as f64 / 3_600.0;
    let from_peak = (hours - 15.0).abs();
    1.0 - from_peak.min(24.0 - from_peak) / 12.0
}

/// SplitMix64's finalizer: neighbouring numbers become unrelated ones.
pub(super) fn mix(number: u64) -> u64 {
    let z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// From 0 up to, but not including, 1.
fn unit(random: u64) -> f64 {
    (random >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use nexus_common::domain::Metric as Catalogued;

    use super::super::fleet::Fleet;
    use super::*;

    /// A day, every quarter of an hour.
    fn day(visit: impl Fn(&Gpu, u32, &Reading)) {
        let options = Options { seconds: 86_400, ..Options::default() };
        for gpu in &Fleet::new(&options).gpus {
            for second in (0..options.seconds).step_by(900) {
                let epoch = options.start.as_second() + i64::from(second);
                visit(gpu, second, &Reading::new(&options, gpu, epoch, second));
            }
        }
    }

    #[test]
    fn every_value_is_one_the_catalogue_believes() {
        day(|_, _, reading| {
            for (name, value, _) in METRICS {
                let metric = Catalogued::known(name).unwrap_or_else(|| panic!("{name} is not in the catalogue"));
                assert_eq!(metric.refusal(value(reading)), None);
            }
            assert_eq!(reading.memory_used + reading.memory_free, MEMORY_MIB);
        });
    }

    #[test]
    fn the_stories_are_in_the_numbers() {
        day(|gpu, second, reading| match gpu.story {
            Story::Hot => assert!(reading.temperature > 70.0, "{reading:?}"),
            Story::IdleAllocated => assert!(reading.utilization == 0.0 && reading.memory_used > 1_024.0),
            Story::Failing => assert_eq!(reading.xid, if second < 34_560 { 0.0 } else { 48.0 }),
            Story::Worker => assert!(reading.temperature <= 80.0, "{reading:?}"),
        });
    }

    #[test]
    fn there_is_more_work_by_day() {
        let options = Options { hosts: 200, ..Options::default() };
        let fleet = Fleet::new(&options);
        let busy = |hour: i64| {
            let epoch = options.start.as_second() + (hour - 8) * 3_600;
            fleet.gpus.iter().filter(|gpu| Reading::new(&options, gpu, epoch, 0).utilization > 0.0).count()
        };
        assert!(busy(15) > busy(3) * 3 / 2, "{} by day, {} by night", busy(15), busy(3));
    }
}
