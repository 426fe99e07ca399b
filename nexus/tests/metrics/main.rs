//! What the components tell those who watch over them: real processes, read by a real Prometheus.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, dead_code)]

mod addresses;
mod archived;
mod correlation;
mod documented;
#[path = "../support/process.rs"]
mod process;
#[path = "../support/prometheus.rs"]
mod prometheus;
mod receiver;
#[path = "../support/rows.rs"]
mod rows;
mod stack;
mod traced;
mod watched;
mod without;
#[path = "../support/world.rs"]
mod world;
