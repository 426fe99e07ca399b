//! What may happen to a pipeline in a bad year: every step at which a process can die, frozen processes that come back,
//! broken lines, servers that fall, go back in time or have no room. After each, PostgreSQL is compared with the input
//! value by value.
//!
//! Every test has servers and processes of its own. Processes die and freeze at failpoints (`nexus_common::failpoint`),
//! so nothing depends on how fast the machine is.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, dead_code)]

mod boundaries;
mod clocks;
mod compaction;
mod leases;
mod lines;
mod members;
mod poison;
#[path = "../support/process.rs"]
mod process;
mod room;
#[path = "../support/rows.rs"]
mod rows;
mod time_travel;
#[path = "../support/world.rs"]
mod world;
mod zombies;
