//! What GPUs reported.

use async_graphql::{Json, SimpleObject};

use super::words::Status;
use crate::read::{self, Readings, Values};

/// What one GPU reported for one moment; or, in steps, for the time from `timestamp` on.
#[derive(SimpleObject)]
#[graphql(rename_fields = "snake_case")]
pub(super) struct Sample {
    /// The cluster's name.
    cluster_id: String,
    /// The host's name.
    host_id: String,
    /// The GPU's index on its host.
    gpu_id: String,
    /// Where the source had one.
    uuid: Option<String>,
    /// When the GPU was read.
    timestamp: String,
    /// What was reported, an object as in REST: metric to number. A metric that was not reported is not in here.
    data: Json<Values>,
}

impl From<read::Sample> for Sample {
    fn from(sample: read::Sample) -> Self {
        let read::Sample { cluster_id, host_id, gpu_id, uuid, timestamp, data } = sample;
        Sample { cluster_id, host_id, gpu_id, uuid, timestamp: timestamp.0.to_string(), data: Json(data) }
    }
}

/// The newest value of each chosen metric of one GPU.
#[derive(SimpleObject)]
#[graphql(rename_fields = "snake_case")]
pub(super) struct Latest {
    /// The cluster's name.
    cluster_id: String,
    /// The host's name.
    host_id: String,
    /// The GPU's index on its host.
    gpu_id: String,
    /// Where the source had one.
    uuid: Option<String>,
    /// Of the GPU, by all its metrics.
    status: Status,
    /// The newest time of these values.
    timestamp: String,
    /// The values, an object as in REST: metric to number.
    data: Json<Values>,
    /// The same values, an object as in REST: metric to value, unit, timestamp and stale.
    readings: Json<Readings>,
}

impl From<read::Latest> for Latest {
    fn from(latest: read::Latest) -> Self {
        let read::Latest { cluster_id, host_id, gpu_id, uuid, status, timestamp, data, readings } = latest;
        let (status, timestamp) = (status.into(), timestamp.0.to_string());
        Latest { cluster_id, host_id, gpu_id, uuid, status, timestamp, data: Json(data), readings: Json(readings) }
    }
}
