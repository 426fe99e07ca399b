//! The live feed as its clients see it: real sockets, real etcd, each test with its own.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod at_once;
mod client;
#[path = "../support/config.rs"]
mod config;
mod conversation;
mod feed;
mod healing;
mod limits;
mod nasty;
mod refusals;
mod resuming;
mod slow;
mod stream;
mod told;
mod world;
