use nexus_common::domain::{Condition, Finding, Metric, Severity, Status, Timestamp};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::Value;
use utoipa::ToSchema;

use super::cursor::Place;
use super::fleet::word;
use super::selection::{between, no_gpu};
use super::values::Number;
use super::{Cursor, MAX_LIMIT, Metrics, Model, Page, Paging, Result, Selection, Source, Time, Values, described};
use crate::memory::{Gpu, GpuHealth, Health, Machine};

/// A GPU, how it is, and the newest value of each of its metrics.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct GpuView {
    /// The cluster's name.
    pub cluster_id: String,
    /// The name of the host it is on now.
    pub host_id: String,
    /// Its index on the host.
    pub gpu_id: String,
    /// Where the source had one.
    #[schema(required, example = "GPU-6c5795e1-4b3b-7e33-1cf3-8a51a82265f3")]
    pub uuid: Option<String>,
    /// As the source calls it, e.g. "NVIDIA H100 80GB HBM3".
    #[schema(required, example = "NVIDIA H100 80GB HBM3")]
    pub model: Option<String>,
    /// The device on its host, e.g. "nvidia0".
    #[schema(required, example = "nvidia0")]
    pub device: Option<String>,
    /// What else the source said of it: container, pod, namespace and the like.
    #[schema(value_type = Object, example = json!({"namespace": "training", "pod": "train-48-0"}))]
    pub labels: Value,
    /// Ok; degraded where one of its conditions is a warning or worse; stale; or, without any value, empty.
    #[serde(serialize_with = "word")]
    #[schema(schema_with = described::status)]
    pub status: Status,
    /// What is the matter with it, each since when and with the evidence; empty where nothing is.
    #[schema(schema_with = described::findings)]
    pub conditions: Vec<Finding>,
    /// The newest value's time.
    #[schema(required)]
    pub last_seen: Option<Time>,
    /// The newest value of each metric.
    pub latest: Readings,
    /// In the registry; 0 for one that never reported.
    #[serde(skip)]
    id: i32,
}

/// The newest value of each chosen metric of one GPU.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Latest {
    /// The cluster's name.
    pub cluster_id: String,
    /// The host's name.
    pub host_id: String,
    /// The GPU's index on its host.
    pub gpu_id: String,
    /// Where the source had one.
    #[schema(required, example = "GPU-6c5795e1-4b3b-7e33-1cf3-8a51a82265f3")]
    pub uuid: Option<String>,
    /// Of the GPU, by all its metrics.
    #[serde(serialize_with = "word")]
    #[schema(schema_with = described::status)]
    pub status: Status,
    /// The newest time of these values.
    pub timestamp: Time,
    /// The values.
    pub data: Values,
    /// The same values, each with its unit and its own time.
    pub readings: Readings,
}

/// One metric's newest value.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Reading {
    /// In `unit`.
    #[serde(serialize_with = "number")]
    pub value: f64,
    /// Empty for a pure number; null for a metric outside the catalogue, whose unit nobody told.
    #[schema(required, example = "W")]
    pub unit: Option<&'static str>,
    /// When it was read.
    pub timestamp: Time,
    /// Older than a value may be.
    pub stale: bool,
}

/// Readings by metric; a metric nobody reported is not in here.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Readings(pub Vec<(Metric, Reading)>);

/// An object of metric to reading.
impl Serialize for Readings {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (metric, reading) in &self.0 {
            map.serialize_entry(metric.name(), reading)?;
        }
        map.end()
    }
}

fn number<S: Serializer>(value: &f64, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    Number(*value).serialize(serializer)
}

/// Which GPUs a list is to hold.
#[derive(Debug, Clone, Default)]
pub struct GpuQuestion {
    /// Where.
    pub selection: Selection,
    /// Only those with this condition. `missing` also lists GPUs that never reported.
    pub condition: Option<Condition>,
    /// Only those whose condition, or where none is asked for any condition, matters at least so much.
    pub min_severity: Option<Severity>,
}

impl GpuQuestion {
    fn takes(&self, findings: &[Finding]) -> bool {
        (self.condition.is_none() && self.min_severity.is_none())
            || findings.iter().any(|finding| {
                self.condition.is_none_or(|condition| finding.condition == condition)
                    && self.min_severity.is_none_or(|severity| finding.severity >= severity)
            })
    }

    /// Whether GPUs that never reported can be among the answers.
    fn takes_never_seen(&self) -> bool {
        self.condition == Some(Condition::Missing)
    }
}

impl GpuView {
    /// Where its samples come from; `None` for one that never reported.
    pub fn source(&self) -> Option<Source> {
        (self.id != 0).then(|| Source {
            id: self.id,
            cluster_id: self.cluster_id.clone(),
            host_id: self.host_id.clone(),
            gpu_id: self.gpu_id.clone(),
            uuid: self.uuid.clone(),
            newest: self.last_seen.map(|seen| seen.0),
        })
    }
}

/// A GPU of the memory and how it is, or a place where one should be and what is the matter with that.
enum Found<'a> {
    Known(&'a Gpu, &'a GpuHealth),
    NeverSeen(&'a [Finding]),
}

impl<'a> Found<'a> {
    fn findings(&self) -> &'a [Finding] {
        match self {
            Found::Known(_, health) => &health.findings,
            Found::NeverSeen(findings) => findings,
        }
    }
}

/// What the GPUs of a host are ordered by: length of the index, so that numbers sort as numbers; index; registry's id.
type Rank<'a> = (usize, &'a str, i32);

impl Model {
    /// The GPUs that are asked for, by cluster, host and index.
    ///
    /// # Errors
    /// [`super::Error::Invalid`] for a cursor of another list; [`super::Error::Unavailable`] before anything is known.
    pub fn gpus(&self, question: &GpuQuestion, paging: &Paging) -> Result<Page<GpuView>> {
        let now = Timestamp::now();
        self.walk(&question.selection, question.takes_never_seen(), paging, now, |place, found| {
            // First the little that decides, then the rest: few GPUs have a condition.
            question.takes(found.findings()).then(|| self.gpu_view(place, &found, now))
        })
    }

    /// The GPUs of a host that has to be there.
    ///
    /// # Errors
    /// [`super::Error::NotFound`] where there is no such host; else as [`Model::gpus`].
    pub fn gpus_of(&self, cluster_id: &str, host_id: &str, paging: &Paging) -> Result<Page<GpuView>> {
        let (cluster, host) = (Some(cluster_id.to_owned()), Some(host_id.to_owned()));
        let selection = Selection { cluster_id: cluster, host_id: host, gpu_id: None };
        let page = self.gpus(&GpuQuestion { selection, ..GpuQuestion::default() }, paging)?;
        if page.items.is_empty() {
            self.host(cluster_id, host_id)?;
        }
        Ok(page)
    }

    /// The one GPU at this place or with this UUID; of several that followed each other the one that reported last.
    ///
    /// # Errors
    /// [`super::Error::NotFound`] where there is none.
    pub fn gpu(&self, cluster_id: &str, host_id: &str, gpu_id: &str) -> Result<GpuView> {
        let question = GpuQuestion { selection: Selection::gpu(cluster_id, host_id, gpu_id), ..GpuQuestion::default() };
        let found = self.gpus(&question, &Paging::new(MAX_LIMIT, None)?)?.items;
        found.into_iter().max_by_key(|gpu| gpu.last_seen).ok_or_else(|| no_gpu(cluster_id, host_id, gpu_id))
    }

    /// The newest values of the GPUs of a selection that ever reported one of these metrics.
    ///
    /// # Errors
    /// [`super::Error::Invalid`] for a cursor of another list; [`super::Error::Unavailable`] before anything is known.
    pub fn latest(&self, selection: &Selection, metrics: &Metrics, paging: &Paging) -> Result<Page<Latest>> {
        let now = Timestamp::now();
        self.walk(selection, false, paging, now, |place, found| {
            let Found::Known(gpu, health) = found else { return None };
            let readings = self.readings(gpu, metrics, now);
            let timestamp = readings.0.iter().map(|(_, reading)| reading.timestamp).max()?;
            Some(Latest {
                cluster_id: place.0.to_owned(),
                host_id: place.1.to_owned(),
                gpu_id: gpu.identity.gpu_id.clone(),
                uuid: gpu.identity.uuid.clone(),
                status: health.status,
                timestamp,
                data: Values(readings.0.iter().map(|(metric, reading)| (metric.clone(), reading.value)).collect()),
                readings,
            })
        })
    }

    /// Walks over the GPUs of a selection from the cursor on, until the page is full.
    fn walk<T>(
        &self,
        selection: &Selection,
        never_seen_too: bool,
        paging: &Paging,
        now: Timestamp,
        mut show: impl FnMut((&str, &str, &str), Found<'_>) -> Option<T>,
    ) -> Result<Page<T>> {
        let after = match paging.cursor.as_ref().map(Cursor::place) {
            None => None,
            Some(Place::Gpu(cluster, host, index, id)) => Some((cluster.as_str(), host.as_str(), index.as_str(), *id)),
            Some(_) => return Err(Cursor::foreign()),
        };
        let fleet = self.fleet()?;
        let mut items = Vec::new();
        let first_cluster = after.map(|(cluster, ..)| cluster);
        for (cluster, hosts) in fleet.clusters.range(between(first_cluster, selection.cluster_id.as_ref())) {
            let here = after.filter(|(after, ..)| after == cluster);
            let first_host = here.map(|(_, host, ..)| host);
            for (host, machine) in hosts.range(between(first_host, selection.host_id.as_ref())) {
                let here = here.filter(|(_, after, ..)| after == host);
                let behind =
                    |place: &(usize, &str, i32)| here.is_none_or(|(_, _, index, id)| *place > (index.len(), index, id));
                let mut gpus = machine.gpus().values().map(|gpu| &gpu.identity);
                if !never_seen_too && !gpus.any(|gpu| selection.takes_gpu(&gpu.gpu_id, gpu.uuid.as_deref())) {
                    continue;
                }
                let health = machine.health(now, self.thresholds());
                for ((length, index, id), found) in gpus_of(machine, &health, never_seen_too) {
                    let uuid = match &found {
                        Found::Known(gpu, _) => gpu.identity.uuid.as_deref(),
                        Found::NeverSeen(_) => None,
                    };
                    if !behind(&(length, index, id)) || !selection.takes_gpu(index, uuid) {
                        continue;
                    }
                    let Some(item) = show((cluster, host, index), found) else { continue };
                    items.push((item, Cursor::at(Place::Gpu(cluster.clone(), host.clone(), index.to_owned(), id))));
                    if items.len() > paging.limit {
                        return Ok(Page::of(items, paging.limit));
                    }
                }
            }
        }
        Ok(Page::of(items, paging.limit))
    }

    fn gpu_view(&self, place: (&str, &str, &str), found: &Found<'_>, now: Timestamp) -> GpuView {
        let conditions = found.findings().to_vec();
        let (cluster_id, host_id, gpu_id) = (place.0.to_owned(), place.1.to_owned(), place.2.to_owned());
        match found {
            Found::Known(gpu, health) => {
                let identity = &gpu.identity;
                GpuView {
                    cluster_id,
                    host_id,
                    gpu_id,
                    uuid: identity.uuid.clone(),
                    model: identity.model.clone(),
                    device: identity.device.clone(),
                    labels: identity.labels.clone(),
                    status: health.status,
                    conditions,
                    last_seen: gpu.last_seen.map(Time),
                    latest: self.readings(gpu, &Metrics::default(), now),
                    id: identity.id,
                }
            }
            Found::NeverSeen(_) => GpuView {
                cluster_id,
                host_id,
                gpu_id,
                uuid: None,
                model: None,
                device: None,
                labels: Value::Object(serde_json::Map::new()),
                status: Status::Empty,
                conditions,
                last_seen: None,
                latest: Readings::default(),
                id: 0,
            },
        }
    }

    fn readings(&self, gpu: &Gpu, metrics: &Metrics, now: Timestamp) -> Readings {
        let readings = gpu.readings().filter(|(metric, ..)| metrics.holds(metric)).map(|(metric, value, at)| {
            let unit = metric.definition().map(|definition| definition.unit);
            (metric, Reading { value, unit, timestamp: Time(at), stale: self.is_stale(at, now) })
        });
        Readings(readings.collect())
    }
}

/// The GPUs of one host in their order, each with its place; where asked for, those too that should be there.
fn gpus_of<'a>(machine: &'a Machine, health: &'a Health, never_seen_too: bool) -> Vec<(Rank<'a>, Found<'a>)> {
    let known = machine
        .gpus()
        .iter()
        .zip(&health.gpus)
        .map(|(((length, index, id), gpu), health)| ((*length, index.as_str(), *id), Found::Known(gpu, health)));
    let mut all: Vec<_> = known.collect();
    if never_seen_too {
        let never_seen = health.never_seen.iter();
        all.extend(never_seen.map(|(index, findings)| ((index.len(), index.as_str(), 0), Found::NeverSeen(findings))));
        all.sort_by_key(|(rank, _)| *rank);
    }
    all
}
