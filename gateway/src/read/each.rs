//! The same question of many GPUs, answered for each of them by one statement.

use std::collections::HashMap;

use nexus_common::domain::Timestamp;
use serde_json::Value;

use super::samples::by_id;
use super::selection::Source;
use super::{Error, MAX_LIMIT, MAX_POINTS, Metrics, Model, Order, Paging, Range, Result, Sample, Window};

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
    pub window: Option<Window>,
    /// The newest or the oldest first.
    pub order: Order,
    /// How many of each GPU at most.
    pub limit: usize,
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
        match question.window {
            None => self.stored_of_each(sources, question).await,
            Some(window) => self.buckets_of_each(sources, question, window).await,
        }
    }

    async fn stored_of_each(&self, sources: &[Source], question: &Each) -> Result<Vec<Vec<Sample>>> {
        let Each { range, metrics, order, limit, .. } = question;
        let (start, end) = (range.start.unwrap_or(Timestamp(i64::MIN)), range.end.unwrap_or(Timestamp(i64::MAX)));
        let text = match order {
            Order::Newest => include_str!("each_newest.sql"),
            Order::Oldest => include_str!("each_oldest.sql"),
        };
        let sql = text
            .replace("/* columns */", &metrics.columns("", |name| format!(", s.{name}")))
            .replace("/* reported */", &metrics.reported().replace("$7", "$5"));
        let ids: Vec<i32> = sources.iter().map(|source| source.id).collect();
        let (limit, other) = (i64::try_from(*limit).unwrap_or(i64::MAX), metrics.other());
        let found = self.query(&sql, &[&ids, &start, &end, &limit, &other]).await?;

        let by_id = by_id(sources);
        let mut samples = HashMap::<i32, Vec<Sample>>::new();
        for row in &found {
            let (id, at) = (self.nth::<i32>(row, 0)?, self.nth::<Timestamp>(row, 1)?);
            let ext = self.nth::<Option<Value>>(row, 2)?;
            let Some(source) = by_id.get(&id) else { continue };
            let sample = Sample::of(source, at, metrics.values(self, row, 3, ext.as_ref())?);
            samples.entry(id).or_default().push(sample);
        }
        Ok(sources.iter().map(|source| samples.remove(&source.id).unwrap_or_default()).collect())
    }

    /// All buckets of all GPUs are no more than [`MAX_POINTS`], so they are one page.
    async fn buckets_of_each(&self, sources: &[Source], question: &Each, window: Window) -> Result<Vec<Vec<Sample>>> {
        let Each { range, metrics, order, limit, .. } = question;
        let all = Paging { limit: MAX_POINTS, cursor: None };
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
