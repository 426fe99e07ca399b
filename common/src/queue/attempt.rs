//! How often a batch was claimed.

use serde::{Deserialize, Serialize};

use super::VERSION;
use crate::etcd::KeyValue;

/// The value of an attempt key, with the revision a claim compares.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Attempts {
    pub(super) count: u32,
    /// Mod revision of the key; 0 when it does not exist.
    pub(super) revision: i64,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    v: u32,
    attempts: u32,
}

impl Attempts {
    pub(super) fn of(kv: Option<&KeyValue>) -> Self {
        kv.map_or_else(Attempts::default, |kv| Attempts {
            count: serde_json::from_slice::<Wire>(kv.value()).map_or(0, |wire| wire.attempts),
            revision: kv.mod_revision(),
        })
    }

    pub(super) fn encode(count: u32) -> Vec<u8> {
        serde_json::to_vec(&Wire { v: VERSION, attempts: count }).unwrap_or_default()
    }
}
