//! The words for conditions, as every protocol writes them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::EventKind;

/// What can be the matter with a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// It reports an error that needs somebody: an XID that asks for a reset, a reboot or a new GPU, a double-bit ECC error,
    /// a failed or pending row remap.
    Sick,
    /// Hotter than it should be.
    Hot,
    /// The hardware or the driver holds its clocks back to protect it.
    Throttled,
    /// Nothing runs on it, and yet its memory is taken.
    IdleAllocated,
    /// Its host should have it, or had it, and reports without it.
    Missing,
    /// Nothing new came from it for too long.
    Stale,
}

impl Condition {
    /// All, in the order of their weight.
    pub const ALL: [Condition; 6] = [
        Condition::Sick,
        Condition::Hot,
        Condition::Throttled,
        Condition::IdleAllocated,
        Condition::Missing,
        Condition::Stale,
    ];

    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Condition::Sick => "sick",
            Condition::Hot => "hot",
            Condition::Throttled => "throttled",
            Condition::IdleAllocated => "idle_allocated",
            Condition::Missing => "missing",
            Condition::Stale => "stale",
        }
    }
}

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing: it holds, but not for as long as would matter.
    Notice,
    /// Somebody should look.
    Warning,
    /// Somebody has to act.
    Critical,
}

impl Severity {
    /// All, the mildest first.
    pub const ALL: [Severity; 3] = [Severity::Notice, Severity::Warning, Severity::Critical];

    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Notice => "notice",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }
}

/// A single fact that speaks for a condition. Its word is stored: a new one may be added, none may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignKind {
    /// An XID code other than 0 is reported.
    Xid,
    /// Double-bit ECC errors since the driver was loaded.
    DoubleBitEcc,
    /// A row remap failed.
    RowRemapFailure,
    /// A row remap waits for a reset.
    RowRemapPending,
    /// Above the temperature that warns.
    Hot,
    /// Above the temperature that is critical.
    VeryHot,
    /// A clock event that protects the hardware.
    Throttled,
    /// No utilisation, memory held.
    IdleAllocated,
    /// The host should have it and reports without it.
    Missing,
    /// Nothing new for too long.
    Stale,
}

impl SignKind {
    /// All.
    pub const ALL: [SignKind; 10] = [
        SignKind::Xid,
        SignKind::DoubleBitEcc,
        SignKind::RowRemapFailure,
        SignKind::RowRemapPending,
        SignKind::Hot,
        SignKind::VeryHot,
        SignKind::Throttled,
        SignKind::IdleAllocated,
        SignKind::Missing,
        SignKind::Stale,
    ];

    /// The word it is stored under.
    pub fn as_str(self) -> &'static str {
        match self {
            SignKind::Xid => "xid",
            SignKind::DoubleBitEcc => "double_bit_ecc",
            SignKind::RowRemapFailure => "row_remap_failure",
            SignKind::RowRemapPending => "row_remap_pending",
            SignKind::Hot => "hot",
            SignKind::VeryHot => "very_hot",
            SignKind::Throttled => "throttled",
            SignKind::IdleAllocated => "idle_allocated",
            SignKind::Missing => "missing",
            SignKind::Stale => "stale",
        }
    }
}

/// A word that names nothing here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("is none of {0}")]
pub struct UnknownWord(pub String);

macro_rules! words {
    ($($kind:ident),*) => { $(
        impl fmt::Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $kind {
            type Err = UnknownWord;

            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                let found = $kind::ALL.into_iter().find(|kind| kind.as_str() == text);
                found.ok_or_else(|| UnknownWord($kind::ALL.map($kind::as_str).join(", ")))
            }
        }
    )* };
}

words!(Condition, Severity, SignKind);
words!(EventKind);
