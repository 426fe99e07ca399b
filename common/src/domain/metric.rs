//! The metric catalogue: one table that drives the parsers, the writer, the API and the pages.
//!
//! Names and units follow the DCGM exporter's default counter set and the field identifiers of NVIDIA's DCGM.
//! A metric outside the catalogue is not lost: it travels and is stored under the name it came with
//! (see [`Metric::Other`]).

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

/// How a metric's numbers behave over time, which decides what may be done with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Goes up and down: averages make sense.
    Gauge,
    /// Only grows until a reset: rates make sense, averages do not.
    Counter,
    /// A code or a bit mask: only the last value and its changes make sense.
    Code,
    /// 0 or 1.
    Flag,
}

impl Kind {
    /// The lower-case word the API and the `metrics` table use.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
            Kind::Code => "code",
            Kind::Flag => "flag",
        }
    }
}

/// One metric of the catalogue.
#[derive(Debug)]
pub struct Definition {
    /// The name everywhere in Nexus: message key, database column and API field.
    pub name: &'static str,
    /// The DCGM field, as the exporter names it.
    pub dcgm: &'static str,
    /// The unit of a value, in words a chart can print; empty for a pure number.
    pub unit: &'static str,
    /// How the numbers behave.
    pub kind: Kind,
    /// Other names in CSV headers and queries, lower case; the `nvidia-smi` query field among them.
    pub aliases: &'static [&'static str],
    /// The values that can be true, inclusive. A value outside is refused as a dead letter.
    pub range: (f64, f64),
    /// One line for people.
    pub help: &'static str,
}

const ANY: (f64, f64) = (0.0, 9.007_199_254_740_992e15);
const PERCENT: (f64, f64) = (0.0, 100.0);
const RATIO: (f64, f64) = (0.0, 1.0);
const CELSIUS: (f64, f64) = (-50.0, 200.0);
const WATTS: (f64, f64) = (0.0, 10_000.0);
const FLAG: (f64, f64) = (0.0, 1.0);

const fn gauge(
    name: &'static str,
    dcgm: &'static str,
    unit: &'static str,
    aliases: &'static [&'static str],
    range: (f64, f64),
    help: &'static str,
) -> Definition {
    Definition { name, dcgm, unit, kind: Kind::Gauge, aliases, range, help }
}

const fn counter(
    name: &'static str,
    dcgm: &'static str,
    unit: &'static str,
    aliases: &'static [&'static str],
    help: &'static str,
) -> Definition {
    Definition { name, dcgm, unit, kind: Kind::Counter, aliases, range: ANY, help }
}

const fn code(
    name: &'static str,
    dcgm: &'static str,
    aliases: &'static [&'static str],
    help: &'static str,
) -> Definition {
    Definition { name, dcgm, unit: "", kind: Kind::Code, aliases, range: ANY, help }
}

const fn flag(
    name: &'static str,
    dcgm: &'static str,
    aliases: &'static [&'static str],
    help: &'static str,
) -> Definition {
    Definition { name, dcgm, unit: "", kind: Kind::Flag, aliases, range: FLAG, help }
}

/// Number of metrics in the catalogue.
pub const METRICS: usize = CATALOGUE.len();

/// Every metric that has a column of its own, in column order.
///
/// To add one: a line here, and a migration that adds the column to `samples` and the pair `name`, `name_at` to
/// `gpu_latest`. A test compares this table with a migrated database.
pub static CATALOGUE: [Definition; 37] = [
    gauge(
        "gpu_utilization",
        "DCGM_FI_DEV_GPU_UTIL",
        "%",
        &["gpu_util", "utilization.gpu", "utilization"],
        PERCENT,
        "Share of time some kernel ran; says nothing about how much of the GPU it used",
    ),
    gauge(
        "memory_utilization",
        "DCGM_FI_DEV_MEM_COPY_UTIL",
        "%",
        &["mem_copy_util", "mem_util", "utilization.memory"],
        PERCENT,
        "Share of time device memory was read or written",
    ),
    gauge(
        "encoder_utilization",
        "DCGM_FI_DEV_ENC_UTIL",
        "%",
        &["enc_util", "utilization.encoder"],
        PERCENT,
        "Video encoder utilisation",
    ),
    gauge(
        "decoder_utilization",
        "DCGM_FI_DEV_DEC_UTIL",
        "%",
        &["dec_util", "utilization.decoder"],
        PERCENT,
        "Video decoder utilisation",
    ),
    gauge(
        "memory_used_mib",
        "DCGM_FI_DEV_FB_USED",
        "MiB",
        &["fb_used", "memory_used_mb", "memory_used", "memory.used"],
        ANY,
        "Framebuffer memory in use",
    ),
    gauge(
        "memory_free_mib",
        "DCGM_FI_DEV_FB_FREE",
        "MiB",
        &["fb_free", "memory_free_mb", "memory_free", "memory.free"],
        ANY,
        "Framebuffer memory free",
    ),
    gauge(
        "memory_reserved_mib",
        "DCGM_FI_DEV_FB_RESERVED",
        "MiB",
        &["fb_reserved", "memory_reserved_mb", "memory.reserved"],
        ANY,
        "Framebuffer memory reserved by the driver",
    ),
    gauge(
        "memory_total_mib",
        "DCGM_FI_DEV_FB_TOTAL",
        "MiB",
        &["fb_total", "memory_total_mb", "memory_total", "memory.total"],
        ANY,
        "Framebuffer memory installed",
    ),
    gauge(
        "temperature_celsius",
        "DCGM_FI_DEV_GPU_TEMP",
        "°C",
        &["gpu_temp", "temperature", "temperature_c", "temperature.gpu", "temp"],
        CELSIUS,
        "GPU temperature",
    ),
    gauge(
        "memory_temperature_celsius",
        "DCGM_FI_DEV_MEMORY_TEMP",
        "°C",
        &["memory_temp", "memory_temperature", "temperature.memory"],
        CELSIUS,
        "Memory temperature",
    ),
    gauge(
        "power_watts",
        "DCGM_FI_DEV_POWER_USAGE",
        "W",
        &["power_usage", "power_draw", "power_draw_w", "power.draw", "power"],
        WATTS,
        "Power drawn",
    ),
    gauge(
        "power_limit_watts",
        "DCGM_FI_DEV_POWER_MGMT_LIMIT",
        "W",
        &["power_limit", "power.limit"],
        WATTS,
        "Power management limit",
    ),
    counter(
        "energy_millijoules",
        "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",
        "mJ",
        &["total_energy_consumption", "energy"],
        "Energy used since the driver was loaded",
    ),
    gauge(
        "sm_clock_mhz",
        "DCGM_FI_DEV_SM_CLOCK",
        "MHz",
        &["sm_clock", "clocks.sm", "clocks.current.sm"],
        ANY,
        "SM clock",
    ),
    gauge(
        "memory_clock_mhz",
        "DCGM_FI_DEV_MEM_CLOCK",
        "MHz",
        &["mem_clock", "memory_clock", "clocks.mem", "clocks.current.memory"],
        ANY,
        "Memory clock",
    ),
    gauge(
        "fan_speed",
        "DCGM_FI_DEV_FAN_SPEED",
        "%",
        &["fan.speed"],
        (0.0, 200.0),
        "Fan speed, of its intended maximum",
    ),
    code("performance_state", "DCGM_FI_DEV_PSTATE", &["pstate"], "Performance state: 0 is the fastest"),
    code(
        "clock_event_reasons",
        "DCGM_FI_DEV_CLOCK_THROTTLE_REASONS",
        &[
            "clock_throttle_reasons",
            "dcgm_fi_dev_clocks_event_reasons",
            "clocks_throttle_reasons.active",
            "clocks_event_reasons.active",
        ],
        "Bit mask of why clocks are held back: 4 software power cap, 8 hardware slowdown, 0x20 software thermal, 0x40 hardware thermal, 0x80 power brake",
    ),
    code("xid", "DCGM_FI_DEV_XID_ERRORS", &["xid_errors", "xid_error"], "The last XID error code; sticky"),
    counter("pcie_replays", "DCGM_FI_DEV_PCIE_REPLAY_COUNTER", "", &["pcie_replay_counter"], "PCIe replays"),
    gauge(
        "pcie_tx_bytes_per_second",
        "DCGM_FI_PROF_PCIE_TX_BYTES",
        "B/s",
        &["pcie_tx_bytes"],
        ANY,
        "PCIe traffic sent",
    ),
    gauge(
        "pcie_rx_bytes_per_second",
        "DCGM_FI_PROF_PCIE_RX_BYTES",
        "B/s",
        &["pcie_rx_bytes"],
        ANY,
        "PCIe traffic received",
    ),
    counter(
        "nvlink_bandwidth_total",
        "DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL",
        "",
        &[],
        "NVLink bandwidth counter over all lanes",
    ),
    code("vgpu_license_status", "DCGM_FI_DEV_VGPU_LICENSE_STATUS", &["vgpu_license"], "vGPU licence status"),
    counter(
        "remapped_rows_uncorrectable",
        "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS",
        "",
        &["uncorrectable_remapped_rows"],
        "Memory rows remapped for uncorrectable errors",
    ),
    counter(
        "remapped_rows_correctable",
        "DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS",
        "",
        &["correctable_remapped_rows"],
        "Memory rows remapped for correctable errors",
    ),
    flag("row_remap_failure", "DCGM_FI_DEV_ROW_REMAP_FAILURE", &[], "A row remap failed: the GPU has to be replaced"),
    flag("row_remap_pending", "DCGM_FI_DEV_ROW_REMAP_PENDING", &[], "A row remap waits for a GPU reset"),
    counter(
        "ecc_sbe_volatile",
        "DCGM_FI_DEV_ECC_SBE_VOL_TOTAL",
        "",
        &["ecc_sbe_vol_total", "ecc.errors.corrected.volatile.total"],
        "Single-bit ECC errors since the driver was loaded",
    ),
    counter(
        "ecc_dbe_volatile",
        "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL",
        "",
        &["ecc_dbe_vol_total", "ecc.errors.uncorrected.volatile.total"],
        "Double-bit ECC errors since the driver was loaded",
    ),
    counter(
        "ecc_sbe_aggregate",
        "DCGM_FI_DEV_ECC_SBE_AGG_TOTAL",
        "",
        &["ecc_sbe_agg_total", "ecc.errors.corrected.aggregate.total"],
        "Single-bit ECC errors over the GPU's life",
    ),
    counter(
        "ecc_dbe_aggregate",
        "DCGM_FI_DEV_ECC_DBE_AGG_TOTAL",
        "",
        &["ecc_dbe_agg_total", "ecc.errors.uncorrected.aggregate.total"],
        "Double-bit ECC errors over the GPU's life",
    ),
    gauge(
        "gr_engine_active",
        "DCGM_FI_PROF_GR_ENGINE_ACTIVE",
        "ratio",
        &["prof_gr_engine_active"],
        RATIO,
        "Share of time the graphics or compute engine was active",
    ),
    gauge(
        "sm_active",
        "DCGM_FI_PROF_SM_ACTIVE",
        "ratio",
        &["prof_sm_active"],
        RATIO,
        "Share of SMs with a resident warp: at least 0.8 is good use, below 0.5 is poor",
    ),
    gauge(
        "sm_occupancy",
        "DCGM_FI_PROF_SM_OCCUPANCY",
        "ratio",
        &["prof_sm_occupancy"],
        RATIO,
        "Resident warps over the most there can be",
    ),
    gauge(
        "tensor_active",
        "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE",
        "ratio",
        &["prof_pipe_tensor_active"],
        RATIO,
        "Share of cycles the tensor pipe was active",
    ),
    gauge(
        "dram_active",
        "DCGM_FI_PROF_DRAM_ACTIVE",
        "ratio",
        &["prof_dram_active"],
        RATIO,
        "Share of cycles device memory sent or received",
    ),
];

/// A metric a row speaks of: one of the catalogue, or any other under its own name.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Metric {
    /// Index into [`CATALOGUE`].
    Known(u8),
    /// A metric without a column: stored in the sample's `ext`.
    Other(Arc<str>),
}

static BY_NAME: LazyLock<HashMap<String, u8>> = LazyLock::new(|| {
    let mut names = HashMap::new();
    for (index, metric) in (0u8..).zip(CATALOGUE.iter()) {
        for name in [metric.name, metric.dcgm].into_iter().chain(metric.aliases.iter().copied()) {
            names.insert(name.to_ascii_lowercase(), index);
        }
    }
    names
});

impl Metric {
    /// The metric of this name, DCGM field or alias, whatever the case; `None` when the catalogue has none.
    pub fn known(name: &str) -> Option<Metric> {
        match BY_NAME.get(name) {
            Some(&index) => Some(Metric::Known(index)),
            None => BY_NAME.get(&name.to_ascii_lowercase()).map(|&index| Metric::Known(index)),
        }
    }

    /// The metric of this name, known or not.
    pub fn named(name: &str) -> Metric {
        Metric::known(name).unwrap_or_else(|| Metric::Other(name.into()))
    }

    /// The name everywhere in Nexus.
    pub fn name(&self) -> &str {
        match self {
            Metric::Known(index) => CATALOGUE[usize::from(*index)].name,
            Metric::Other(name) => name,
        }
    }

    /// The catalogue's entry, for a known metric.
    pub fn definition(&self) -> Option<&'static Definition> {
        match self {
            Metric::Known(index) => CATALOGUE.get(usize::from(*index)),
            Metric::Other(_) => None,
        }
    }

    /// Why this value cannot be true, or `None` when it can.
    pub fn refusal(&self, value: f64) -> Option<String> {
        if !value.is_finite() {
            return Some(format!("{}: {value} is not a finite number", self.name()));
        }
        let (low, high) = self.definition()?.range;
        (value < low || value > high).then(|| format!("{}: {value} is outside {low} to {high}", self.name()))
    }
}

impl fmt::Debug for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_leads_to_exactly_one_metric() {
        let mut seen = std::collections::HashMap::new();
        for metric in &CATALOGUE {
            for name in [metric.name, metric.dcgm].into_iter().chain(metric.aliases.iter().copied()) {
                let other = seen.insert(name.to_ascii_lowercase(), metric.name);
                assert!(other.is_none(), "{name} names {} and {}", metric.name, other.unwrap());
                assert_eq!(Metric::named(name).name(), metric.name);
            }
        }
    }

    #[test]
    fn an_unknown_metric_keeps_its_name() {
        assert_eq!(Metric::named("DCGM_FI_DEV_NVLINK_CRC").name(), "DCGM_FI_DEV_NVLINK_CRC");
    }

    #[test]
    fn a_value_that_cannot_be_true_is_refused() {
        let utilization = Metric::named("gpu_util");
        assert_eq!(utilization.refusal(100.0), None);
        assert!(utilization.refusal(101.0).is_some());
        assert!(utilization.refusal(f64::NAN).is_some());
    }
}
