//! The operator's commands as they are typed: real processes, real etcd, real PostgreSQL.
//!
//! Every test has servers of its own, and compares what is printed with what was published.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "../support/process.rs"]
#[allow(dead_code, reason = "shared with the end-to-end tests, which use all of it")]
mod process;
#[path = "../support/rows.rs"]
#[allow(dead_code, reason = "shared with the end-to-end tests, which use all of it")]
mod rows;
#[path = "../support/world.rs"]
#[allow(dead_code, reason = "shared with the end-to-end tests, which use all of it")]
mod world;

mod acts;
mod asking;
mod audit;
mod bringing_back;
mod desk;
mod dlq;
mod doctor;
mod expired;
mod keys;
mod members;
mod migrate;
mod queue;
mod rewind;
mod roles;
mod trace;
