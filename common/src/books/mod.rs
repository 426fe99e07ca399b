//! The books: what became of every row that was read, and what an operator does about it.
//!
//! The streamers' cursors and manifests in etcd say what was read, the ledger and the dead letters in PostgreSQL what
//! became of it. This room holds both sides against each other ([`audit()`]), and has the SQL that does so.
//!
//! # What balances (I5)
//!
//! For every lane `read = stored + dead + queued + in flight + expired`. The left side comes from the lane's cursor, the
//! right side from ledger, dead letters and manifests. Neither is worked out from the other:
//!
//! - The cursor counts the rows a lane published, over all its runs; it moves in the transaction that publishes them.
//! - Every batch says which rows of its lane it holds (`rows_before`, and how many). The batches of ledger and queue must
//!   tile the lane from row 0 to where its cursor stands. **A hole is lost rows**, and it is known between which two
//!   places of the source they lay.
//! - Rows that lie in two batches were read twice: etcd had gone back in time (a restored backup, a wiped store) and the
//!   streamer began again from the older cursor. They are counted on both sides, and shown.
//! - Dead letters are counted themselves: one that is gone is missing from the sum.
//!
//! # At one moment, while everything moves
//!
//! Cursors, manifests and claims are read at one revision R of etcd, then PostgreSQL in one snapshot. So a batch may be
//! in both: it counts as stored. And a batch may be in PostgreSQL that R does not know yet: it is left out, because its
//! lane's cursor at R does not count it either. That it is really later is checked by a second look at the cursors; a
//! cursor that still does not know it belongs to an etcd that went back in time.

pub mod actions;
pub mod expired;
pub mod letters;
pub mod redrive;
pub mod returns;
pub mod rewind;
pub mod sending;

mod audit;
mod balance;
mod error;
mod extents;
mod ledger;
mod promise;
mod samples;

pub mod health;
pub mod trace;
pub mod wal;

pub use audit::{Scope, audit};
pub use balance::{Audit, Figures, Hole, LaneAccount, LaneKind, Place};
pub use error::Error;
pub use extents::{Extent, Extents};
pub use samples::{DeadLines, Registered, StoredSample, dead_lines, samples};
