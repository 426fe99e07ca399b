//! Samples summed up in steps of time.

use nexus_common::domain::{Kind, Metric, Timestamp};
use serde_json::Value;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::cursor::Place;
use super::days::Days;
use super::plan::{Rollups, Unit, plan};
use super::samples::by_id;
use super::selection::Source;
use super::texts::{Form, Shape};
use super::window::Part;
use super::{Cursor, Metrics, Model, Order, Page, Paging, Range, Result, Sample, Values, Window};

/// What a bucket says of the values in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Aggregate {
    /// Their mean.
    Avg,
    /// The smallest.
    Min,
    /// The largest.
    Max,
    /// All of them together.
    Sum,
    /// The one with the newest time.
    Last,
    /// 95 of 100 are no larger.
    P95,
    /// How fast a counter grew, in its unit per second.
    Rate,
}

impl Aggregate {
    /// The words of the API, as a client may write them.
    pub const WORDS: [(&'static str, Aggregate); 7] = [
        ("avg", Aggregate::Avg),
        ("min", Aggregate::Min),
        ("max", Aggregate::Max),
        ("sum", Aggregate::Sum),
        ("last", Aggregate::Last),
        ("p95", Aggregate::P95),
        ("rate", Aggregate::Rate),
    ];

    /// What suits a metric where the question leaves it open: the mean of what goes up and down, else the last value,
    /// because the mean of a counter or a code is a number nobody reported.
    pub(super) fn usual(metric: Option<&Metric>) -> Self {
        match metric.and_then(Metric::definition).map(|definition| definition.kind) {
            Some(Kind::Gauge) => Aggregate::Avg,
            _ => Aggregate::Last,
        }
    }

    fn sql(self, value: &str) -> String {
        match self {
            Aggregate::Avg => format!("avg({value})"),
            Aggregate::Min => format!("min({value})"),
            Aggregate::Max => format!("max({value})"),
            Aggregate::Sum => format!("sum({value})"),
            // A rate has a statement of its own; of one value there is none.
            Aggregate::Rate => "NULL::double precision".to_owned(),
            Aggregate::Last => format!("(array_agg({value} ORDER BY s.ts DESC) FILTER (WHERE {value} IS NOT NULL))[1]"),
            Aggregate::P95 => format!("percentile_cont(0.95) WITHIN GROUP (ORDER BY {value})"),
        }
    }
}

/// Which buckets are asked for.
pub(super) struct Asked<'a> {
    pub(super) sources: &'a [Source],
    pub(super) metrics: &'a Metrics,
    pub(super) range: Range,
    pub(super) window: Window,
    pub(super) order: Order,
    pub(super) paging: &'a Paging,
}

impl Model {
    /// Samples of these GPUs summed up in steps; a step without a value is not in the answer. The first and the last may
    /// be cut by the range.
    ///
    /// Without an end the range ends with the newest value; without a start it holds the last 1,000 steps, or as many as
    /// [`super::MAX_POINTS`] leaves for so many GPUs.
    ///
    /// # Errors
    /// [`super::Error::Invalid`] for too many points or a cursor of another list, and as PostgreSQL answers.
    pub async fn buckets(
        &self,
        sources: &[Source],
        range: Range,
        metrics: &Metrics,
        window: Window,
        order: Order,
        paging: &Paging,
    ) -> Result<Page<Sample>> {
        let asked = Asked { sources, metrics, range, window, order, paging };
        if window.aggregate() == Some(Aggregate::Rate) {
            return self.rates(&asked).await;
        }
        let sql = |unit, whole| match unit {
            Some(unit) => super::rolled::buckets(metrics, window.aggregate(), order, unit, whole),
            None => statement(metrics, window.aggregate(), order, whole),
        };
        let other = metrics.other();
        let values = |row: &Row| {
            let ext = self.nth::<Option<Value>>(row, 2)?;
            metrics.values(self, row, 3, ext.as_ref())
        };
        self.read_buckets(&asked, 0, sql, &other, values).await
    }

    /// The buckets of a page, from samples that lie up to `reach` microseconds before them. `sql` is told which rollups it may
    /// read, and whether the page holds the whole of its part; it is asked for a text that was not put together yet, and
    /// depends on nothing else but what is asked ([`Form`]). The text has ten parameters, of which the seventh is its `own`,
    /// and two more where it reads rollups; it answers with GPU and start of each bucket before what `values` makes its values
    /// of.
    pub(super) async fn read_buckets(
        &self,
        asked: &Asked<'_>,
        reach: i64,
        sql: impl FnOnce(Option<Unit>, bool) -> String,
        own: &(dyn ToSql + Sync),
        values: impl Fn(&Row) -> Result<Values>,
    ) -> Result<Page<Sample>> {
        let Asked { sources, metrics, range, window, order, paging } = *asked;
        let Some(part) = window.part(sources, range, order, paging)? else {
            return Ok(Page::of(Vec::new(), paging.limit));
        };
        let ids: Vec<i32> = sources.iter().map(|source| source.id).collect();
        let (Part { start, end, from, until, at, id }, step) = (part, window.step().micros());
        let rows = paging.rows();
        let rollups = plan(window.step(), window.aggregate(), &part).filter(|_| self.reads_rollups());
        let whole = part.fits(window.step(), ids.len(), paging.limit);
        let (one, gpus) = match &ids[..] {
            [id] => (true, id as &(dyn ToSql + Sync)),
            _ => (false, &ids as &(dyn ToSql + Sync)),
        };
        let unit = rollups.map(|rollups| rollups.unit);
        let shape = Shape::Buckets { aggregate: window.aggregate(), unit, whole, one };
        let days = {
            let from = from.shifted(-reach);
            Days::of(from, until, until.0.saturating_sub(from.0))
        };
        let sql = self.texts().of(Form { shape, metrics: metrics.clone(), order, days }, || {
            let sql = sql(unit, whole);
            if one { of_one(&sql) } else { sql }
        });
        let mut parameters = vec![gpus, &start, &end, &from, &until, &rows, own, &step, &at, &id];
        if let Some(Rollups { first, behind, .. }) = &rollups {
            parameters.extend([first as &(dyn ToSql + Sync), behind]);
        }
        let found = self.heavy_query(&sql, &parameters).await?;

        let by_id = by_id(sources);
        let mut items = Vec::with_capacity(found.len());
        for row in &found {
            let (id, at) = (self.nth::<i32>(row, 0)?, self.nth::<Timestamp>(row, 1)?);
            let Some(source) = by_id.get(&id) else { continue };
            let place = Place::Bucket(order, at, id, start, end, window.step());
            items.push((Sample::of(source, at, values(row)?), Cursor::at(place)));
        }
        Ok(Page::of(items, paging.limit))
    }
}

/// A statement about many GPUs as one about one, which most questions are: it costs PostgreSQL less to plan, and where there
/// are few partitions the plan is kept.
fn of_one(sql: &str) -> String {
    sql.replace("= ANY ($1::integer[])", "= $1::integer")
        .replace("unnest($1::integer[])", "unnest(ARRAY[$1::integer])")
        .replace("gpu_ids && $1::integer[]", "$1::integer = ANY (gpu_ids)")
}

/// A statement with what else was asked for beside the metrics that have a column; without it, where nothing was.
pub(super) fn beside(sql: &str, metrics: &Metrics, others: &str) -> String {
    let (others, ext, join) = match metrics.other() {
        Some([]) => (String::new(), "NULL::jsonb AS ext", ""),
        _ => (format!(", {}", others.trim_end()), "others.ext", "\nLEFT JOIN others USING (gpu_id, bucket)"),
    };
    sql.replace("/* others */", &others).replace("/* ext */", ext).replace("/* join */", join)
}

fn statement(metrics: &Metrics, aggregate: Option<Aggregate>, order: Order, whole: bool) -> String {
    let column = |name: &str| {
        let aggregate = aggregate.unwrap_or_else(|| Aggregate::usual(Metric::known(name).as_ref()));
        format!(", {} AS {name}", aggregate.sql(&format!("s.{name}")))
    };
    let other = aggregate.unwrap_or_else(|| Aggregate::usual(None)).sql("(e.value)::double precision");
    let (behind, direction) = order.words();
    let chosen = if whole { include_str!("buckets_whole.sql") } else { include_str!("buckets_page.sql") };
    beside(include_str!("buckets.sql"), metrics, include_str!("buckets_others.sql"))
        .replace("/* chosen */", chosen.trim_end())
        .replace("/* columns */", &metrics.columns("", column))
        .replace("/* names */", &metrics.columns("", |name| format!(", known.{name}")))
        .replace("/* reported */", &metrics.reported())
        .replace("/* other */", &other)
        .replace("/* behind */", behind)
        .replace("/* direction */", direction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_aggregates_make_up_no_codes() {
        assert_eq!(Aggregate::usual(Metric::known("power_watts").as_ref()), Aggregate::Avg);
        assert_eq!(Aggregate::usual(Metric::known("xid").as_ref()), Aggregate::Last);
        assert_eq!(Aggregate::usual(None), Aggregate::Last);
    }
}
