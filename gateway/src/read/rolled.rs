//! The statements that answer from rollups and samples together: what a rollup holds of a metric, what a sample does, and
//! what both come to.

use nexus_common::domain::Metric;

use super::buckets::beside;
use super::plan::Unit;
use super::{Aggregate, Metrics, Order};

/// How an aggregate is made of parts.
struct Made {
    /// The part that a rollup holds.
    part: &'static str,
    /// Whether the number of values is needed, too.
    counted: bool,
}

impl Made {
    /// Of values alone there is neither a percentile nor a rate; neither is asked for here.
    fn of(aggregate: Aggregate) -> Self {
        let (part, counted) = match aggregate {
            Aggregate::Avg => ("sum", true),
            Aggregate::Min => ("min", false),
            Aggregate::Max => ("max", false),
            Aggregate::Sum => ("sum", false),
            Aggregate::Last | Aggregate::P95 | Aggregate::Rate => ("last", false),
        };
        Made { part, counted }
    }

    fn in_units(&self, name: &str) -> String {
        let count = if self.counted { format!(", u.{name}_count") } else { String::new() };
        format!(", u.{name}_{} AS {name}{count}", self.part)
    }

    fn in_samples(&self, name: &str) -> String {
        let count = if self.counted { format!(", num_nonnulls(s.{name})") } else { String::new() };
        format!(", s.{name}{count}")
    }

    /// Of all parts, which come with the newest first where that matters.
    fn together(&self, name: &str) -> String {
        match (self.part, self.counted) {
            (_, true) => format!("sum(p.{name}) / NULLIF(sum(p.{name}_count), 0)"),
            ("last", _) => format!("(array_agg(p.{name}) FILTER (WHERE p.{name} IS NOT NULL))[1]"),
            (part, _) => format!("{part}(p.{name})"),
        }
    }
}

/// [`Model::buckets`](super::Model::buckets) from rollups of this unit.
pub(super) fn buckets(
    metrics: &Metrics,
    aggregate: Option<Aggregate>,
    order: Order,
    unit: Unit,
    whole: bool,
) -> String {
    let made = |name: &str| Made::of(aggregate.unwrap_or_else(|| Aggregate::usual(Metric::known(name).as_ref())));
    let other = Made::of(aggregate.unwrap_or_else(|| Aggregate::usual(None)));
    let each = |write: &dyn Fn(&str) -> String| metrics.columns("", write);
    let sorted = metrics.known().any(|metric| made(metric.name()).part == "last");
    let shown = if whole { include_str!("rolled_whole.sql") } else { include_str!("rolled_page.sql") };
    let summed = beside(include_str!("rolled_buckets.sql"), metrics, include_str!("rolled_others.sql"));
    statement(shown, &summed, order, unit)
        .replace("/* unit parts */", &format!("{}, {}", each(&|name| made(name).in_units(name)), metrics.ext("u")))
        .replace("/* sample parts */", &format!("{}, {}", each(&|name| made(name).in_samples(name)), metrics.ext("s")))
        .replace("/* unit reported */", &metrics.rolled_up())
        .replace("/* reported */", &metrics.reported())
        .replace("/* columns */", &each(&|name| format!(", {} AS {name}", made(name).together(name))))
        .replace("/* sorted */", if sorted { " ORDER BY p.gpu_id, p.bucket, p.at DESC" } else { "" })
        .replace("/* names */", &each(&|name| format!(", known.{name}")))
        .replace("/* other */", &other.together("value"))
        .replace("/* part */", other.part)
}

/// The same as rates. A rollup is a reading with a beginning, an end, and what the counter grew by in between; a sample is
/// one whose beginning is its end.
pub(super) fn rates(counters: &[Metric], bases: &str, order: Order, unit: Unit) -> String {
    let each = |between: &str, write: &dyn Fn(&str) -> String| {
        counters.iter().map(|metric| write(metric.name())).collect::<Vec<_>>().join(between)
    };
    let parts = ["first", "first_at", "last", "last_at", "growth"];
    let in_units = |name: &str| parts.map(|part| format!(", u.{name}_{part}")).concat();
    let in_samples = |name: &str| format!(", s.{name}, s.ts, s.{name}, s.ts, 0");
    let value = |name: &str| format!("('{name}'{})", parts.map(|part| format!(", p.{name}_{part}")).concat());
    statement(include_str!("rolled_page.sql"), include_str!("rolled_rates.sql"), order, unit)
        .replace("/* unit parts */", &each("", &in_units))
        .replace("/* sample parts */", &each("", &in_samples))
        .replace("/* unit reported */", &format!("num_nonnulls({}) > 0", each(", ", &|name| format!("u.{name}_count"))))
        .replace("/* reported */", &format!("num_nonnulls({}) > 0", each(", ", &|name| format!("s.{name}"))))
        .replace("/* values */", &each(", ", &value))
        .replace("/* bases */", bases)
        .replace("/* rates */", &each("", &|name| format!(", max(rate) FILTER (WHERE metric = '{name}')")))
}

/// What can be read, what of it is shown, and what becomes of that.
fn statement(shown: &str, ending: &str, order: Order, unit: Unit) -> String {
    let (rollups, kept) = match unit {
        Unit::Hour => ("rollup_hours", "true"),
        Unit::Five => ("rollup_fives", "h.fives"),
        Unit::Minute => ("rollup_minutes", "h.minutes"),
    };
    let (behind, direction) = order.words();
    let text = format!("{}, {}{ending}", include_str!("rolled.sql").trim_end(), shown.trim_end());
    text.replace("/* rollups */", rollups)
        .replace("/* kept */", kept)
        .replace("/* behind */", behind)
        .replace("/* direction */", direction)
}
