//! ROLL UP: what is stored is noted, and hours that are quiet are made into rollups.
//!
//! - A **note** goes in with the samples, in their transaction: which hours of which GPUs it touched (`note`).
//! - Notes are moved onto the **list** (`rollup_todo`), then hours are taken **off** it with their rollups made, each in one
//!   transaction (`roller`). So at every moment an hour whose rollup is not what its samples say is noted or listed, and a
//!   reader that looks at notes, list, rollups and samples in one snapshot is never wrong.

mod encode;
mod note;
mod roller;

pub(crate) use note::note;
#[cfg(test)]
pub(crate) use roller::Turn;
pub(super) use roller::locked;
pub(crate) use roller::{Backlog, Roller};
