//! Clusters, hosts and GPUs.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;

use super::list::{self, Ask};
use super::place::Place;
use super::problem::Problem;
use super::query::{LIST, Query};
use super::table::Row;
use crate::read::{Cluster, GpuQuestion, GpuView, Host, Model, Stats};

type Answer<T> = Result<Json<T>, Problem>;

impl Row for Cluster {
    const FIELDS: &'static [&'static str] =
        &["cluster_id", "cluster_name", "status", "host_count", "gpu_count", "last_seen"];
}

impl Row for Host {
    const FIELDS: &'static [&'static str] =
        &["cluster_id", "host_id", "status", "gpu_count", "expected_gpu_count", "missing_gpus", "last_seen"];
}

impl Row for GpuView {
    const FIELDS: &'static [&'static str] = &[
        "cluster_id",
        "host_id",
        "gpu_id",
        "uuid",
        "model",
        "device",
        "labels",
        "status",
        "conditions",
        "last_seen",
        "latest",
    ];
}

/// `GET /api/v1/clusters`
pub(super) async fn clusters(State(read): State<Model>, ask: Ask) -> list::Answer<Cluster> {
    let (query, shape) = ask.read(&[LIST])?;
    Ok(shape.list(read.clusters(&query.paging()?)?))
}

/// `GET /api/v1/clusters/{cluster_id}`
pub(super) async fn cluster(State(read): State<Model>, place: Place, uri: Uri) -> Answer<Cluster> {
    Query::of(&uri, &[])?;
    Ok(Json(read.cluster(&place.cluster_id)?))
}

/// `GET /api/v1/clusters/{cluster_id}/stats`
pub(super) async fn stats(State(read): State<Model>, place: Place, uri: Uri) -> Answer<Stats> {
    Query::of(&uri, &[])?;
    Ok(Json(read.stats(&place.cluster_id)?))
}

/// `GET /api/v1/clusters/{cluster_id}/hosts`
pub(super) async fn hosts_of(State(read): State<Model>, place: Place, ask: Ask) -> list::Answer<Host> {
    let (query, shape) = ask.read(&[LIST])?;
    Ok(shape.list(read.hosts_of(&place.cluster_id, &query.paging()?)?))
}

/// `GET /api/v1/clusters/{cluster_id}/hosts/{host_id}`
pub(super) async fn host(State(read): State<Model>, place: Place, uri: Uri) -> Answer<Host> {
    Query::of(&uri, &[])?;
    Ok(Json(read.host(&place.cluster_id, &place.host_id)?))
}

/// `GET /api/v1/clusters/{cluster_id}/hosts/{host_id}/gpus`
pub(super) async fn gpus_of(State(read): State<Model>, place: Place, ask: Ask) -> list::Answer<GpuView> {
    let (query, shape) = ask.read(&[LIST])?;
    Ok(shape.list(read.gpus_of(&place.cluster_id, &place.host_id, &query.paging()?)?))
}

/// `GET /api/v1/clusters/{cluster_id}/hosts/{host_id}/gpus/{gpu_id}`
pub(super) async fn gpu(State(read): State<Model>, place: Place, uri: Uri) -> Answer<GpuView> {
    Query::of(&uri, &[])?;
    Ok(Json(read.gpu(&place.cluster_id, &place.host_id, &place.gpu_id)?))
}

/// `GET /api/v1/hosts`
pub(super) async fn hosts(State(read): State<Model>, ask: Ask) -> list::Answer<Host> {
    let (query, shape) = ask.read(&[&["cluster_id"], LIST])?;
    Ok(shape.list(read.hosts(query.text("cluster_id"), &query.paging()?)?))
}

/// `GET /api/v1/gpus`
pub(super) async fn gpus(State(read): State<Model>, ask: Ask) -> list::Answer<GpuView> {
    let (query, shape) = ask.read(&[&["cluster_id", "host_id", "gpu_id", "condition", "min_severity"], LIST])?;
    let question = GpuQuestion {
        selection: query.selection(),
        condition: query.word("condition")?,
        min_severity: query.word("min_severity")?,
    };
    Ok(shape.list(read.gpus(&question, &query.paging()?)?))
}
