//! Clusters, hosts and GPUs.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;

use super::list::{self, Ask};
use super::openapi::parameters::{Ailing, Chosen, Form, InCluster, OfCluster, OfGpu, OfHost, Part};
use super::place::Place;
use super::problem::Problem;
use super::query::{LIST, Query};
use super::table::Row;
use crate::read::{Cluster, GpuQuestion, GpuView, Host, Model, Page, Stats};

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

/// All clusters, by name.
#[utoipa::path(get, path = "/api/v1/clusters", tag = "fleet", params(Form, Part), responses((status = OK, body = Page<Cluster>)))]
pub(super) async fn clusters(State(read): State<Model>, ask: Ask) -> list::Answer<Cluster> {
    let (query, shape) = ask.read(&[LIST])?;
    Ok(shape.list(read.clusters(&query.paging()?)?))
}

/// One cluster.
#[utoipa::path(get, path = "/api/v1/clusters/{cluster_id}", tag = "fleet", params(OfCluster), responses((status = OK, body = Cluster)))]
pub(super) async fn cluster(State(read): State<Model>, place: Place, uri: Uri) -> Answer<Cluster> {
    Query::of(&uri, &[])?;
    Ok(Json(read.cluster(&place.cluster_id)?))
}

/// What a cluster comes to: its hosts and GPUs by state, conditions, freshness, and how values are spread.
///
/// A metric that no GPU reported has no distribution: none is made up.
#[utoipa::path(get, path = "/api/v1/clusters/{cluster_id}/stats", tag = "fleet", params(OfCluster), responses((status = OK, body = Stats)))]
pub(super) async fn stats(State(read): State<Model>, place: Place, uri: Uri) -> Answer<Stats> {
    Query::of(&uri, &[])?;
    Ok(Json(read.stats(&place.cluster_id)?))
}

/// The hosts of a cluster, by name.
#[utoipa::path(get, path = "/api/v1/clusters/{cluster_id}/hosts", operation_id = "hosts_of_cluster", tag = "fleet", params(OfCluster, Form, Part), responses((status = OK, body = Page<Host>)))]
pub(super) async fn hosts_of(State(read): State<Model>, place: Place, ask: Ask) -> list::Answer<Host> {
    let (query, shape) = ask.read(&[LIST])?;
    Ok(shape.list(read.hosts_of(&place.cluster_id, &query.paging()?)?))
}

/// One host.
#[utoipa::path(get, path = "/api/v1/clusters/{cluster_id}/hosts/{host_id}", tag = "fleet", params(OfHost), responses((status = OK, body = Host)))]
pub(super) async fn host(State(read): State<Model>, place: Place, uri: Uri) -> Answer<Host> {
    Query::of(&uri, &[])?;
    Ok(Json(read.host(&place.cluster_id, &place.host_id)?))
}

/// The GPUs of a host, by index, each with its newest values.
#[utoipa::path(get, path = "/api/v1/clusters/{cluster_id}/hosts/{host_id}/gpus", operation_id = "gpus_of_host", tag = "fleet", params(OfHost, Form, Part), responses((status = OK, body = Page<GpuView>)))]
pub(super) async fn gpus_of(State(read): State<Model>, place: Place, ask: Ask) -> list::Answer<GpuView> {
    let (query, shape) = ask.read(&[LIST])?;
    Ok(shape.list(read.gpus_of(&place.cluster_id, &place.host_id, &query.paging()?)?))
}

/// One GPU with its newest values.
#[utoipa::path(get, path = "/api/v1/clusters/{cluster_id}/hosts/{host_id}/gpus/{gpu_id}", tag = "fleet", params(OfGpu), responses((status = OK, body = GpuView)))]
pub(super) async fn gpu(State(read): State<Model>, place: Place, uri: Uri) -> Answer<GpuView> {
    Query::of(&uri, &[])?;
    Ok(Json(read.gpu(&place.cluster_id, &place.host_id, &place.gpu_id)?))
}

/// All hosts, by cluster and name.
#[utoipa::path(get, path = "/api/v1/hosts", tag = "fleet", params(InCluster, Form, Part), responses((status = OK, body = Page<Host>)))]
pub(super) async fn hosts(State(read): State<Model>, ask: Ask) -> list::Answer<Host> {
    let (query, shape) = ask.read(&[&["cluster_id"], LIST])?;
    Ok(shape.list(read.hosts(query.text("cluster_id"), &query.paging()?)?))
}

/// GPUs by cluster, host and index, each with its newest values: which one is sick, hot, idle or missing.
///
/// `condition=missing` also lists GPUs that a host should have and that never reported.
#[utoipa::path(get, path = "/api/v1/gpus", tag = "fleet", params(Chosen, Ailing, Form, Part), responses((status = OK, body = Page<GpuView>)))]
pub(super) async fn gpus(State(read): State<Model>, ask: Ask) -> list::Answer<GpuView> {
    let (query, shape) = ask.read(&[&["cluster_id", "host_id", "gpu_id", "condition", "min_severity"], LIST])?;
    let question = GpuQuestion {
        selection: query.selection(),
        condition: query.word("condition")?,
        min_severity: query.word("min_severity")?,
    };
    Ok(shape.list(read.gpus(&question, &query.paging()?)?))
}
