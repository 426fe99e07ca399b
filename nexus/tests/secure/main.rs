//! TLS everywhere: etcd with certificates for clients and members, PostgreSQL with verify-full and certificates, the
//! gateway over HTTPS. What a row comes to is the same; what has a wrong certificate is refused in one line; what is
//! rotated is used without a restart. And least privilege: each component as its own user, who may do what it has to and no more.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, dead_code)]

mod least;
mod pipeline;
#[path = "../support/process.rs"]
mod process;
mod refusals;
mod rotation;
#[path = "../support/rows.rs"]
mod rows;
mod stack;
mod traces;
