//! What the streamer, the collector and the gateway share: the domain, the queue on etcd, the pool and the migrations
//! of PostgreSQL, and the pieces every process is made of.
//!
//! Levels, each importing only from those before it: pure domain, plumbing, queue and stores, the books, servers and testing.

pub mod domain;

pub mod component;
pub mod config;
pub mod failpoint;
pub mod identity;
pub mod logging;
pub mod observe;
pub mod retry;
pub mod shutdown;
pub mod tls;
pub mod traces;

pub mod db;
pub mod etcd;
pub mod queue;

pub mod books;

#[cfg(feature = "servers")]
pub mod servers;
#[cfg(feature = "testing")]
pub mod testing;

/// Rows are many small values that one thread makes and another drops: the system's allocator spends a quarter of the
/// streamer's time on them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
