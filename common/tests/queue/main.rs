//! The queue on a real etcd: what it promises, whatever fails.

#![allow(clippy::unwrap_used)]

mod action;
mod history;
mod support;

mod ahead;
mod claiming;
mod following;
mod full;
mod histories;
mod model;
mod publishing;
mod races;
mod rewinding;
