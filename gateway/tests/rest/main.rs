//! The gateway as its users ask it: real HTTP, real PostgreSQL, real etcd, each test with its own.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod fleet;
mod graphql;
mod graphql_limits;
mod graphql_pages;
mod health;
mod http;
mod pages;
mod problems;
mod telemetry;
mod world;
