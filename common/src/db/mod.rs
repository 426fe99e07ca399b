//! PostgreSQL: how to reach it, how to migrate it, and what its errors mean. No query of the product lives here.
//!
//! A pool hands out connections whose session is bounded by the server itself (statement, lock and idle-in-transaction
//! timeouts), so that a process that freezes in a transaction cannot hold up the one that takes over from it.

mod access;
mod config;
mod connector;
mod error;
mod migrate;
mod observed;
mod pool;
mod timestamp;

pub use crate::config::Password;
pub use access::{Access, Shared};
pub use config::{Config, SslMode};
pub use connector::Connector;
pub use error::{Error, Kind, kind};
pub use migrate::{Migrated, apply, migrate, newest};
pub use observed::{DEPENDENCY, probe, register};
pub use pool::{Session, pool, pool_with};
