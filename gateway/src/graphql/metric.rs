//! The catalogue of metrics.

use async_graphql::SimpleObject;
use nexus_common::domain::{CATALOGUE, Definition};

/// A metric of the catalogue.
#[derive(SimpleObject)]
#[graphql(rename_fields = "snake_case")]
pub(super) struct Metric {
    /// The name in questions and answers.
    name: &'static str,
    /// The DCGM field.
    dcgm: &'static str,
    /// Of a value; empty for a pure number.
    unit: &'static str,
    /// gauge, counter, code or flag.
    kind: &'static str,
    /// Other names it can be asked for by.
    aliases: Vec<&'static str>,
    /// The values that can be true.
    range: Span,
    /// One line for people.
    help: &'static str,
}

/// From `min` to `max`, both included.
#[derive(SimpleObject)]
struct Span {
    /// The smallest.
    min: f64,
    /// The largest.
    max: f64,
}

/// Every metric, in the catalogue's order.
pub(super) fn catalogue() -> Vec<Metric> {
    let described = |metric: &'static Definition| {
        let Definition { name, dcgm, unit, kind, aliases, range: (min, max), help } = metric;
        let (kind, aliases, range) = (kind.as_str(), aliases.to_vec(), Span { min: *min, max: *max });
        Metric { name, dcgm, unit, kind, aliases, range, help }
    };
    CATALOGUE.iter().map(described).collect()
}
