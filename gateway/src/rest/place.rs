use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use serde::Deserialize;

use super::problem::Problem;

/// What a path names: a cluster, and on longer paths a host in it and a GPU on that.
#[derive(Debug, Deserialize)]
pub(super) struct Place {
    pub(super) cluster_id: String,
    #[serde(default)]
    pub(super) host_id: String,
    #[serde(default)]
    pub(super) gpu_id: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Place {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read: Result<Path<Place>, PathRejection> = Path::from_request_parts(parts, state).await;
        let Path(place) = read.map_err(not_utf8)?;
        if [&place.cluster_id, &place.host_id, &place.gpu_id].into_iter().any(|name| name.contains('\0')) {
            return Err(Problem::path("a name in the path holds a NUL character, which no name has"));
        }
        Ok(place)
    }
}

/// What a path ends in: the name of a file.
pub(crate) struct Tail(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Tail {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read: Result<Path<String>, PathRejection> = Path::from_request_parts(parts, state).await;
        let Path(name) = read.map_err(not_utf8)?;
        Ok(Tail(name))
    }
}

fn not_utf8(_: PathRejection) -> Problem {
    Problem::path("a name in the path is not UTF-8 once its percent signs are undone")
}
