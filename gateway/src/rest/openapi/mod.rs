//! The API's description (OpenAPI 3.1), made from the code: each handler says what it takes and gives, the views describe
//! themselves, and `complete.rs` adds what holds for many routes. Only what is described is routed (`OpenApiRouter`).

mod complete;
mod graphql;
pub(crate) mod parameters;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderValue, header};
use axum::response::IntoResponse;
use axum::routing::get;
use utoipa::ToSchema;
use utoipa::openapi::path::OperationBuilder;
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    ContentBuilder, HttpMethod, InfoBuilder, LicenseBuilder, ObjectBuilder, OpenApi, OpenApiBuilder, ResponseBuilder,
    Server,
};

use super::etag;
use crate::Config;
use crate::read::Sample;

/// Where the description is served.
pub(super) const PATH: &str = "/openapi.json";

/// A page of samples. Where they are summed up it names the step.
#[derive(ToSchema)]
#[expect(dead_code, reason = "described, made by list.rs")]
pub(super) struct Samples {
    /// The items, in the order of the list.
    items: Vec<Sample>,
    /// Ask for this to go on; null at the end of the list.
    #[schema(required)]
    next_cursor: Option<String>,
    /// The length of a bucket, as a question may write it; only where samples are summed up.
    #[schema(nullable = false, example = "5m")]
    step: Option<String>,
    /// The same in seconds.
    #[schema(nullable = false, example = 300)]
    step_seconds: Option<f64>,
}

const ABOUT: &str = "\
GPU telemetry as the collectors committed it, and what operators do about rows that could not be stored.

- **Lists** answer `{\"items\": [...], \"next_cursor\": ...}`, or the same items as NDJSON or CSV, by `Accept` or `format=`. They \
end after `limit` items (1 to 10,000, without it 100); `next_cursor`, also in `Link` and `x-next-cursor`, asks for the rest. \
What is stored meanwhile neither hides nor repeats items.
- **Times** in answers are RFC 3339 in UTC; in questions also a day, epoch seconds or milliseconds, or relative (`now-1h`).
- **Absence is honest**: what nobody reported is not in the answer, and each newest value has its own time.
- **Refusals** are `application/problem+json` (RFC 9457): `type` is for programs, `detail` says what would work. A parameter that \
a route does not have is refused, and so is one that is given twice; an empty one counts as not given.
- **Keys**: where the gateway asks for one, `Authorization: Bearer nxk_…`. A reader's asks everything, an operator's also acts.
- Every route that answers GET also answers HEAD; other methods get 405 with `Allow`. Answers carry `x-request-id` and `traceparent`, and take \
over those of the request.";

/// The description before any route is in it.
pub(super) fn about() -> OpenApi {
    let license = LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build();
    let info = InfoBuilder::new()
        .title("Nexus gateway")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(ABOUT))
        .license(Some(license))
        .build();
    let tag = |name, about| TagBuilder::new().name(name).description(Some(about)).build();
    OpenApiBuilder::new()
        .info(info)
        .servers(Some([Server::new("/")]))
        .tags(Some([
            tag("fleet", "Clusters, hosts and GPUs, how they are now, and what is derived from that."),
            tag("telemetry", "What GPUs reported, and what the metrics are."),
            tag("events", "What happened to GPUs."),
            tag("audit", "Whether every row that was read is accounted for."),
            tag("letters", "Rows that could not be stored."),
            tag("operators", "What operators do about them, and what they did. For keys of operators."),
            tag("graphql", "The same in GraphQL, which describes itself."),
            tag("live", "What is committed, as it is committed."),
            tag("state", "How this gateway is."),
        ]))
        .build()
}

/// The route of the description of all these routes and itself.
pub(super) fn routes(mut description: OpenApi, config: &Config, anonymous: bool) -> Router {
    let given = ContentBuilder::new().schema(Some(ObjectBuilder::new())).build();
    let itself = OperationBuilder::new()
        .tag("state")
        .operation_id(Some("openapi"))
        .summary(Some("This description."))
        .response("200", ResponseBuilder::new().description("OpenAPI 3.1.").content("application/json", given).build());
    description.paths.add_path_operation(PATH, vec![HttpMethod::Get], itself.build());
    description.components.get_or_insert_default();
    let document = Bytes::from(complete::complete(&description, config.enable_graphql, anonymous).to_string());
    let tag = HeaderValue::try_from(etag::tag(&document)).ok();
    Router::new().route(
        PATH,
        get(async move || {
            let mut response = ([(header::CONTENT_TYPE, "application/json")], document.clone()).into_response();
            if let Some(tag) = tag.clone() {
                response.headers_mut().insert(header::ETAG, tag);
            }
            response
        }),
    )
}
