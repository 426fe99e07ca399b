//! The questions.

use async_graphql::{Context, Object};

use super::asked::Asked;
use super::audit::Audit;
use super::error::field;
use super::event::Event;
use super::fleet::{Cluster, Host};
use super::gpu::Gpu;
use super::letters::{self, Action, DeadLetter, Letters};
use super::metric::Metric;
use super::page::{self, Page};
use super::question::{self, Events, Samples};
use super::sample::{Latest, Sample};
use super::stats::Stats;
use super::words::{Condition, Order, Severity};
use crate::read::{self, GpuQuestion, Selection};

/// What is asked for. A list is cut after `limit` items (100 where nothing is said, at most 10,000); its `_page` has a
/// cursor behind every item. Names, numbers and cursors are those of REST.
pub(super) struct Query;

/// Where a failure is one of a single field, the others are answered all the same.
#[Object(rename_fields = "snake_case", rename_args = "snake_case")]
#[allow(clippy::too_many_arguments)] // each is one the client can write
impl Query {
    /// All clusters, by name.
    async fn clusters(
        &self,
        context: &Context<'_>,
        #[graphql(default = 100)] limit: i32,
        cursor: Option<String>,
    ) -> Option<Vec<Cluster>> {
        Asked::answer(context, |asked| {
            let paging = page::part(limit, cursor.as_deref())?;
            Ok(page::items(asked.read.clusters(&paging)?))
        })
    }

    /// The same, page by page.
    async fn clusters_page(
        &self,
        context: &Context<'_>,
        #[graphql(default = 100)] first: i32,
        after: Option<String>,
    ) -> Option<Page<Cluster>> {
        Asked::answer(context, |asked| {
            let paging = page::first(first, after.as_deref())?;
            Ok(Page::of(asked.read.clusters(&paging)?))
        })
    }

    /// One cluster.
    async fn cluster(&self, context: &Context<'_>, cluster_id: String) -> Option<Cluster> {
        Asked::answer(context, |asked| Ok(asked.cluster(&cluster_id)?.into()))
    }

    /// The hosts of one cluster or of all, by cluster and name.
    async fn hosts(
        &self,
        context: &Context<'_>,
        cluster_id: Option<String>,
        #[graphql(default = 100)] limit: i32,
        cursor: Option<String>,
    ) -> Option<Vec<Host>> {
        Asked::answer(context, |asked| {
            let paging = page::part(limit, cursor.as_deref())?;
            Ok(page::items(asked.read.hosts(cluster_id.as_deref(), &paging)?))
        })
    }

    /// The same, page by page.
    async fn hosts_page(
        &self,
        context: &Context<'_>,
        cluster_id: Option<String>,
        #[graphql(default = 100)] first: i32,
        after: Option<String>,
    ) -> Option<Page<Host>> {
        Asked::answer(context, |asked| {
            let paging = page::first(first, after.as_deref())?;
            Ok(Page::of(asked.read.hosts(cluster_id.as_deref(), &paging)?))
        })
    }

    /// One host.
    async fn host(&self, context: &Context<'_>, cluster_id: String, host_id: String) -> Option<Host> {
        Asked::answer(context, |asked| Ok(asked.host(&cluster_id, &host_id)?.into()))
    }

    /// GPUs, by cluster, host and index; of one condition, or whose conditions matter at least so much.
    async fn gpus(
        &self,
        context: &Context<'_>,
        cluster_id: Option<String>,
        host_id: Option<String>,
        gpu_id: Option<String>,
        condition: Option<Condition>,
        min_severity: Option<Severity>,
        #[graphql(default = 100)] limit: i32,
        cursor: Option<String>,
    ) -> Option<Vec<Gpu>> {
        Asked::answer(context, |asked| {
            let paging = page::part(limit, cursor.as_deref())?;
            let question = gpus(cluster_id, host_id, gpu_id, condition, min_severity);
            Ok(page::items(asked.read.gpus(&question, &paging)?))
        })
    }

    /// The same, page by page.
    async fn gpus_page(
        &self,
        context: &Context<'_>,
        cluster_id: Option<String>,
        host_id: Option<String>,
        gpu_id: Option<String>,
        condition: Option<Condition>,
        min_severity: Option<Severity>,
        #[graphql(default = 100)] first: i32,
        after: Option<String>,
    ) -> Option<Page<Gpu>> {
        Asked::answer(context, |asked| {
            let paging = page::first(first, after.as_deref())?;
            let question = gpus(cluster_id, host_id, gpu_id, condition, min_severity);
            Ok(Page::of(asked.read.gpus(&question, &paging)?))
        })
    }

    /// The one GPU at this place or with this UUID.
    async fn gpu(&self, context: &Context<'_>, cluster_id: String, host_id: String, gpu_id: String) -> Option<Gpu> {
        Asked::answer(context, |asked| Ok(asked.read.gpu(&cluster_id, &host_id, &gpu_id)?.into()))
    }

    /// What GPUs reported, plain or summed up in steps.
    async fn telemetry(
        &self,
        context: &Context<'_>,
        cluster_id: Option<String>,
        host_id: Option<String>,
        gpu_id: Option<String>,
        #[graphql(desc = "From this moment on: RFC 3339, epoch seconds or milliseconds, or relative to now (now-1h).")]
        start: Option<String>,
        #[graphql(desc = "Before this moment; written as start.")] end: Option<String>,
        #[graphql(desc = "These metrics only, by name, DCGM field or alias.")] metrics: Option<Vec<String>>,
        #[graphql(desc = "Summed up in steps of this length, e.g. 5m, or auto.")] step: Option<String>,
        #[graphql(
            desc = "How a step is summed up: avg, min, max, sum, last, p95 or rate; by itself what suits each metric. Over long times p95 is slower than the others: no rollups help it."
        )]
        agg: Option<String>,
        #[graphql(default)] order: Order,
        #[graphql(default = 100)] limit: i32,
        cursor: Option<String>,
    ) -> Option<Vec<Sample>> {
        let looked = async {
            let asked = Asked::of(context)?;
            let paging = page::part(limit, cursor.as_deref())?;
            let samples = Samples { start, end, metrics, step, agg, order };
            let page = samples.page(asked, &Selection { cluster_id, host_id, gpu_id }, &paging).await?;
            Ok(page::items(page))
        };
        field(context, looked.await)
    }

    /// The same, page by page.
    async fn telemetry_page(
        &self,
        context: &Context<'_>,
        cluster_id: Option<String>,
        host_id: Option<String>,
        gpu_id: Option<String>,
        #[graphql(desc = "From this moment on: RFC 3339, epoch seconds or milliseconds, or relative to now (now-1h).")]
        start: Option<String>,
        #[graphql(desc = "Before this moment; written as start.")] end: Option<String>,
        #[graphql(desc = "These metrics only, by name, DCGM field or alias.")] metrics: Option<Vec<String>>,
        #[graphql(desc = "Summed up in steps of this length, e.g. 5m, or auto.")] step: Option<String>,
        #[graphql(
            desc = "How a step is summed up: avg, min, max, sum, last, p95 or rate; by itself what suits each metric. Over long times p95 is slower than the others: no rollups help it."
        )]
        agg: Option<String>,
        #[graphql(default)] order: Order,
        #[graphql(default = 100)] first: i32,
        after: Option<String>,
    ) -> Option<Page<Sample>> {
        let looked = async {
            let asked = Asked::of(context)?;
            let paging = page::first(first, after.as_deref())?;
            let samples = Samples { start, end, metrics, step, agg, order };
            let page = samples.page(asked, &Selection { cluster_id, host_id, gpu_id }, &paging).await?;
            Ok(Page::of(page))
        };
        field(context, looked.await)
    }

    /// The newest values of GPUs that ever reported one of these metrics.
    async fn latest(
        &self,
        context: &Context<'_>,
        cluster_id: Option<String>,
        host_id: Option<String>,
        gpu_id: Option<String>,
        #[graphql(desc = "These metrics only, by name, DCGM field or alias.")] metrics: Option<Vec<String>>,
        #[graphql(default = 100)] limit: i32,
        cursor: Option<String>,
    ) -> Option<Vec<Latest>> {
        Asked::answer(context, |asked| {
            let paging = page::part(limit, cursor.as_deref())?;
            let (selection, metrics) =
                (Selection { cluster_id, host_id, gpu_id }, question::metrics(asked, metrics.as_deref())?);
            Ok(page::items(asked.read.latest(&selection, &metrics, &paging)?))
        })
    }

    /// The same, page by page.
    async fn latest_page(
        &self,
        context: &Context<'_>,
        cluster_id: Option<String>,
        host_id: Option<String>,
        gpu_id: Option<String>,
        #[graphql(desc = "These metrics only, by name, DCGM field or alias.")] metrics: Option<Vec<String>>,
        #[graphql(default = 100)] first: i32,
        after: Option<String>,
    ) -> Option<Page<Latest>> {
        Asked::answer(context, |asked| {
            let paging = page::first(first, after.as_deref())?;
            let (selection, metrics) =
                (Selection { cluster_id, host_id, gpu_id }, question::metrics(asked, metrics.as_deref())?);
            Ok(Page::of(asked.read.latest(&selection, &metrics, &paging)?))
        })
    }

    /// What happened to GPUs, by the names they had then.
    async fn events(
        &self,
        context: &Context<'_>,
        cluster_id: Option<String>,
        host_id: Option<String>,
        gpu_id: Option<String>,
        #[graphql(desc = "What happened, in a word.")] kind: Option<String>,
        condition: Option<Condition>,
        min_severity: Option<Severity>,
        #[graphql(desc = "From this moment on, by the data.")] start: Option<String>,
        #[graphql(desc = "Before this moment; written as start.")] end: Option<String>,
        #[graphql(default)] order: Order,
        #[graphql(default = 100)] limit: i32,
        cursor: Option<String>,
    ) -> Option<Vec<Event>> {
        let selection = Selection { cluster_id, host_id, gpu_id };
        let events = Events { selection, kind, condition, min_severity, start, end, order };
        let looked = async { events.page(Asked::of(context)?, &page::part(limit, cursor.as_deref())?).await };
        field(context, looked.await.map(page::items))
    }

    /// The same, page by page.
    async fn events_page(
        &self,
        context: &Context<'_>,
        cluster_id: Option<String>,
        host_id: Option<String>,
        gpu_id: Option<String>,
        #[graphql(desc = "What happened, in a word.")] kind: Option<String>,
        condition: Option<Condition>,
        min_severity: Option<Severity>,
        #[graphql(desc = "From this moment on, by the data.")] start: Option<String>,
        #[graphql(desc = "Before this moment; written as start.")] end: Option<String>,
        #[graphql(default)] order: Order,
        #[graphql(default = 100)] first: i32,
        after: Option<String>,
    ) -> Option<Page<Event>> {
        let selection = Selection { cluster_id, host_id, gpu_id };
        let events = Events { selection, kind, condition, min_severity, start, end, order };
        let looked = async { events.page(Asked::of(context)?, &page::first(first, after.as_deref())?).await };
        field(context, looked.await.map(Page::of))
    }

    /// Whether every row that was read is accounted for, as of a moment ago.
    async fn audit(&self, context: &Context<'_>) -> Option<Audit> {
        let looked = async { Ok(Asked::of(context)?.read.audit().await?.into()) };
        field(context, looked.await)
    }

    /// Rows that could not be stored, and why, of this gateway's cluster; the newest first.
    async fn dead_letters(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Only those whose reason holds this text.")] reason: Option<String>,
        #[graphql(desc = "Only those of this file: its path, or the end of it.")] file: Option<String>,
        #[graphql(desc = "dead, redriving, redriven or purged.")] state: Option<String>,
        #[graphql(desc = "Only those written at this time or later.")] start: Option<String>,
        #[graphql(desc = "Only those written before this time.")] end: Option<String>,
        #[graphql(default = 100)] limit: i32,
        cursor: Option<String>,
    ) -> Option<Vec<DeadLetter>> {
        let letters = Letters { reason, file, state, start, end };
        let looked = async { letters.page(Asked::of(context)?, &page::part(limit, cursor.as_deref())?).await };
        field(context, looked.await.map(page::items))
    }

    /// The same, page by page.
    async fn dead_letters_page(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Only those whose reason holds this text.")] reason: Option<String>,
        #[graphql(desc = "Only those of this file: its path, or the end of it.")] file: Option<String>,
        #[graphql(desc = "dead, redriving, redriven or purged.")] state: Option<String>,
        #[graphql(desc = "Only those written at this time or later.")] start: Option<String>,
        #[graphql(desc = "Only those written before this time.")] end: Option<String>,
        #[graphql(default = 100)] first: i32,
        after: Option<String>,
    ) -> Option<Page<DeadLetter>> {
        let letters = Letters { reason, file, state, start, end };
        let looked = async { letters.page(Asked::of(context)?, &page::first(first, after.as_deref())?).await };
        field(context, looked.await.map(Page::of))
    }

    /// What operators did, the newest first; for operators.
    async fn actions(
        &self,
        context: &Context<'_>,
        #[graphql(default = 100)] limit: i32,
        cursor: Option<String>,
    ) -> Option<Vec<Action>> {
        let looked = async { letters::actions(context, &page::part(limit, cursor.as_deref())?).await };
        field(context, looked.await.map(page::items))
    }

    /// The same, page by page.
    async fn actions_page(
        &self,
        context: &Context<'_>,
        #[graphql(default = 100)] first: i32,
        after: Option<String>,
    ) -> Option<Page<Action>> {
        let looked = async { letters::actions(context, &page::first(first, after.as_deref())?).await };
        field(context, looked.await.map(Page::of))
    }

    /// One cluster in figures.
    async fn stats(&self, context: &Context<'_>, cluster_id: String) -> Option<Stats> {
        Asked::answer(context, |asked| Ok(asked.stats(&cluster_id)?.into()))
    }

    /// Every metric of the catalogue, in its order.
    async fn metrics(&self) -> Vec<Metric> {
        read::catalogue().into_iter().map(Into::into).collect()
    }
}

fn gpus(
    cluster_id: Option<String>,
    host_id: Option<String>,
    gpu_id: Option<String>,
    condition: Option<Condition>,
    min_severity: Option<Severity>,
) -> GpuQuestion {
    let (condition, min_severity) = (condition.map(Into::into), min_severity.map(Into::into));
    GpuQuestion { selection: Selection { cluster_id, host_id, gpu_id }, condition, min_severity }
}
