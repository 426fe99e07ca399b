//! The same question of many GPUs, answered for each of them by one statement.

use std::collections::HashMap;
use std::time::Duration;

use nexus_common::domain::Timestamp;
use serde_json::Value;
use tokio_postgres::Row;

use super::narrow::parts;
use super::samples::statement;
use super::selection::Source;
use super::texts::{Form, Shape};
use super::{Aggregate, Error, MAX_LIMIT, MAX_POINTS, Metrics, Model, Order, Paging, Range, Result, Sample, Window};

/// The most samples of one question: GPUs times the limit of each.
pub const MAX_SAMPLES: usize = 100_000;

/// What is asked of each GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Each {
    /// When.
    pub range: Range,
    /// Which metrics.
    pub metrics: Metrics,
    /// Summed up in steps, or as they were stored.
    pub steps: Option<Steps>,
    /// The newest or the oldest first.
    pub order: Order,
    /// How many of each GPU at most.
    pub limit: usize,
}

/// Steps as they are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steps {
    /// How long; without it as long as suits the range.
    pub step: Option<Duration>,
    /// For all metrics; without it what suits each.
    pub aggregate: Option<Aggregate>,
}

impl Steps {
    /// For these GPUs and this range.
    ///
    /// # Errors
    /// As [`Window::new`] and [`Window::auto`].
    pub fn window(self, sources: &[Source], range: Range, paging: &Paging) -> Result<Window> {
        match self.step {
            Some(step) => Window::new(step, self.aggregate),
            None => Window::auto(self.aggregate, sources, range, paging),
        }
    }
}

impl Model {
    /// The first samples of each GPU in the order asked for, by the GPU's place in `sources`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a limit that is out of bounds, alone or with so many GPUs, and for too many points; and as
    /// PostgreSQL answers.
    pub async fn samples_of_each(&self, sources: &[Source], question: &Each) -> Result<Vec<Vec<Sample>>> {
        let Each { limit, .. } = question;
        // One limit for both: alone it is that of a page.
        Paging::new(*limit, None)?;
        bounded(sources.len(), *limit)?;
        if sources.is_empty() {
            return Ok(Vec::new());
        }
        match question.steps {
            None => self.stored_of_each(sources, question).await,
            Some(steps) => self.buckets_of_each(sources, question, steps).await,
        }
    }

    async fn stored_of_each(&self, sources: &[Source], question: &Each) -> Result<Vec<Vec<Sample>>> {
        let Each { range, metrics, order, limit, .. } = question;
        let (start, end) = (range.start.unwrap_or(Timestamp(i64::MIN)), range.end.unwrap_or(Timestamp(i64::MAX)));
        let text = match order {
            Order::Newest => include_str!("each_newest.sql"),
            Order::Oldest => include_str!("each_oldest.sql"),
        };
        let mut ids: Vec<i32> = sources.iter().map(|source| source.id).collect();
        let (most, other) = (i64::try_from(*limit).unwrap_or(i64::MAX), metrics.other());
        let mut found = HashMap::<i32, Vec<Row>>::new();
        for (from, until, days) in parts(start, end, *order, self.near(sources, *order).await?) {
            // Whoever has too few is asked about again, and answered anew.
            ids.iter().for_each(|id| _ = found.remove(id));
            let form = Form { shape: Shape::Each, metrics: metrics.clone(), order: *order, days };
            let sql = self.texts().of(form, || statement(text, metrics).replace("$7", "$5"));
            for row in self.heavy_query(&sql, &[&ids, &from, &until, &most, &other]).await? {
                found.entry(self.nth(&row, 0)?).or_default().push(row);
            }
            ids.retain(|id| found.get(id).is_none_or(|rows| rows.len() < *limit));
            if ids.is_empty() {
                break;
            }
        }

        let sample = |source: &Source, row: &Row| {
            let ext = self.nth::<Option<Value>>(row, 2)?;
            let at = self.nth::<Timestamp>(row, 1)?;
            Ok(Sample::of(source, at, metrics.values(self, row, 3, ext.as_ref())?))
        };
        let of = |source: &Source| {
            let rows = found.get(&source.id).map_or(&[][..], Vec::as_slice);
            rows.iter().map(|row| sample(source, row)).collect()
        };
        sources.iter().map(of).collect()
    }

    /// All buckets of all GPUs are no more than [`MAX_POINTS`], so they are one page.
    async fn buckets_of_each(&self, sources: &[Source], question: &Each, steps: Steps) -> Result<Vec<Vec<Sample>>> {
        let Each { range, metrics, order, limit, .. } = question;
        let all = Paging { limit: MAX_POINTS, cursor: None };
        let window = steps.window(sources, *range, &all)?;
        let page = self.buckets(sources, *range, metrics, window, *order, &all).await?;
        let mut samples = HashMap::<_, Vec<Sample>>::new();
        for sample in page.items {
            let place = (sample.cluster_id.clone(), sample.host_id.clone(), sample.gpu_id.clone(), sample.uuid.clone());
            let of_gpu = samples.entry(place).or_default();
            if of_gpu.len() < *limit {
                of_gpu.push(sample);
            }
        }
        let of = |source: &Source| {
            let Source { cluster_id, host_id, gpu_id, uuid, .. } = source.clone();
            samples.remove(&(cluster_id, host_id, gpu_id, uuid)).unwrap_or_default()
        };
        Ok(sources.iter().map(of).collect())
    }
}

/// # Errors
/// Where so many samples of so many GPUs are too many, with the limit that would work.
fn bounded(gpus: usize, limit: usize) -> Result<()> {
    let most = (MAX_SAMPLES / gpus.max(1)).min(MAX_LIMIT);
    if limit <= most {
        return Ok(());
    }
    let samples = limit.saturating_mul(gpus);
    let works = if most == 0 { "choose fewer GPUs".to_owned() } else { format!("limit={most} would work") };
    Err(Error::invalid(
        "limit",
        format!("{limit} of each of {gpus} GPUs are {samples} samples; at most {MAX_SAMPLES}: {works}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_that_is_offered_works() {
        assert!(bounded(10, 10_000).is_ok());
        let refused = bounded(247, 10_000).unwrap_err().to_string();
        assert!(refused.ends_with("at most 100000: limit=404 would work"), "{refused}");
        assert!(bounded(247, 404).is_ok());
        assert!(bounded(247, 405).is_err());
        assert!(bounded(200_000, 1).unwrap_err().to_string().ends_with("choose fewer GPUs"));
    }
}
