//! The live feed over WebSocket, at `/ws`.
//!
//! `new WebSocket('ws://…/ws')` with nothing but an `onmessage` handler gets telemetry. The query says what is wanted and
//! how (`cluster_id`, `host_id`, `gpu_id`, `metrics`, `mode`, `interval`, `since`); `subscribe` and `unsubscribe`
//! messages change it. The first message is `welcome`, with the request's id, by which the log has what became of this
//! connection; errors repeat it. A client that does not answer, does not read or says too much is closed; none delays another.

mod client;
mod command;
mod origin;

use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;

use crate::access::Identity;
use crate::live::Live;
use crate::rest::parameters::{Chosen, Manner, Measured};
use crate::rest::{Problem, live_options};
use client::Client;
pub(crate) use origin::allowed as origin_allowed;

/// The longest message of a client, in bytes.
const MESSAGE_BYTES: usize = 64 << 10;
/// What is spoken here, for those who ask.
const PROTOCOL: &str = "nexus";
/// What is read at once: clients say little.
const READ_BYTES: usize = 4 << 10;

/// What is committed from now on, or from `since` on, as JSON messages over WebSocket.
///
/// `subscribe` and `unsubscribe` messages change what is wanted.
#[utoipa::path(
    get,
    path = "/ws",
    operation_id = "ws",
    tag = "live",
    params(Chosen, Measured, Manner),
    responses((status = SWITCHING_PROTOCOLS, description = "Messages without end."))
)]
pub(crate) async fn connect(
    State(live): State<Live>,
    identity: Identity,
    uri: Uri,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    if !origin::allowed(&headers, &live.origins) {
        return Err(Problem::origin());
    }
    let options = live_options(&uri, None)?;
    let upgrade = upgrade.map_err(|_| Problem::no_websocket())?;
    let subscription = live.hub.subscribe(options)?.over("websocket");
    let upgrade = upgrade
        // A page that offers a key among the protocols has to be answered with one of them, and not with the key.
        .protocols([PROTOCOL])
        .max_message_size(MESSAGE_BYTES)
        .max_frame_size(MESSAGE_BYTES)
        .read_buffer_size(READ_BYTES)
        // Each message goes out at once.
        .write_buffer_size(0);
    let clients = live.clients.clone();
    let until = identity.until;
    let request_id = headers.get("x-request-id").and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
    Ok(upgrade.on_upgrade(move |socket| {
        clients.track_future(Client::new(socket, subscription, live, until, request_id).serve())
    }))
}
