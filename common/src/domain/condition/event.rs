//! What happened to a GPU: a change that is worth remembering.

use serde::{Deserialize, Serialize};

use super::{Condition, Severity};
use crate::domain::Timestamp;

/// What sort of change it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// An XID error; a code that stays on a sticky gauge is one event, the same code coming back is another.
    Xid,
    /// Double-bit ECC errors, first seen or more of them.
    Ecc,
    /// A row remap failed or waits for a reset.
    RowRemap,
    /// Too hot for too long.
    Hot,
    /// Clocks held back to protect the hardware.
    Throttled,
    /// Idle for long, with memory held.
    IdleAllocated,
    /// The host reports without it.
    Missing,
    /// Nothing new for too long.
    Stale,
    /// A condition that had been told is over.
    Recovered,
}

impl EventKind {
    /// All.
    pub const ALL: [EventKind; 9] = [
        EventKind::Xid,
        EventKind::Ecc,
        EventKind::RowRemap,
        EventKind::Hot,
        EventKind::Throttled,
        EventKind::IdleAllocated,
        EventKind::Missing,
        EventKind::Stale,
        EventKind::Recovered,
    ];

    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            EventKind::Xid => "xid",
            EventKind::Ecc => "ecc",
            EventKind::RowRemap => "row_remap",
            EventKind::Hot => "hot",
            EventKind::Throttled => "throttled",
            EventKind::IdleAllocated => "idle_allocated",
            EventKind::Missing => "missing",
            EventKind::Stale => "stale",
            EventKind::Recovered => "recovered",
        }
    }
}

/// One event of one GPU.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Number in the database, rising.
    pub id: i64,
    /// Host name.
    pub host_id: String,
    /// Index on the host.
    pub gpu_id: String,
    /// Of the GPU, where it is known.
    pub uuid: Option<String>,
    /// When it was so, by the data: microseconds since 1970.
    pub at: Timestamp,
    /// What happened.
    pub kind: EventKind,
    /// The condition it belongs to; none for an XID that asks nothing of anybody.
    pub condition: Option<Condition>,
    /// How much it matters.
    pub severity: Severity,
    /// Since when the condition has held, or had.
    pub since: Timestamp,
    /// The XID code, the number of errors or the bit mask, where there is one.
    pub code: Option<i64>,
    /// In words, with figures and units.
    pub detail: String,
}
