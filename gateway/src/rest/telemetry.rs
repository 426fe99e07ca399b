//! What GPUs reported.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;

use super::place::Place;
use super::problem::Problem;
use super::query::{LIST, Query};
use crate::read::{Latest, Model, Page, Sample, Source};

type Answer<T> = Result<Json<Page<T>>, Problem>;

/// Which GPUs.
pub(super) const SELECTION: &[&str] = &["cluster_id", "host_id", "gpu_id"];
/// Which of their samples, and how.
const SAMPLES: &[&str] = &["start", "end", "metrics", "step", "agg", "order"];

/// `GET /api/v1/telemetry`
pub(super) async fn telemetry(State(read): State<Model>, uri: Uri) -> Answer<Sample> {
    let question = Question::of(&uri, &[SELECTION, SAMPLES, LIST])?;
    let sources = read.sources(&question.query.selection()).await?;
    question.answer(&read, &sources).await
}

/// `GET /api/v1/clusters/{cluster_id}/hosts/{host_id}/gpus/{gpu_id}/metrics`
pub(super) async fn of_gpu(State(read): State<Model>, place: Place, uri: Uri) -> Answer<Sample> {
    let question = Question::of(&uri, &[SAMPLES, LIST])?;
    let source = read.source(&place.cluster_id, &place.host_id, &place.gpu_id).await?;
    question.answer(&read, &[source]).await
}

/// `GET /api/v1/telemetry/latest`
pub(super) async fn latest(State(read): State<Model>, uri: Uri) -> Answer<Latest> {
    let query = Query::of(&uri, &[SELECTION, &["metrics"], LIST])?;
    let paging = query.paging()?;
    let metrics = read.metrics(&query.metrics()).await?;
    Ok(Json(read.latest(&query.selection(), &metrics, &paging).await?))
}

/// What is asked of samples, read before the database is bothered.
struct Question {
    query: Query,
    range: crate::read::Range,
    order: crate::read::Order,
    window: Option<crate::read::Window>,
    paging: crate::read::Paging,
}

impl Question {
    fn of(uri: &Uri, known: &[&[&str]]) -> Result<Self, Problem> {
        let query = Query::of(uri, known)?;
        let (range, order, window, paging) = (query.range()?, query.order()?, query.window()?, query.paging()?);
        Ok(Question { query, range, order, window, paging })
    }

    async fn answer(&self, read: &Model, sources: &[Source]) -> Answer<Sample> {
        let metrics = read.metrics(&self.query.metrics()).await?;
        let page = match self.window {
            None => read.samples(sources, self.range, &metrics, self.order, &self.paging).await?,
            Some(window) => read.buckets(sources, self.range, &metrics, window, self.order, &self.paging).await?,
        };
        Ok(Json(page))
    }
}
