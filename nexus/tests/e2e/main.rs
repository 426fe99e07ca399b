//! The pipeline as its users run it: real processes, real etcd, real PostgreSQL, files on disk, faults.
//!
//! Every test has servers of its own, and checks what PostgreSQL holds against the file, value by value.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, dead_code)]

mod audit;
mod expiry;
mod faults;
mod manual;
mod manual_live;
#[path = "../documents/markdown.rs"]
mod markdown;
mod parity;
#[path = "../support/process.rs"]
mod process;
mod refusals;
mod rest;
mod rollups;
#[path = "../support/rows.rs"]
mod rows;
mod sources;
mod space;
#[path = "../support/world.rs"]
mod world;
