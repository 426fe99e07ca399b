//! The catalogue of metrics.

use async_graphql::SimpleObject;

use crate::read::Described;

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

impl From<Described> for Metric {
    fn from(metric: Described) -> Self {
        let Described { name, dcgm, unit, kind, aliases, range, help } = metric;
        let range = Span { min: range.min, max: range.max };
        Metric { name, dcgm, unit, kind, aliases: aliases.to_vec(), range, help }
    }
}
