use std::borrow::Cow;

use nexus_common::domain::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_postgres::Row;
use utoipa::ToSchema;

use super::cursor::Place;
use super::days::Days;
use super::narrow::parts;
use super::selection::Source;
use super::texts::{Form, Shape};
use super::{Cursor, Error, Metrics, Model, Page, Paging, Result, Time, Values};

/// How many GPUs are asked when they began, to know about when their samples do.
const ASKED_FOR_OLDEST: usize = 16;

/// What one GPU reported for one moment; or, in buckets, for the time from `timestamp` on.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Sample {
    /// The cluster's name.
    pub cluster_id: String,
    /// The host's name.
    pub host_id: String,
    /// The GPU's index on its host.
    pub gpu_id: String,
    /// Where the source had one.
    #[schema(required, example = "GPU-6c5795e1-4b3b-7e33-1cf3-8a51a82265f3")]
    pub uuid: Option<String>,
    /// When the GPU was read.
    pub timestamp: Time,
    /// What was reported; a metric that was not is not in here.
    pub data: Values,
}

impl Sample {
    pub(super) fn of(source: &Source, timestamp: Timestamp, data: Values) -> Self {
        Sample {
            cluster_id: source.cluster_id.clone(),
            host_id: source.host_id.clone(),
            gpu_id: source.gpu_id.clone(),
            uuid: source.uuid.clone(),
            timestamp: Time(timestamp),
            data,
        }
    }
}

/// From `start` on and before `end`; without bounds all there is, however old.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Range {
    /// The first moment.
    pub start: Option<Timestamp>,
    /// The moment behind the last.
    pub end: Option<Timestamp>,
}

impl Range {
    /// # Errors
    /// Where it ends before it starts.
    pub fn new(start: Option<Timestamp>, end: Option<Timestamp>) -> Result<Self> {
        match (start, end) {
            (Some(start), Some(end)) if start >= end => {
                Err(Error::invalid("start", format!("{start} is not before end ({end})")))
            }
            _ => Ok(Range { start, end }),
        }
    }
}

/// By time, and by GPU id where times are equal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Order {
    /// The newest first.
    #[default]
    #[serde(rename = "d")]
    Newest,
    /// The oldest first.
    #[serde(rename = "a")]
    Oldest,
}

impl Order {
    /// How a statement compares places to find what comes behind one, and how it sorts.
    pub(super) fn words(self) -> (&'static str, &'static str) {
        match self {
            Order::Newest => ("<", "DESC"),
            Order::Oldest => (">", "ASC"),
        }
    }
}

impl Model {
    /// Samples as they were stored, of these GPUs, that report one of these metrics.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a cursor of another list, and as PostgreSQL answers.
    pub async fn samples(
        &self,
        sources: &[Source],
        range: Range,
        metrics: &Metrics,
        order: Order,
        paging: &Paging,
    ) -> Result<Page<Sample>> {
        let (mut start, mut end) =
            (range.start.unwrap_or(Timestamp(i64::MIN)), range.end.unwrap_or(Timestamp(i64::MAX)));
        // Ids start at 1: without a cursor 0 stands before every sample of `start` and behind every one before `end`.
        let mut gpu_id = 0;
        match (paging.cursor.as_ref().map(Cursor::place), order) {
            (None, _) => {}
            (Some(Place::Sample(Order::Newest, at, id)), Order::Newest) => {
                if *at < end {
                    (end, gpu_id) = (*at, *id);
                }
            }
            (Some(Place::Sample(Order::Oldest, at, id)), Order::Oldest) => {
                if *at >= start {
                    (start, gpu_id) = (*at, *id);
                }
            }
            _ => return Err(Cursor::foreign()),
        }
        let near = self.near(sources, order).await?;
        let (found, metrics) = match sources {
            [source] => {
                let (start, end) = of_one(source.id, start, end, gpu_id, order);
                self.page_of_one(source.id, (start, end, near), metrics, order, paging.rows()).await?
            }
            _ => {
                let ids = sources.iter().map(|source| source.id).collect();
                let parts = parts(start, end, order, near);
                let found = self.page_of_many(ids, gpu_id, parts, metrics, order, paging.rows()).await?;
                (found, Cow::Borrowed(metrics))
            }
        };

        let by_id = by_id(sources);
        let mut items = Vec::with_capacity(found.len());
        for row in &found {
            let (id, at) = (self.nth::<i32>(row, 0)?, self.nth::<Timestamp>(row, 1)?);
            let ext = self.nth::<Option<Value>>(row, 2)?;
            let Some(source) = by_id.get(&id) else { continue };
            let values = metrics.values(self, row, 3, ext.as_ref())?;
            if matches!(metrics, Cow::Borrowed(_)) {
                self.seen().note(values.0.iter().map(|(metric, _)| metric));
            }
            let sample = Sample::of(source, at, values);
            items.push((sample, Cursor::at(Place::Sample(order, at, id))));
        }
        Ok(Page::of(items, paging.limit))
    }

    /// The rows, and the metrics whose columns they have: fewer than all where all are chosen and the rows have no more.
    async fn page_of_one<'a>(
        &self,
        id: i32,
        (start, end, near): (Timestamp, Timestamp, Option<Timestamp>),
        metrics: &'a Metrics,
        order: Order,
        rows: i64,
    ) -> Result<(Vec<Row>, Cow<'a, Metrics>)> {
        let parts = || parts(start, end, order, near);
        if let Some(few) = self.seen().of(metrics) {
            let found = self.columns_of_one(id, parts(), &few, order, rows).await?;
            let mut more = found.iter().map(|row| self.nth::<bool>(row, row.len() - 1));
            if !more.try_fold(false, |any, more| Ok(any || more?))? {
                return Ok((found, Cow::Owned(few)));
            }
        }
        Ok((self.columns_of_one(id, parts(), metrics, order, rows).await?, Cow::Borrowed(metrics)))
    }

    async fn columns_of_one(
        &self,
        id: i32,
        parts: impl Iterator<Item = (Timestamp, Timestamp, Days)>,
        metrics: &Metrics,
        order: Order,
        rows: i64,
    ) -> Result<Vec<Row>> {
        let write = || {
            statement(include_str!("samples_of_one.sql"), metrics)
                .replace("$7", "$5")
                .replace("/* more */", &metrics.more())
                .replace("/* direction */", order.words().1)
        };
        let other = metrics.other();
        let mut found = Vec::new();
        for (from, until, days) in parts {
            let form = Form { shape: Shape::Samples { one: true }, metrics: metrics.clone(), order, days };
            let sql = self.texts().of(form, write);
            found = self.heavy_query(&sql, &[&id, &from, &until, &rows, &other]).await?;
            if is_full(&found, rows) {
                break;
            }
        }
        Ok(found)
    }

    /// `gpu_id` is the cursor's.
    async fn page_of_many(
        &self,
        ids: Vec<i32>,
        gpu_id: i32,
        parts: impl Iterator<Item = (Timestamp, Timestamp, Days)>,
        metrics: &Metrics,
        order: Order,
        rows: i64,
    ) -> Result<Vec<Row>> {
        let text = match order {
            Order::Newest => include_str!("samples_newest.sql"),
            Order::Oldest => include_str!("samples_oldest.sql"),
        };
        let (nth, other) = (nth(rows, ids.len()), metrics.other());
        let mut found = Vec::new();
        for (from, until, days) in parts {
            let form = Form { shape: Shape::Samples { one: false }, metrics: metrics.clone(), order, days };
            let sql = self.texts().of(form, || statement(text, metrics));
            found = self.heavy_query(&sql, &[&ids, &from, &until, &gpu_id, &rows, &nth, &other]).await?;
            if is_full(&found, rows) {
                break;
            }
        }
        Ok(found)
    }

    /// About where the samples of these GPUs begin, seen from the end that is asked for.
    pub(super) async fn near(&self, sources: &[Source], order: Order) -> Result<Option<Timestamp>> {
        match order {
            Order::Newest => Ok(sources.iter().filter_map(|source| source.newest).max()),
            Order::Oldest => {
                let some: Vec<i32> = sources.iter().map(|source| source.id).take(ASKED_FOR_OLDEST).collect();
                let found = self.heavy_query(include_str!("oldest.sql"), &[&some]).await?;
                found.first().map_or(Ok(None), |row| self.nth(row, 0))
            }
        }
    }
}

pub(super) fn statement(text: &str, metrics: &Metrics) -> String {
    text.replace("/* columns */", &metrics.columns("", |name| format!(", s.{name}")))
        .replace("/* ext */", &metrics.ext("s"))
        .replace("/* reported */", &metrics.reported())
}

fn is_full(found: &[Row], rows: i64) -> bool {
    i64::try_from(found.len()).is_ok_and(|found| found >= rows)
}

/// The bounds of one GPU's part of a list that goes on behind the place of a cursor: behind its time, or at it where this
/// GPU comes after the cursor's.
fn of_one(id: i32, start: Timestamp, end: Timestamp, cursor: i32, order: Order) -> (Timestamp, Timestamp) {
    let behind = |at: Timestamp| at.shifted(1);
    match order {
        Order::Newest if id < cursor => (start, behind(end)),
        Order::Oldest if id <= cursor => (behind(start), end),
        _ => (start, end),
    }
}

pub(super) fn by_id(sources: &[Source]) -> std::collections::HashMap<i32, &Source> {
    sources.iter().map(|source| (source.id, source)).collect()
}

/// Of which sample of each GPU the time is looked up, so that half of the GPUs reaching it make a full page.
fn nth(rows: i64, gpus: usize) -> i64 {
    let gpus = i64::try_from(gpus).unwrap_or(i64::MAX).max(1);
    (2 * rows + gpus - 1) / gpus
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_gpus_fill_a_page() {
        for rows in [1, 2, 101, 10_001] {
            for gpus in [1, 2, 3, 7, 247, 20_000] {
                let half = i64::try_from(gpus).unwrap().div_euclid(2) + i64::try_from(gpus % 2).unwrap();
                assert!(nth(rows, gpus) * half >= rows, "{rows} rows of {gpus} GPUs");
            }
        }
    }

    /// As the places of samples_newest.sql and samples_oldest.sql compare.
    #[test]
    fn one_gpu_goes_on_where_the_list_of_many_would() {
        let (start, end) = (Timestamp(10), Timestamp(20));
        for (id, cursor) in [(1, 0), (2, 1), (2, 2), (2, 3)] {
            for at in 9..=21 {
                let within = |(start, end): (Timestamp, Timestamp)| start.0 <= at && at < end.0;
                let newest = at >= start.0 && (at, id) < (end.0, cursor);
                let oldest = at < end.0 && (at, id) > (start.0, cursor);
                assert_eq!(within(of_one(id, start, end, cursor, Order::Newest)), newest, "{at} {id} {cursor}");
                assert_eq!(within(of_one(id, start, end, cursor, Order::Oldest)), oldest, "{at} {id} {cursor}");
            }
        }
    }

    #[test]
    fn a_range_ends_after_it_starts() {
        let at = |micros| Some(Timestamp(micros));
        assert!(Range::new(at(1), at(2)).is_ok());
        assert!(Range::new(at(2), at(2)).is_err());
        assert!(Range::new(None, at(2)).is_ok());
    }
}
