//! The books: what became of every row that was read, and what an operator does about it.
//!
//! The streamer's cursors and manifests in etcd say what was read, the ledger and the dead letters in PostgreSQL what
//! became of it. This room holds both sides against each other, and the SQL that does so.

pub mod health;
pub mod trace;
