//! What is stored of single GPUs and times, for whoever holds it against its source.

use std::collections::{BTreeMap, HashMap};

use deadpool_postgres::Pool;
use serde_json::Value;

use super::Error;
use super::ledger::number;
use crate::domain::{GpuIdentity, Timestamp};
use crate::queue::BatchId;

/// The GPUs of a cluster by what rows call them.
#[derive(Debug, Default)]
pub struct Registered {
    by_uuid: HashMap<(String, String), i32>,
    by_place: HashMap<(String, String), i32>,
}

/// One stored sample.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct StoredSample {
    /// Values that gave way to a later one for the same metric.
    pub conflicts: u64,
    /// Metric name to value.
    pub values: BTreeMap<String, f64>,
}

/// The dead letters of one batch.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct DeadLines {
    /// Lines that are dead letters of their own.
    pub lines: Vec<u64>,
    /// Rows of messages that nobody could look into: which lines they were is not known.
    pub elsewhere: u64,
}

impl Registered {
    /// Reads the registry of a cluster.
    ///
    /// # Errors
    /// As PostgreSQL answers.
    pub async fn read(memory: &Pool, cluster: &str) -> Result<Registered, Error> {
        let client = memory.get().await?;
        let mut registered = Registered::default();
        for row in client.query(include_str!("sql/gpus.sql"), &[&cluster]).await? {
            let (id, host, index): (i32, String, String) = (row.get(0), row.get(1), row.get(2));
            match row.get::<_, Option<String>>(3) {
                Some(uuid) => {
                    registered.by_uuid.insert((uuid, row.get::<_, Option<String>>(4).unwrap_or_default()), id)
                }
                None => registered.by_place.insert((host, index), id),
            };
        }
        Ok(registered)
    }

    /// The id under which a GPU's samples are stored.
    pub fn id(&self, gpu: &GpuIdentity) -> Option<i32> {
        match &gpu.uuid {
            Some(uuid) => self.by_uuid.get(&(uuid.clone(), gpu.mig.clone().unwrap_or_default())).copied(),
            None => self.by_place.get(&(gpu.host.clone(), gpu.gpu.clone())).copied(),
        }
    }
}

/// The samples of these GPUs at these times; what is not there is not in the answer.
///
/// # Errors
/// As PostgreSQL answers.
pub async fn samples(
    memory: &Pool,
    places: &[(i32, Timestamp)],
) -> Result<HashMap<(i32, Timestamp), StoredSample>, Error> {
    let client = memory.get().await?;
    let (gpus, times): (Vec<i32>, Vec<i64>) = places.iter().map(|(gpu, at)| (*gpu, at.0)).unzip();
    let rows = client.query(include_str!("sql/samples.sql"), &[&gpus, &times]).await?;
    let sample = |row: &tokio_postgres::Row| {
        let conflicts: i32 = row.get("conflicts");
        let mut values = BTreeMap::new();
        if let Value::Object(columns) = row.get("sample") {
            for (name, value) in columns {
                match value {
                    // Metrics outside the catalogue.
                    Value::Object(ext) => {
                        values.extend(ext.iter().filter_map(|(name, value)| Some((name.clone(), value.as_f64()?))));
                    }
                    _ if name == "gpu_id" || name == "conflicts" => {}
                    _ => values.extend(value.as_f64().map(|value| (name, value))),
                }
            }
        }
        let place = (row.get("gpu_id"), Timestamp(row.get("us")));
        (place, StoredSample { conflicts: conflicts.unsigned_abs().into(), values })
    };
    Ok(rows.iter().map(sample).collect())
}

/// The dead letters of a batch.
///
/// # Errors
/// As PostgreSQL answers.
pub async fn dead_lines(memory: &Pool, cluster: &str, batch: &BatchId) -> Result<DeadLines, Error> {
    let client = memory.get().await?;
    let mut dead = DeadLines::default();
    let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 3] = [&cluster, &batch.lane, &batch.to_string()];
    for row in client.query(include_str!("sql/dead_lines.sql"), &parameters).await? {
        match row.get::<_, Option<i64>>("line") {
            Some(_) => dead.lines.push(number(&row, "line")),
            None => dead.elsewhere += u64::from(row.get::<_, i32>("row_count").unsigned_abs()),
        }
    }
    Ok(dead)
}
