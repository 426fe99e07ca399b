//! The words of the API as GraphQL enums, written in lower case as everywhere else.

use async_graphql::Enum;
use nexus_common::domain;

use crate::read;

/// How a cluster, a host or a GPU is, derived from what was reported.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(rename_items = "snake_case")]
pub(super) enum Status {
    /// Everything that is expected reports.
    Ok,
    /// A part of it is missing, or something is the matter with it.
    Degraded,
    /// Its newest value is older than a value may be.
    Stale,
    /// Nothing was ever reported.
    Empty,
}

impl From<domain::Status> for Status {
    fn from(status: domain::Status) -> Self {
        match status {
            domain::Status::Ok => Status::Ok,
            domain::Status::Degraded => Status::Degraded,
            domain::Status::Stale => Status::Stale,
            domain::Status::Empty => Status::Empty,
        }
    }
}

/// What can be the matter with a GPU.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(rename_items = "snake_case", remote = "domain::Condition")]
pub(super) enum Condition {
    /// It reports an error that needs somebody.
    Sick,
    /// Hotter than it should be.
    Hot,
    /// The hardware or the driver holds its clocks back to protect it.
    Throttled,
    /// Nothing runs on it, and yet its memory is taken.
    IdleAllocated,
    /// Its host should have it, or had it, and reports without it.
    Missing,
    /// Nothing new came from it for too long.
    Stale,
}

/// How much it matters.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(rename_items = "snake_case", remote = "domain::Severity")]
pub(super) enum Severity {
    /// Worth knowing.
    Notice,
    /// Somebody should look.
    Warning,
    /// Somebody has to act.
    Critical,
}

/// By time.
#[derive(Enum, Debug, Clone, Copy, Default, PartialEq, Eq)]
#[graphql(rename_items = "snake_case")]
pub(super) enum Order {
    /// The newest first.
    #[default]
    Desc,
    /// The oldest first.
    Asc,
}

impl From<Order> for read::Order {
    fn from(order: Order) -> Self {
        match order {
            Order::Desc => read::Order::Newest,
            Order::Asc => read::Order::Oldest,
        }
    }
}
