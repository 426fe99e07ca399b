//! What GPUs reported, and what the metrics are.

use axum::extract::State;

use super::Ranges;
use super::kept::Asked;
use super::list::{self, Ask, Shape, Written};
use super::openapi::Samples;
use super::openapi::parameters::{Chosen, Form, Measured, OfGpu, Part, Span, Summed};
use super::place::Place;
use super::problem::Problem;
use super::query::{LIST, Query, Summary};
use super::table::Row;
use crate::read::{self, Aggregate, Described, Latest, Model, Order, Page, Paging, Range, Sample, Source, Window};

/// Which GPUs.
pub(super) const SELECTION: &[&str] = &["cluster_id", "host_id", "gpu_id"];
/// Which of their samples, and how.
const SAMPLES: &[&str] = &["start", "end", "metrics", "step", "agg", "order"];

impl Row for Sample {
    const FIELDS: &'static [&'static str] = &["cluster_id", "host_id", "gpu_id", "uuid", "timestamp", "data"];

    fn json(&self, body: &mut Vec<u8>) -> serde_json::Result<()> {
        self.write(body)
    }
}

impl Row for Latest {
    const FIELDS: &'static [&'static str] =
        &["cluster_id", "host_id", "gpu_id", "uuid", "status", "timestamp", "data", "readings"];
    const ROOM: usize = 1_536;

    fn json(&self, body: &mut Vec<u8>) -> serde_json::Result<()> {
        self.write(body)
    }
}

impl Row for Described {
    const FIELDS: &'static [&'static str] = &["name", "dcgm", "unit", "kind", "aliases", "range", "help"];
}

/// What GPUs reported in a range of time, plain or summed up in steps; without a range the newest, however old.
#[utoipa::path(get, path = "/api/v1/telemetry", tag = "telemetry", params(Chosen, Span, Measured, Summed, Form, Part), responses((status = OK, body = Samples)))]
pub(super) async fn telemetry(State(on): State<Ranges>, ask: Ask) -> Result<Written, Problem> {
    let question = Question::of(ask, &[SELECTION, SAMPLES, LIST])?;
    let sources = on.read.sources(&question.query.selection())?;
    question.answer(&on, &sources).await
}

/// What one GPU reported in a range of time, plain or summed up in steps; without a range the newest, however old.
#[utoipa::path(get, path = "/api/v1/clusters/{cluster_id}/hosts/{host_id}/gpus/{gpu_id}/metrics", operation_id = "gpu_metrics", tag = "telemetry", params(OfGpu, Span, Measured, Summed, Form, Part), responses((status = OK, body = Samples)))]
pub(super) async fn of_gpu(State(on): State<Ranges>, place: Place, ask: Ask) -> Result<Written, Problem> {
    let question = Question::of(ask, &[SAMPLES, LIST])?;
    let source = on.read.source(&place.cluster_id, &place.host_id, &place.gpu_id)?;
    question.answer(&on, &[source]).await
}

/// The newest value of each metric of each GPU, with its own time.
#[utoipa::path(get, path = "/api/v1/telemetry/latest", tag = "telemetry", params(Chosen, Measured, Form, Part), responses((status = OK, body = Page<Latest>)))]
pub(super) async fn latest(State(read): State<Model>, ask: Ask) -> list::Answer<Latest> {
    let (query, shape) = ask.read(&[SELECTION, &["metrics"], LIST])?;
    let paging = query.paging()?;
    let metrics = read.metrics(&query.metrics())?;
    let page = read.latest(&query.selection(), &metrics, &paging)?;
    Ok(shape.metrics(metrics.names()).list(page))
}

/// The catalogue of metrics, whole.
#[utoipa::path(get, path = "/api/v1/metrics", tag = "telemetry", params(Form), responses((status = OK, body = Page<Described>)))]
pub(super) async fn metrics(ask: Ask) -> list::Answer<Described> {
    let (_, shape) = ask.read(&[])?;
    Ok(shape.list(Page::whole(read::catalogue())))
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

    async fn answer(self, on: &Ranges, sources: &[Source]) -> Result<Written, Problem> {
        let metrics = on.read.metrics(&self.query.metrics())?;
        let window = match self.summary {
            None => None,
            Some(Summary { step: Some(step), aggregate }) => Some(Window::new(step, aggregate)?),
            Some(Summary { step: None, aggregate }) => {
                Some(Window::auto(aggregate, sources, self.range, &self.paging)?)
            }
        };
        let asked = self.asked(sources);
        let Question { shape, range, order, paging, .. } = self;
        let uri = shape.uri().clone();
        let anew = async |read: &Model| {
            let page = match window {
                None => read.samples(sources, range, &metrics, order, &paging).await?,
                Some(window) => read.buckets(sources, range, &metrics, window, order, &paging).await?,
            };
            shape.metrics(metrics.names()).step(window.map(Window::step)).list(page).write()
        };
        on.kept.answer(asked, &uri, &on.read, anew).await
    }

    /// What the answer depends on, where that is the question and what is stored in the hours of its range. A page that a cursor
    /// leads to is about the range of the first one, a rate begins with a reading before it, and what is told from now on is
    /// never the same again.
    fn asked(&self, sources: &[Source]) -> Option<Asked> {
        let (start, end) = (self.range.start?, self.range.end?);
        let moves = |name| self.query.text(name).is_some_and(|text| text.trim_start().starts_with("now"));
        let is_rate = self.summary.is_some_and(|summary| summary.aggregate == Some(Aggregate::Rate));
        if moves("start") || moves("end") || is_rate || self.paging.cursor.is_some() {
            return None;
        }
        Asked::new(self.shape.uri(), self.shape.format(), start, end, sources)
    }
}
