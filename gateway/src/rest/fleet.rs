//! Clusters, hosts and GPUs.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;

use super::place::Place;
use super::problem::Problem;
use super::query::{LIST, Query};
use crate::read::{Cluster, GpuQuestion, GpuView, Host, Model, Page, Stats};

type Answer<T> = Result<Json<T>, Problem>;

/// `GET /api/v1/clusters`
pub(super) async fn clusters(State(read): State<Model>, uri: Uri) -> Answer<Page<Cluster>> {
    let query = Query::of(&uri, &[LIST])?;
    Ok(Json(read.clusters(&query.paging()?)?))
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
pub(super) async fn hosts_of(State(read): State<Model>, place: Place, uri: Uri) -> Answer<Page<Host>> {
    let query = Query::of(&uri, &[LIST])?;
    Ok(Json(read.hosts_of(&place.cluster_id, &query.paging()?)?))
}

/// `GET /api/v1/clusters/{cluster_id}/hosts/{host_id}`
pub(super) async fn host(State(read): State<Model>, place: Place, uri: Uri) -> Answer<Host> {
    Query::of(&uri, &[])?;
    Ok(Json(read.host(&place.cluster_id, &place.host_id)?))
}

/// `GET /api/v1/clusters/{cluster_id}/hosts/{host_id}/gpus`
pub(super) async fn gpus_of(State(read): State<Model>, place: Place, uri: Uri) -> Answer<Page<GpuView>> {
    let query = Query::of(&uri, &[LIST])?;
    Ok(Json(read.gpus_of(&place.cluster_id, &place.host_id, &query.paging()?)?))
}

/// `GET /api/v1/clusters/{cluster_id}/hosts/{host_id}/gpus/{gpu_id}`
pub(super) async fn gpu(State(read): State<Model>, place: Place, uri: Uri) -> Answer<GpuView> {
    Query::of(&uri, &[])?;
    Ok(Json(read.gpu(&place.cluster_id, &place.host_id, &place.gpu_id)?))
}

/// `GET /api/v1/hosts`
pub(super) async fn hosts(State(read): State<Model>, uri: Uri) -> Answer<Page<Host>> {
    let query = Query::of(&uri, &[&["cluster_id"], LIST])?;
    Ok(Json(read.hosts(query.text("cluster_id"), &query.paging()?)?))
}

/// `GET /api/v1/gpus`
pub(super) async fn gpus(State(read): State<Model>, uri: Uri) -> Answer<Page<GpuView>> {
    let query = Query::of(&uri, &[&["cluster_id", "host_id", "gpu_id", "condition", "severity"], LIST])?;
    let question = GpuQuestion {
        selection: query.selection(),
        condition: query.word("condition")?,
        severity: query.word("severity")?,
    };
    Ok(Json(read.gpus(&question, &query.paging()?)?))
}
