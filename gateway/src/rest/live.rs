//! The live feed: what a client may ask for in a URL, and the feed as Server-Sent Events.

use std::convert::Infallible;

use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::routing::get;
use futures_util::{Stream, StreamExt};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::openapi::parameters::{Chosen, LastEvent, Manner, Measured};
use super::problem::Problem;
use super::query::Query;
use super::telemetry::SELECTION;
use crate::access::{Identity, TICKET};
use crate::live::{Delivery, Filter, Filters, Live, Mode, Options, Position, interval, metrics};
use crate::ws;

/// How, and from where on.
const MANNER: &[&str] = &["metrics", "mode", "interval", "since", TICKET];

/// The routes of the feed; without it they say so, and nothing describes them.
pub(super) fn routes(live: Option<Live>) -> OpenApiRouter {
    match live {
        Some(live) => OpenApiRouter::new().routes(routes!(ws::connect)).routes(routes!(stream)).with_state(live),
        None => {
            let off = || async { Problem::switched_off("the live feed", "ENABLE_WEBSOCKET") };
            OpenApiRouter::new().route("/ws", get(off)).route("/api/v1/stream", get(off))
        }
    }
}

/// What a URL asks of the feed; `since` may also come from elsewhere.
pub(crate) fn options(uri: &Uri, since: Option<&str>) -> Result<Options, Problem> {
    let query = Query::of(uri, &[SELECTION, MANNER])?;
    let mode = match query.text("mode") {
        Some(text) => text.parse().map_err(|reason: &str| Problem::parameter("mode", reason))?,
        None => Mode::default(),
    };
    let pause = query.text("interval").map(|text| interval(text, mode)).transpose();
    let since = match query.text("since") {
        Some(text) => Some(text.parse::<Position>().map_err(|reason| Problem::parameter("since", reason.to_string()))?),
        None => since
            .map(str::parse)
            .transpose()
            .map_err(|reason: crate::live::NoPosition| Problem::parameter("Last-Event-ID", reason.to_string()))?,
    };
    let metrics = metrics(query.metrics()).map_err(|reason| Problem::parameter("metrics", reason))?;
    let selection = query.selection();
    let filter =
        Filter { cluster_id: selection.cluster_id, host_id: selection.host_id, gpu_id: selection.gpu_id, metrics };
    Ok(Options {
        filters: Filters::of(filter),
        mode,
        interval: pause.map_err(|reason| Problem::parameter("interval", reason))?.unwrap_or_default(),
        since,
    })
}

/// What is committed from now on, or from `since` on, as Server-Sent Events. It has no end.
///
/// An event's name is the message's `type`, its data the message as JSON, its id the position to come back to with
/// `Last-Event-ID`: `telemetry` holds samples, `gap` says what is missing.
#[utoipa::path(
    get,
    path = "/api/v1/stream",
    tag = "live",
    params(Chosen, Measured, Manner, LastEvent),
    responses((status = OK, description = "Events without end.", body = String, content_type = "text/event-stream"))
)]
async fn stream(
    State(live): State<Live>,
    identity: Identity,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let last = headers.get("last-event-id").map(|id| id.to_str().unwrap_or("?")).filter(|id| !id.is_empty());
    let subscription = live.hub.subscribe(options(&uri, last)?)?.over("events");
    let deliveries = subscription.into_stream().map(|delivery| Ok(event(&delivery)));
    // A stop ends it at once: it is a request that would never be done.
    let deliveries = deliveries.take_until(live.stop.cancelled_owned()).take_until(identity.until.cancelled_owned());
    Ok(Sse::new(deliveries).keep_alive(KeepAlive::new().interval(live.bounds.ping_interval)))
}

fn event(delivery: &Delivery) -> Event {
    Event::default().id(delivery.position().to_string()).event(delivery.kind()).data(delivery.text().as_str())
}
