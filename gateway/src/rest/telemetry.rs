//! What GPUs reported, and what the metrics are.

use axum::extract::State;

use super::list::{self, Ask, Shape};
use super::place::Place;
use super::problem::Problem;
use super::query::{LIST, Query, Summary};
use super::table::Row;
use crate::read::{self, Described, Latest, Model, Order, Page, Paging, Range, Sample, Source, Window};

/// Which GPUs.
pub(super) const SELECTION: &[&str] = &["cluster_id", "host_id", "gpu_id"];
/// Which of their samples, and how.
const SAMPLES: &[&str] = &["start", "end", "metrics", "step", "agg", "order"];

impl Row for Sample {
    const FIELDS: &'static [&'static str] = &["cluster_id", "host_id", "gpu_id", "uuid", "timestamp", "data"];
}

impl Row for Latest {
    const FIELDS: &'static [&'static str] =
        &["cluster_id", "host_id", "gpu_id", "uuid", "status", "timestamp", "data", "readings"];
}

impl Row for Described {
    const FIELDS: &'static [&'static str] = &["name", "dcgm", "unit", "kind", "aliases", "range", "help"];
}

/// `GET /api/v1/telemetry`
pub(super) async fn telemetry(State(read): State<Model>, ask: Ask) -> list::Answer<Sample> {
    let question = Question::of(ask, &[SELECTION, SAMPLES, LIST])?;
    let sources = read.sources(&question.query.selection())?;
    question.answer(&read, &sources).await
}

/// `GET /api/v1/clusters/{cluster_id}/hosts/{host_id}/gpus/{gpu_id}/metrics`
pub(super) async fn of_gpu(State(read): State<Model>, place: Place, ask: Ask) -> list::Answer<Sample> {
    let question = Question::of(ask, &[SAMPLES, LIST])?;
    let source = read.source(&place.cluster_id, &place.host_id, &place.gpu_id)?;
    question.answer(&read, &[source]).await
}

/// `GET /api/v1/telemetry/latest`
pub(super) async fn latest(State(read): State<Model>, ask: Ask) -> list::Answer<Latest> {
    let (query, shape) = ask.read(&[SELECTION, &["metrics"], LIST])?;
    let paging = query.paging()?;
    let metrics = read.metrics(&query.metrics())?;
    let page = read.latest(&query.selection(), &metrics, &paging)?;
    Ok(shape.metrics(metrics.names()).list(page))
}

/// `GET /api/v1/metrics`: the catalogue, whole.
pub(super) async fn metrics(ask: Ask) -> list::Answer<Described> {
    let (_, shape) = ask.read(&[])?;
    Ok(shape.list(Page { items: read::catalogue(), next_cursor: None, places: Vec::new() }))
}

/// What is asked of samples, read before the database is bothered.
struct Question {
    query: Query,
    shape: Shape,
    range: Range,
    order: Order,
    summary: Option<Summary>,
    paging: Paging,
}

impl Question {
    fn of(ask: Ask, known: &[&[&str]]) -> Result<Self, Problem> {
        let (query, shape) = ask.read(known)?;
        let (range, order, summary, paging) = (query.range()?, query.order()?, query.summary()?, query.paging()?);
        Ok(Question { query, shape, range, order, summary, paging })
    }

    async fn answer(self, read: &Model, sources: &[Source]) -> list::Answer<Sample> {
        let metrics = read.metrics(&self.query.metrics())?;
        let window = match self.summary {
            None => None,
            Some(Summary { step: Some(step), aggregate }) => Some(Window::new(step, aggregate)?),
            Some(Summary { step: None, aggregate }) => {
                Some(Window::auto(aggregate, sources, self.range, &self.paging)?)
            }
        };
        let page = match window {
            None => read.samples(sources, self.range, &metrics, self.order, &self.paging).await?,
            Some(window) => read.buckets(sources, self.range, &metrics, window, self.order, &self.paging).await?,
        };
        Ok(self.shape.metrics(metrics.names()).step(window.map(Window::step)).list(page))
    }
}
