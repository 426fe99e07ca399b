//! What one GPU reported at one time, as a source row says it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Metric, Timestamp};

/// Who a GPU is and what is known of it.
///
/// The UUID with the MIG instance is the identity; host and index say where the GPU is now and can change. A source
/// without UUIDs identifies a GPU by its place.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct GpuIdentity {
    /// Host name, never empty.
    pub host: String,
    /// Index on the host ("0"); a MIG instance is written "0:3" (GPU, then GPU_I_ID).
    pub gpu: String,
    /// `GPU-…`, where the source has it.
    pub uuid: Option<String>,
    /// MIG instance (`GPU_I_ID`), where there is one.
    pub mig: Option<String>,
}

/// A GPU as a source describes it. Thousands of rows share one: whoever makes rows keeps the descriptions it has made.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Described {
    /// Which GPU it is.
    pub gpu: GpuIdentity,
    /// Model name, e.g. `NVIDIA H100 80GB HBM3`.
    pub model: Option<String>,
    /// Device node, e.g. `nvidia0`.
    pub device: Option<String>,
    /// Everything else the row says of the GPU (driver version, pod, namespace, container, job, …); never an empty
    /// value, and never what the fields above hold already.
    pub labels: BTreeMap<String, String>,
}

impl From<GpuIdentity> for Described {
    /// A GPU of which nothing else is known.
    fn from(gpu: GpuIdentity) -> Self {
        Described { gpu, ..Described::default() }
    }
}

/// One understood row.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The GPU the row speaks of.
    pub described: Arc<Described>,
    /// When the GPU was read.
    pub timestamp: Timestamp,
    /// The values; `None` is "asked for, not reported" (a DCGM blank, `[N/A]`).
    pub values: Vec<(Metric, Option<f64>)>,
}
