//! Whether anything was lost.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;

use super::problem::Problem;
use super::query::Query;
use crate::read::{Audit, Model};

/// Whether every row that was read is accounted for: read = stored + dead + queued + in flight + expired, by lane.
///
/// Worked out from cursors and manifests in etcd and the ledger in PostgreSQL, at most a second ago. `balanced` is the
/// verdict; where it is false, `holes` say what is missing. `nexus audit` counts source files anew besides.
#[utoipa::path(get, path = "/api/v1/audit", tag = "audit", responses((status = OK, body = Audit)))]
pub(super) async fn audit(State(read): State<Model>, uri: Uri) -> Result<Json<Audit>, Problem> {
    Query::of(&uri, &[])?;
    Ok(Json(read.audit().await?))
}
