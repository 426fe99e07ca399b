//! The only room that talks to etcd: calls that end, watches that heal, leases that are watched over.
//!
//! Every call has a deadline, because a half-open connection answers nothing and reports nothing. An error says what
//! the caller may do next ([`Error`]); a write that ended in [`Error::Unavailable`] may have been committed.

mod access;
mod answer;
mod client;
mod endpoint;
mod error;
mod follow;
mod lease;
mod maintenance;
mod meter;
mod probe;
mod refusal;
mod snapshot;

pub use answer::Answer;
pub use client::{Client, Found};
pub use error::Error;
pub use follow::{Change, Scope, follow};
pub use lease::Lease;
pub use maintenance::{Alarm, Health, Status};
pub use probe::{DEPENDENCY, probe};

pub use etcd_client::{Compare, CompareOp, Txn, TxnOp};
pub use etcd_client::{GetOptions, KeyValue, PutOptions};

/// What a call to etcd gives.
pub type Result<T, E = Error> = std::result::Result<T, E>;
