//! The only SQL that writes: one transaction for many batches.
//!
//! Merged samples are copied into staging tables first, without a lock on anything shared; then the ledger rows go in,
//! and only when they are new the samples, the latest values and the dead letters, and COMMIT. A batch the ledger knows
//! already is a redelivery and changes nothing (I3).
//!
//! Besides it, in transactions of their own: signs and events (`conditions`), what samples came to (`rollup`), and what goes
//! when it is old (`retention`).

mod conditions;
pub(crate) mod copy;
mod frozen;
mod merged;
mod newcomers;
mod newest;
mod partitions;
mod registry;
mod retention;
mod rollup;
mod sql;
mod store;
#[cfg(test)]
mod tests;

pub(crate) use conditions::{Recorder, Told};
pub(crate) use retention::Dropper;
pub(crate) use rollup::{Backlog, Roller};
pub(crate) use store::{Stored, Writer};
