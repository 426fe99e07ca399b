//! What tests need: real servers of their own, a line to them that breaks on command, and a way
//! to wait for what other processes do.
//!
//! Every test owns its servers. They listen on free ports, keep everything in a temporary folder, and are gone with it
//! when the test ends, panics or is killed (see [`crate::servers`]): nothing is shared, so tests run in parallel, in
//! threads or in processes, and a test may kill or freeze what it started.
//!
//! In here things panic instead of returning errors: that is how a test fails.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod authority;
mod cluster;
mod eventually;
mod folder;
mod fuzz;
mod proxy;
mod servers;
mod template;

pub use self::authority::{Authority, Issued};
pub use self::cluster::{etcd_cluster, etcd_cluster_with};
pub use self::eventually::eventually;
pub use self::folder::folder;
pub use self::fuzz::{fuzz, fuzz_server};
pub use self::proxy::Proxy;
pub use self::servers::{Backup, TestEtcd, TestPostgres, etcd, etcd_with, postgres, postgres_with};
