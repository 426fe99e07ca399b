//! GPUs.

use async_graphql::{ComplexObject, Context, Json, SimpleObject};
use nexus_common::domain::Finding;
use serde_json::Value;

use super::asked::Asked;
use super::error::field;
use super::fleet::{Cluster, Host};
use super::question::Samples;
use super::sample::Sample;
use super::words::{Condition, Order, Severity, Status};
use crate::read::{self, GpuView};

/// A GPU, how it is, and the newest value of each of its metrics.
#[derive(SimpleObject)]
#[graphql(complex, rename_fields = "snake_case")]
pub(super) struct Gpu {
    /// The cluster's name.
    cluster_id: String,
    /// The name of the host it is on now.
    host_id: String,
    /// Its index on the host.
    gpu_id: String,
    /// Where the source had one.
    uuid: Option<String>,
    /// As the source calls it, e.g. "NVIDIA H100 80GB HBM3".
    model: Option<String>,
    /// The device on its host, e.g. "nvidia0".
    device: Option<String>,
    /// What else the source said of it: container, pod, namespace and the like.
    labels: Json<Value>,
    /// Ok; degraded where one of its conditions is a warning or worse; stale; or, without any value, empty.
    status: Status,
    /// What is the matter with it; empty where nothing is.
    conditions: Vec<ConditionFound>,
    /// The newest value's time.
    last_seen: Option<String>,
    /// The newest value of each metric, an object as in REST: metric to value, unit, timestamp and stale.
    latest: Json<read::Readings>,
    #[graphql(skip)]
    source: Option<read::Source>,
}

/// A condition that holds.
#[derive(SimpleObject)]
#[graphql(name = "Finding", rename_fields = "snake_case")]
pub(super) struct ConditionFound {
    /// Which.
    condition: Condition,
    /// How much it matters; it rises with the time it holds.
    severity: Severity,
    /// Since when, by the data.
    since: String,
    /// What shows it, in words with figures and units.
    evidence: String,
}

impl From<Finding> for ConditionFound {
    fn from(finding: Finding) -> Self {
        let Finding { condition, severity, since, evidence } = finding;
        let (condition, severity) = (condition.into(), severity.into());
        ConditionFound { condition, severity, since: since.to_string(), evidence }
    }
}

impl From<GpuView> for Gpu {
    fn from(gpu: GpuView) -> Self {
        Gpu {
            source: gpu.source(),
            cluster_id: gpu.cluster_id,
            host_id: gpu.host_id,
            gpu_id: gpu.gpu_id,
            uuid: gpu.uuid,
            model: gpu.model,
            device: gpu.device,
            labels: Json(gpu.labels),
            status: gpu.status.into(),
            conditions: gpu.conditions.into_iter().map(Into::into).collect(),
            last_seen: gpu.last_seen.map(|time| time.0.to_string()),
            latest: Json(gpu.latest),
        }
    }
}

#[ComplexObject(rename_fields = "snake_case", rename_args = "snake_case")]
impl Gpu {
    /// The cluster it is in.
    async fn cluster(&self, context: &Context<'_>) -> Option<Cluster> {
        Asked::answer(context, |asked| Ok(asked.cluster(&self.cluster_id)?.into()))
    }

    /// The host it is on now.
    async fn host(&self, context: &Context<'_>) -> Option<Host> {
        Asked::answer(context, |asked| Ok(asked.host(&self.cluster_id, &self.host_id)?.into()))
    }

    /// What it reported, plain or summed up in steps: `limit` samples of this GPU. Those of all GPUs in the query are
    /// asked for together, and may be 100,000.
    #[allow(clippy::too_many_arguments)] // each is one the client can write
    async fn telemetry(
        &self,
        context: &Context<'_>,
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
    ) -> Option<Vec<Sample>> {
        let samples = Samples { start, end, metrics, step, agg, order };
        let Some(source) = &self.source else { return Some(Vec::new()) };
        let looked = async { samples.of_each(Asked::of(context)?, source, limit).await };
        field(context, looked.await)
    }
}
