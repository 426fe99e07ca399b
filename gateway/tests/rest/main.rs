//! The gateway as its users ask it: real HTTP, real PostgreSQL, real etcd, each test with its own.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod access;
mod audit;
#[path = "../support/config.rs"]
mod config;
mod events;
mod fleet;
mod forms;
mod graphql;
mod graphql_limits;
mod graphql_live;
mod graphql_pages;
mod graphql_rates;
mod health;
mod hostile;
mod http;
mod kept;
mod metrics;
mod nasty;
mod openapi;
mod pages;
mod problems;
mod queries;
mod rates;
mod schema;
mod surroundings;
mod telemetry;
mod world;
