//! What telemetry is, without any I/O: metrics, records, samples, rows and the names they travel under.
//!
//! Nothing in here knows tokio, etcd or PostgreSQL.

mod condition;
mod descriptions;
mod host;
mod metric;
mod names;
mod record;
mod row;
mod sample;
mod status;
mod timestamp;

pub use condition::{
    Condition, Event, EventKind, Finding, News, Progress, Reason, Remembered, Severity, Sign, SignKind, Thresholds,
    Vital, Vitals, carry_on, diagnose, examine, progress, reasons,
};
pub use descriptions::Descriptions;
pub use host::{Host, expect};
pub use metric::{CATALOGUE, Definition, Kind, METRICS, Metric};
pub use names::{escape, unescape};
pub use record::{Described, GpuIdentity, Record};
pub use row::{Content, MAX_RAW_BYTES, Reject, Row};
pub use sample::{Merged, Sample};
pub use status::{Status, expected_gpus, is_silent, missing_gpus, most_common, whole_gpu};
pub use timestamp::Timestamp;
