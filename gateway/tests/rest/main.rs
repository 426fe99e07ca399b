//! The gateway as its users ask it: real HTTP, real PostgreSQL, real etcd, each test with its own.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod events;
mod fleet;
mod health;
mod http;
mod pages;
mod problems;
mod telemetry;
mod world;
