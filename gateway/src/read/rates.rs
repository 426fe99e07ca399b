//! Counters as rates: how fast they grew in each step, in their unit per second.
//!
//! The increase in a bucket is counted from the last value before it, so that none is lost between buckets, and divided
//! by the time it took. A fall means that the counter began anew at 0. A value older than a step, and older than an hour,
//! is no base: what a counter did in a long silence is not known. Without a base there is no rate, so a GPU's first
//! bucket may be missing and its page be shorter than asked for.

use nexus_common::domain::{CATALOGUE, Kind, Metric};
use tokio_postgres::Row;

use super::buckets::Asked;
use super::{Error, Metrics, Model, Order, Page, Result, Sample, Values};

/// How far before a bucket its base may lie where the step is shorter: an hour, in microseconds.
const REACH: i64 = 3_600_000_000;

impl Model {
    /// [`Model::buckets`] of counters, as rates.
    pub(super) async fn rates(&self, asked: &Asked<'_>) -> Result<Page<Sample>> {
        let counters = counters(asked.metrics)?;
        let reach = asked.window.step().micros().max(REACH);
        let sql = |unit, _| match unit {
            Some(unit) => super::rolled::rates(&counters, &bases(&counters), asked.order, unit),
            None => statement(&counters, asked.order),
        };
        let values = |row: &Row| {
            let mut rates = Vec::new();
            for (metric, column) in counters.iter().zip(2..) {
                if let Some(rate) = self.nth::<Option<f64>>(row, column)? {
                    rates.push((metric.clone(), rate));
                }
            }
            Ok(Values(rates))
        };
        let mut page = self.read_buckets(asked, reach, sql, &reach, values).await?;
        page.retain(|sample| !sample.data.0.is_empty());
        Ok(page)
    }
}

/// The chosen counters; all of them where every metric is chosen.
fn counters(metrics: &Metrics) -> Result<Vec<Metric>> {
    let is_counter = |metric: &Metric| metric.definition().is_some_and(|metric| metric.kind == Kind::Counter);
    let (counters, others): (Vec<_>, Vec<_>) = metrics.known().partition(is_counter);
    let Some(unknown) = metrics.other() else { return Ok(counters) };
    let others: Vec<_> = others.iter().map(Metric::name).chain(unknown.iter().map(String::as_str)).collect();
    if others.is_empty() {
        return Ok(counters);
    }
    let known = CATALOGUE.iter().filter(|metric| metric.kind == Kind::Counter).map(|metric| metric.name);
    let known = known.collect::<Vec<_>>().join(", ");
    let reason = format!("{}: no counter, so it has no rate; counters are: {known}", others.join(", "));
    Err(Error::invalid("metrics", reason))
}

/// Of each counter the last value before a span. What the page bounds is said again, so that days which cannot hold it are
/// left out before anything is planned for them.
fn bases(counters: &[Metric]) -> String {
    let base = |metric: &Metric| {
        format!(
            "(SELECT '{0}', s.ts, s.{0} FROM samples s WHERE s.gpu_id = span.gpu_id AND s.ts < span.low AND s.ts < $5 \
             AND s.ts >= span.low - $7::bigint * interval '1 microsecond' \
             AND s.ts >= $4 - $7::bigint * interval '1 microsecond' /* days of s.ts */ AND s.{0} IS NOT NULL \
             ORDER BY s.ts DESC LIMIT 1)",
            metric.name()
        )
    };
    counters.iter().map(base).collect::<Vec<_>>().join(" UNION ALL ")
}

/// Safe, because the names are those of the catalogue.
fn statement(counters: &[Metric], order: Order) -> String {
    let each = |between: &str, write: &dyn Fn(&str) -> String| {
        counters.iter().map(|metric| write(metric.name())).collect::<Vec<_>>().join(between)
    };
    let (behind, direction) = order.words();
    include_str!("rates.sql")
        .replace("/* columns */", &each(", ", &|name| format!("s.{name}")))
        .replace("/* values */", &each(", ", &|name| format!("('{name}', s.{name})")))
        .replace("/* bases */", &bases(counters))
        .replace("/* rates */", &each("", &|name| format!(", max(rate) FILTER (WHERE metric = '{name}')")))
        .replace("/* behind */", behind)
        .replace("/* direction */", direction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_names_the_counters_are_meant() {
        let counters = counters(&Metrics::default()).unwrap();
        assert!(counters.iter().any(|metric| metric.name() == "energy_millijoules"));
        assert!(counters.iter().all(|metric| metric.definition().unwrap().kind == Kind::Counter));
    }
}
