use nexus_common::domain::{Metric, Status, Timestamp};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::Value;
use tokio_postgres::Row;

use super::cursor::Place;
use super::fleet::word;
use super::selection::no_gpu;
use super::values::Number;
use super::{Cursor, MAX_LIMIT, Metrics, Model, Page, Paging, Result, Selection, Time};

/// A GPU and the newest value of each of its metrics.
#[derive(Debug, Clone, Serialize)]
pub struct Gpu {
    /// The cluster's name.
    pub cluster_id: String,
    /// The name of the host it is on now.
    pub host_id: String,
    /// Its index on the host.
    pub gpu_id: String,
    /// Where the source had one.
    pub uuid: Option<String>,
    /// As the source calls it, e.g. "NVIDIA H100 80GB HBM3".
    pub model: Option<String>,
    /// The device on its host, e.g. "nvidia0".
    pub device: Option<String>,
    /// What else the source said of it: container, pod, namespace and the like.
    pub labels: Value,
    /// Ok, stale or, without any value, empty.
    #[serde(serialize_with = "word")]
    pub status: Status,
    /// The newest value's time.
    pub last_seen: Option<Time>,
    /// The newest value of each metric.
    pub latest: Readings,
}

/// The newest value of each chosen metric of one GPU.
#[derive(Debug, Clone, Serialize)]
pub struct Latest {
    /// The cluster's name.
    pub cluster_id: String,
    /// The host's name.
    pub host_id: String,
    /// The GPU's index on its host.
    pub gpu_id: String,
    /// Where the source had one.
    pub uuid: Option<String>,
    /// Of the GPU, by all its metrics.
    #[serde(serialize_with = "word")]
    pub status: Status,
    /// The newest time of these values.
    pub timestamp: Time,
    /// The values, each with its own time.
    pub data: Readings,
}

/// One metric's newest value.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reading {
    /// In `unit`.
    #[serde(serialize_with = "number")]
    pub value: f64,
    /// Empty for a pure number; `None` (null) for a metric outside the catalogue, whose unit nobody told.
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

/// Columns of `gpus.sql` before those of the metrics.
const FIXED: usize = 10;

/// Whether a GPU that never reported is wanted.
#[derive(Clone, Copy, PartialEq)]
enum Silent {
    Kept,
    LeftOut,
}

impl Model {
    /// The GPUs of a selection, by cluster, host and index.
    ///
    /// # Errors
    /// [`super::Error::Invalid`] for a cursor of another list, and as PostgreSQL answers.
    pub async fn gpus(&self, selection: &Selection, paging: &Paging) -> Result<Page<Gpu>> {
        self.gpu_page(selection, &Metrics::default(), paging, Silent::Kept).await
    }

    /// The GPUs of a host that has to be there.
    ///
    /// # Errors
    /// [`super::Error::NotFound`] where there is no such host; else as [`Model::gpus`].
    pub async fn gpus_of(&self, cluster_id: &str, host_id: &str, paging: &Paging) -> Result<Page<Gpu>> {
        let (cluster, host) = (Some(cluster_id.to_owned()), Some(host_id.to_owned()));
        let page = self.gpus(&Selection { cluster_id: cluster, host_id: host, gpu_id: None }, paging).await?;
        if page.items.is_empty() {
            self.host(cluster_id, host_id).await?;
        }
        Ok(page)
    }

    /// The one GPU at this place or with this UUID; of several that followed each other the one that reported last.
    ///
    /// # Errors
    /// [`super::Error::NotFound`] where there is none.
    pub async fn gpu(&self, cluster_id: &str, host_id: &str, gpu_id: &str) -> Result<Gpu> {
        let selection = Selection {
            cluster_id: Some(cluster_id.to_owned()),
            host_id: Some(host_id.to_owned()),
            gpu_id: Some(gpu_id.to_owned()),
        };
        let found = self.gpus(&selection, &Paging::new(MAX_LIMIT, None)?).await?.items;
        found.into_iter().max_by_key(|gpu| gpu.last_seen).ok_or_else(|| no_gpu(cluster_id, host_id, gpu_id))
    }

    /// The newest values of the GPUs of a selection that ever reported one of these metrics.
    ///
    /// # Errors
    /// [`super::Error::Invalid`] for a cursor of another list, and as PostgreSQL answers.
    pub async fn latest(&self, selection: &Selection, metrics: &Metrics, paging: &Paging) -> Result<Page<Latest>> {
        let Page { items, next_cursor } = self.gpu_page(selection, metrics, paging, Silent::LeftOut).await?;
        let items = items.into_iter().filter_map(|gpu| {
            let timestamp = gpu.latest.0.iter().map(|(_, reading)| reading.timestamp).max().or(gpu.last_seen)?;
            let Gpu { cluster_id, host_id, gpu_id, uuid, status, latest: data, .. } = gpu;
            Some(Latest { cluster_id, host_id, gpu_id, uuid, status, timestamp, data })
        });
        Ok(Page { items: items.collect(), next_cursor })
    }

    async fn gpu_page(
        &self,
        selection: &Selection,
        metrics: &Metrics,
        paging: &Paging,
        silent: Silent,
    ) -> Result<Page<Gpu>> {
        let (cluster, host, index, id) = match paging.cursor.as_ref().map(Cursor::place) {
            None => (None, None, None, None),
            Some(Place::Gpu(cluster, host, index, id)) => (Some(cluster), Some(host), Some(index), Some(*id)),
            Some(_) => return Err(Cursor::foreign()),
        };
        let sql = include_str!("gpus.sql")
            .replace("/* columns */", &metrics.columns("", |name| format!(", s.{name}, s.{name}_at")))
            .replace("/* join */", if silent == Silent::Kept { "LEFT" } else { "" })
            .replace("/* reported */", &metrics.reported());
        let Selection { cluster_id, host_id, gpu_id } = selection;
        let rows = paging.rows();
        let other = metrics.other();
        let found =
            self.query(&sql, &[cluster_id, host_id, gpu_id, &rows, &cluster, &host, &other, &index, &id]).await?;

        let now = Timestamp::now();
        let found = found.iter().map(|row| {
            let gpu = self.gpu_row(row, metrics, now)?;
            let names = (gpu.cluster_id.clone(), gpu.host_id.clone(), gpu.gpu_id.clone());
            let place = Place::Gpu(names.0, names.1, names.2, self.column(row, "id")?);
            Ok((gpu, Cursor::at(place)))
        });
        Ok(Page::of(found.collect::<Result<_>>()?, paging.limit))
    }

    fn gpu_row(&self, row: &Row, metrics: &Metrics, now: Timestamp) -> Result<Gpu> {
        let newest: Option<Timestamp> = self.column(row, "ts")?;
        Ok(Gpu {
            cluster_id: self.column(row, "cluster_id")?,
            host_id: self.column(row, "host_id")?,
            gpu_id: self.column(row, "gpu_id")?,
            uuid: self.column(row, "uuid")?,
            model: self.column(row, "model")?,
            device: self.column(row, "device")?,
            labels: self.column(row, "labels")?,
            status: Status::of(newest, now, self.stale_after, true),
            last_seen: newest.map(Time),
            latest: self.readings(row, metrics, now)?,
        })
    }

    fn readings(&self, row: &Row, metrics: &Metrics, now: Timestamp) -> Result<Readings> {
        let reading = |value, unit, at| Reading { value, unit, timestamp: Time(at), stale: self.is_stale(at, now) };
        let mut readings = Vec::new();
        for (metric, column) in metrics.known().zip((FIXED..).step_by(2)) {
            let (value, at) = (self.nth::<Option<f64>>(row, column)?, self.nth::<Option<Timestamp>>(row, column + 1)?);
            if let (Some(value), Some(at)) = (value, at) {
                let unit = metric.definition().map(|definition| definition.unit);
                readings.push((metric, reading(value, unit, at)));
            }
        }
        let ext: Option<Value> = self.column(row, "ext")?;
        readings.extend(metrics.others(ext.as_ref()).filter_map(|(name, entry)| {
            let (value, at) = (entry.get("value")?.as_f64()?, entry.get("at")?.as_i64()?);
            Some((Metric::Other(name.into()), reading(value, None, Timestamp(at))))
        }));
        Ok(Readings(readings))
    }
}
