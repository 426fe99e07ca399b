//! Samples summed up in steps of time.

use std::time::Duration;

use nexus_common::domain::{Kind, Metric, Timestamp};
use serde_json::Value;

use super::cursor::Place;
use super::samples::by_id;
use super::selection::Source;
use super::time::FIRST;
use super::{Cursor, Error, Metrics, Model, Order, Page, Paging, Range, Result, Sample};

/// The most points of one question over all its pages: GPUs times steps.
pub const MAX_POINTS: usize = 100_000;

/// Steps that are answered where the question names no start.
const USUAL_STEPS: i64 = 1_000;

/// The shortest and the longest step, in microseconds: a millisecond and ten years.
const STEPS: std::ops::RangeInclusive<i64> = 1_000..=315_360_000_000_000;

/// What a bucket says of the values in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
}

impl Aggregate {
    /// The words of the API, as a client may write them.
    pub const WORDS: [(&'static str, Aggregate); 6] = [
        ("avg", Aggregate::Avg),
        ("min", Aggregate::Min),
        ("max", Aggregate::Max),
        ("sum", Aggregate::Sum),
        ("last", Aggregate::Last),
        ("p95", Aggregate::P95),
    ];

    /// What suits a metric where the question leaves it open: the mean of what goes up and down, else the last value,
    /// because the mean of a counter or a code is a number nobody reported.
    fn usual(metric: Option<&Metric>) -> Self {
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
            Aggregate::Last => format!("(array_agg({value} ORDER BY s.ts DESC) FILTER (WHERE {value} IS NOT NULL))[1]"),
            Aggregate::P95 => format!("percentile_cont(0.95) WITHIN GROUP (ORDER BY {value})"),
        }
    }
}

/// How samples are summed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Microseconds of a bucket.
    step: i64,
    /// For all metrics; without it what suits each.
    aggregate: Option<Aggregate>,
}

impl Window {
    /// Buckets of this length.
    ///
    /// # Errors
    /// Where the step is shorter than a millisecond or longer than ten years.
    pub fn new(step: Duration, aggregate: Option<Aggregate>) -> Result<Self> {
        let step = i64::try_from(step.as_micros()).ok().filter(|step| STEPS.contains(step));
        let step = step.ok_or_else(|| Error::invalid("step", "must be from 1ms to 3650days"))?;
        Ok(Window { step, aggregate })
    }

    /// When the bucket starts that this moment lies in.
    fn floor(self, at: Timestamp) -> Timestamp {
        Timestamp(at.0.saturating_sub(at.0.rem_euclid(self.step)))
    }

    /// How many buckets a range touches.
    fn steps(self, start: Timestamp, end: Timestamp) -> i64 {
        let first = self.floor(start).0;
        end.0.saturating_sub(first).saturating_add(self.step - 1) / self.step
    }

    /// The moments that are asked about: what the question leaves open is set by the newest value, so that old rows are
    /// found too. `None` where there is nothing.
    fn bounds(self, range: Range, newest: Option<Timestamp>, gpus: i64) -> Result<Option<(Timestamp, Timestamp)>> {
        let Some(end) = range.end.or(newest.map(|newest| newest.shifted(1))) else { return Ok(None) };
        let most = i64::try_from(MAX_POINTS).unwrap_or(i64::MAX) / gpus.max(1);
        if most == 0 {
            return Err(Error::invalid(
                "step",
                format!("{gpus} GPUs; at most {MAX_POINTS}: choose a cluster or a host"),
            ));
        }
        let Some(start) = range.start else {
            let before = self.step.saturating_mul(most.min(USUAL_STEPS) - 1);
            let start = self.floor(end.shifted(-1)).shifted(before.saturating_neg());
            return Ok(Some((start.max(Timestamp(FIRST)), end)));
        };
        if start >= end {
            return Ok(None);
        }
        let steps = self.steps(start, end);
        if steps > most {
            let points = steps.saturating_mul(gpus);
            let works = works(end.0.saturating_sub(start.0), most);
            let reason = format!("{points} points ({steps} steps of {gpus} GPUs); at most {MAX_POINTS}: {works}");
            return Err(Error::invalid("step", reason));
        }
        Ok(Some((start, end)))
    }
}

/// The step that stays within `most` steps over a range of so many microseconds.
fn works(range: i64, most: i64) -> String {
    // A range whose start lies inside a bucket touches one more.
    let step = range.div_euclid((most - 1).max(1)).saturating_add(1);
    if !STEPS.contains(&step) || most < 2 {
        return "choose fewer GPUs or a shorter range".to_owned();
    }
    let milliseconds = (step + 999) / 1_000;
    let step =
        if milliseconds < 1_000 { format!("{milliseconds}ms") } else { format!("{}s", (milliseconds + 999) / 1_000) };
    format!("step={step} would work")
}

impl Model {
    /// Samples of these GPUs summed up in steps; a step without a value is not in the answer. The first and the last may
    /// be cut by the range.
    ///
    /// Without an end the range ends with the newest value; without a start it holds the last 1,000 steps, or as many as
    /// [`MAX_POINTS`] leaves for so many GPUs.
    ///
    /// # Errors
    /// [`Error::Invalid`] for too many points or a cursor of another list, and as PostgreSQL answers.
    pub async fn buckets(
        &self,
        sources: &[Source],
        range: Range,
        metrics: &Metrics,
        window: Window,
        order: Order,
        paging: &Paging,
    ) -> Result<Page<Sample>> {
        let gpus = i64::try_from(sources.len()).unwrap_or(i64::MAX);
        let (range, place) = match paging.cursor.as_ref().map(Cursor::place) {
            None => (range, None),
            Some(Place::Bucket(made_for, at, id, start, end)) if *made_for == order => {
                (Range::new(Some(*start), Some(*end))?, Some((*at, *id)))
            }
            Some(_) => return Err(Cursor::foreign()),
        };
        let newest = sources.iter().filter_map(|source| source.newest).max();
        let Some((start, end)) = window.bounds(range, newest, gpus)? else {
            return Ok(Page::of(Vec::new(), paging.limit));
        };

        // Nothing of the buckets before the cursor's is read again.
        let (from, until) = match (place, order) {
            (None, _) => (start, end),
            (Some((at, _)), Order::Newest) => (start, at.shifted(window.step)),
            (Some((at, _)), Order::Oldest) => (at, end),
        };
        let (at, id) = place.unzip();
        let ids: Vec<i32> = sources.iter().map(|source| source.id).collect();
        let (rows, other) = (paging.rows(), metrics.other());
        let sql = statement(metrics, window.aggregate, order);
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 10] =
            [&ids, &start, &end, &from, &until, &rows, &other, &window.step, &at, &id];
        let found = self.query(&sql, &parameters).await?;

        let by_id = by_id(sources);
        let mut items = Vec::with_capacity(found.len());
        for row in &found {
            let (id, at) = (self.nth::<i32>(row, 0)?, self.nth::<Timestamp>(row, 1)?);
            let ext = self.nth::<Option<Value>>(row, 2)?;
            let Some(source) = by_id.get(&id) else { continue };
            let sample = Sample::of(source, at, metrics.values(self, row, 3, ext.as_ref())?);
            items.push((sample, Cursor::at(Place::Bucket(order, at, id, start, end))));
        }
        Ok(Page::of(items, paging.limit))
    }
}

fn statement(metrics: &Metrics, aggregate: Option<Aggregate>, order: Order) -> String {
    let column = |name: &str| {
        let aggregate = aggregate.unwrap_or_else(|| Aggregate::usual(Metric::known(name).as_ref()));
        format!(", {} AS {name}", aggregate.sql(&format!("s.{name}")))
    };
    let other = aggregate.unwrap_or_else(|| Aggregate::usual(None)).sql("(e.value)::double precision");
    let (behind, direction) = match order {
        Order::Newest => ("<", "DESC"),
        Order::Oldest => (">", "ASC"),
    };
    include_str!("buckets.sql")
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
    use proptest::prelude::*;

    fn window(micros: i64) -> Window {
        Window { step: micros, aggregate: None }
    }

    #[test]
    fn an_open_range_ends_with_the_newest_value() {
        let newest = Some(Timestamp(10_000_000));
        let (start, end) = window(1_000_000).bounds(Range::default(), newest, 1).unwrap().unwrap();
        assert_eq!((start, end), (Timestamp(10_000_000 - 999_000_000), Timestamp(10_000_001)));
        assert_eq!(window(1_000_000).bounds(Range::default(), None, 1).unwrap(), None);
    }

    #[test]
    fn a_step_is_bounded() {
        assert!(Window::new(Duration::from_micros(999), None).is_err());
        assert!(Window::new(Duration::from_secs(86_400 * 3_651), None).is_err());
        assert!(Window::new(Duration::from_secs(60), None).is_ok());
    }

    #[test]
    fn usual_aggregates_make_up_no_codes() {
        assert_eq!(Aggregate::usual(Metric::known("power_watts").as_ref()), Aggregate::Avg);
        assert_eq!(Aggregate::usual(Metric::known("xid").as_ref()), Aggregate::Last);
        assert_eq!(Aggregate::usual(None), Aggregate::Last);
    }

    proptest! {
        #[test]
        fn the_step_that_is_offered_works(
            start in 0..4_000_000_000_000_000_i64, length in 1..4_000_000_000_000_000_i64, gpus in 1..40_000_i64,
        ) {
            let range = Range { start: Some(Timestamp(start)), end: Some(Timestamp(start + length)) };
            if let Err(refused) = window(1_000).bounds(range, None, gpus) {
                let text = refused.to_string();
                let offer = text.split("step=").nth(1).and_then(|rest| rest.split(' ').next());
                if let Some(offer) = offer {
                    let step = nexus_common::config::duration(offer).unwrap();
                    let window = Window::new(step, None).unwrap();
                    prop_assert!(window.bounds(range, None, gpus).is_ok(), "{}", text);
                }
            }
        }

        #[test]
        fn an_open_start_never_asks_for_too_much(step in STEPS, gpus in 1..100_000_i64) {
            let newest = Some(Timestamp(1_752_871_354_000_000));
            let (start, end) = window(step).bounds(Range::default(), newest, gpus).unwrap().unwrap();
            prop_assert!(start.0 >= FIRST);
            prop_assert!(window(step).steps(start, end) * gpus <= i64::try_from(MAX_POINTS).unwrap());
        }
    }
}
