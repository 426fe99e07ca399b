//! What an operator asks and does: of etcd and PostgreSQL themselves, so that it works while every component is down.

pub(crate) mod actions;
pub(crate) mod audit;
pub(crate) mod dlq;
pub(crate) mod doctor;
pub(crate) mod expired;
pub(crate) mod members;
pub(crate) mod queue;
pub(crate) mod rewind;
pub(crate) mod table;
pub(crate) mod trace;

mod actor;
mod desk;
mod done;
mod quota;
mod sending;
mod servers;
mod words;
