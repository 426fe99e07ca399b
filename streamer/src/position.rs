//! Where a lane stands in its source: what the cursor keeps for us (pure).

use serde::{Deserialize, Serialize};

use crate::source::Checkpoint;

/// Kept in the lane's cursor, moved with every batch.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Position {
    /// The file's name when it was last read, for people.
    pub(crate) file: String,
    /// Pass of a loop, from 0.
    #[serde(default)]
    pub(crate) pass: u64,
    /// The last row published; absent when there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last: Option<Checkpoint>,
    /// The clock of the rows published.
    #[serde(flatten)]
    pub(crate) clock: Clock,
}

/// What is known of the time stamps published so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Clock {
    /// What is added to the time stamps of this pass, in microseconds; absent when rows keep their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) shift_us: Option<i64>,
    /// The latest time published, in microseconds since 1970: a pass never starts before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) latest_us: Option<i64>,
}

impl Position {
    pub(crate) fn to_value(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}
