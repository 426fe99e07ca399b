//! The pipeline as its users run it: real processes, real etcd, real PostgreSQL, files on disk, faults.
//!
//! Every test has servers of its own, and checks what PostgreSQL holds against the file, value by value.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod expiry;
mod faults;
mod parity;
mod process;
mod refusals;
mod rest;
mod rows;
mod sources;
mod space;
mod world;
