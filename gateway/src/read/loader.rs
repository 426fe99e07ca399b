//! The registry and the newest values as PostgreSQL has them: what the memory is filled from.

use deadpool_postgres::Pool;
use nexus_common::domain::{Metric, Sign, SignKind, Timestamp};
use serde_json::Value;
use tokio_postgres::Row;

use super::{Metrics, Model, Result};
use crate::memory::{Entry, Gpu, Identity, Noted};

/// GPUs of one part.
const PART: i64 = 2_000;
/// Columns of `registry.sql` before those of the metrics.
const FIXED: usize = 10;

/// Reads for the memory, over a connection of its own: people's questions never wait for it, nor it for them.
#[derive(Debug)]
pub struct Loader {
    model: Model,
    sql: String,
    metrics: Metrics,
    /// When the server was started whose ids are in memory.
    known: Option<Timestamp>,
    /// And the one that is being read.
    current: Option<Timestamp>,
}

/// A part of what there is.
#[derive(Debug)]
pub(crate) struct Part {
    /// Clusters and hosts, those without GPUs too; only in the first part.
    pub(crate) names: Vec<(String, Option<String>)>,
    pub(crate) gpus: Vec<Entry>,
    /// Where the next part starts; `None` at the end.
    pub(crate) last: Option<i32>,
}

impl Loader {
    /// Over this pool, which needs one connection.
    pub fn new(model: &Model, pool: Pool) -> Self {
        let metrics = Metrics::default();
        let columns = metrics.columns("", |name| format!(", l.{name}, l.{name}_at"));
        let sql = include_str!("registry.sql").replace("/* columns */", &columns);
        Loader { model: model.over(pool), sql, metrics, known: None, current: None }
    }

    /// Whether PostgreSQL is another one than last time: it was started again, and may have been restored.
    pub(crate) async fn is_other_server(&mut self) -> Result<bool> {
        let rows = self.model.query("SELECT pg_postmaster_start_time() AS started", &[]).await?;
        self.current = rows.first().map(|row| self.model.column(row, "started")).transpose()?;
        Ok(self.known != self.current)
    }

    /// What was read is in memory.
    pub(crate) fn settled(&mut self) {
        self.known = self.current;
    }

    /// The part behind this GPU.
    pub(crate) async fn next(&self, after: Option<i32>) -> Result<Part> {
        let names = match after {
            None => self.names().await?,
            Some(_) => Vec::new(),
        };
        let rows = self.model.query(&self.sql, &[&after.unwrap_or(0), &PART]).await?;
        let gpus = rows.iter().map(|row| self.entry(row)).collect::<Result<Vec<_>>>()?;
        let full = rows.len() >= usize::try_from(PART).unwrap_or(usize::MAX);
        let last = gpus.last().filter(|_| full).map(|entry| entry.gpu.identity.id);
        Ok(Part { names, gpus, last })
    }

    async fn names(&self) -> Result<Vec<(String, Option<String>)>> {
        let sql =
            "SELECT c.name AS cluster_id, h.name AS host_id FROM clusters c LEFT JOIN hosts h ON h.cluster_id = c.id";
        let rows = self.model.query(sql, &[]).await?;
        rows.iter().map(|row| Ok((self.model.column(row, "cluster_id")?, self.model.column(row, "host_id")?))).collect()
    }

    fn entry(&self, row: &Row) -> Result<Entry> {
        let model = &self.model;
        let mut gpu = Gpu::new(Identity {
            id: model.column(row, "id")?,
            gpu_id: model.column(row, "gpu_index")?,
            uuid: model.column(row, "uuid")?,
            model: model.column(row, "model")?,
            device: model.column(row, "device")?,
            labels: model.column(row, "labels")?,
        });
        gpu.last_seen = model.column(row, "ts")?;
        for (metric, column) in self.metrics.known().zip((FIXED..).step_by(2)) {
            let value = model.nth::<Option<f64>>(row, column)?;
            let at = model.nth::<Option<Timestamp>>(row, column + 1)?;
            if let (Some(value), Some(at)) = (value, at) {
                gpu.take(&metric, value, at);
            }
        }
        let ext: Option<Value> = model.column(row, "ext")?;
        for (name, entry) in ext.as_ref().and_then(Value::as_object).into_iter().flatten() {
            if let (Some(value), Some(at)) = (entry["value"].as_f64(), entry["at"].as_i64()) {
                gpu.take(&Metric::Other(name.as_str().into()), value, Timestamp(at));
            }
        }
        Ok(Entry { cluster_id: model.column(row, "cluster_id")?, host_id: model.column(row, "host_id")?, gpu })
    }

    /// The signs that the collectors remember.
    pub(crate) async fn signs(&self) -> Result<Vec<Noted>> {
        let rows = self.model.query(include_str!("signs.sql"), &[]).await?;
        let signs = rows.iter().map(|row| {
            let model = &self.model;
            let kind: String = model.column(row, "kind")?;
            // A kind that a newer collector knows is nothing to us.
            let Ok(kind) = kind.parse::<SignKind>() else { return Ok(None) };
            let sign = Sign {
                kind,
                since: model.column(row, "since")?,
                seen: model.column(row, "seen")?,
                value: model.column::<Option<f64>>(row, "value")?.unwrap_or_default(),
            };
            let (cluster_id, host_id) = (model.column(row, "cluster_id")?, model.column(row, "host_id")?);
            Ok(Some(Noted { cluster_id, host_id, gpu_id: model.column(row, "gpu_id")?, sign }))
        });
        Ok(signs.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    }
}
