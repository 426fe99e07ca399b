//! GraphQL over WebSocket: `graphql-transport-ws`, and `graphql-ws` for older clients. Queries are answered there too; a
//! peer that does not send `connection_init`, does not answer pings, or does not read, is let go.

use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_graphql::Data;
use async_graphql::http::{ALL_WEBSOCKET_PROTOCOLS, WebSocket as Protocol, WebSocketProtocols, WsMessage};
use axum::extract::FromRequestParts;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::http::header::SEC_WEBSOCKET_PROTOCOL;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::SplitSink;
use futures_util::{SinkExt, StreamExt, future};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::execute::{Api, Operations, RequestId};
use super::http::Served;
use crate::access::{Access, Allowance, Identity, Peer};
use crate::live::Live;
use crate::rest::Problem;
use crate::ws::origin_allowed;

/// The longest message of a client, in bytes: a query may have as many, and its variables some more.
const MESSAGE_BYTES: usize = 128 << 10;
/// Pings without an answer after which nobody is there.
const PATIENCE: u32 = 2;
/// The protocol's code for a client that opens no session in time.
const NOT_GREETED: u16 = 4408;
/// The protocol's codes for one that is not let in, or not any more.
const UNAUTHORIZED: u16 = 4401;
const FORBIDDEN: u16 = 4403;
/// What it is told.
const WHO: &str = "this needs an API key: send it in connection_init as {\"authorization\": \"Bearer nxk_…\"}";

/// `GET /graphql` of a client that wants a WebSocket.
pub(super) async fn connect(served: Served, live: Live, mut parts: Parts, request_id: String) -> Response {
    if !origin_allowed(&parts.headers, &live.origins) {
        return Problem::origin().into_response();
    }
    let offered = parts.headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|offered| offered.to_str().ok());
    let protocol =
        offered.flat_map(|offered| offered.split(',')).find_map(|one| WebSocketProtocols::from_str(one.trim()).ok());
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &()).await;
    let (Some(protocol), Ok(upgrade)) = (protocol, upgrade) else {
        return Problem::no_websocket().into_response();
    };
    let upgrade =
        upgrade.max_message_size(MESSAGE_BYTES).max_frame_size(MESSAGE_BYTES).protocols(ALL_WEBSOCKET_PROTOCOLS);
    let clients = live.clients.clone();
    let allowance = Allowance::new(served.access.clone(), Peer::of(&parts.extensions), &parts.headers);
    let door = Door { access: served.access, allowance, known: Arc::new(Mutex::new(parts.extensions.remove())) };
    upgrade.on_upgrade(move |socket| clients.track_future(serve(socket, served.api, live, protocol, request_id, door)))
}

/// Who is let in: whom the request named, or else the first message.
#[derive(Clone)]
struct Door {
    access: Access,
    /// How often he may ask, until it is known who he is.
    allowance: Allowance,
    /// Held for a look; never across an await.
    known: Arc<Mutex<Option<Identity>>>,
}

impl Door {
    /// Who greets; `None`: nobody who may read.
    fn open(&self, greeting: &serde_json::Value) -> Option<Identity> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_none() {
            *known = self.access.greeted(greeting).ok();
        }
        known.clone()
    }

    /// Comes back when the key that opened it is worth nothing any more.
    async fn shut(&self) {
        let until = self.known.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|known| known.until.clone());
        match until {
            Some(until) => until.cancelled().await,
            None => std::future::pending().await,
        }
    }
}

async fn serve(socket: WebSocket, api: Api, live: Live, protocol: WebSocketProtocols, request_id: String, door: Door) {
    let (sink, source) = socket.split();
    let heard = Arc::new(Mutex::new(Instant::now()));
    let hear = Arc::clone(&heard);
    let said = source
        .take_while(|message| future::ready(!matches!(message, Err(_) | Ok(Message::Close(_)))))
        .filter_map(move |message| {
            *hear.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            future::ready(match message {
                Ok(message @ (Message::Text(_) | Message::Binary(_))) => Some(message.into_data()),
                _ => None,
            })
        });
    let mut session = Data::default();
    let welcome = welcome(&request_id);
    session.insert(RequestId(request_id));
    session.insert(Operations(Arc::new(Semaphore::new(live.bounds.live_filters as usize))));
    let greeted = Arc::new(AtomicBool::new(false));
    let (greet, opened) = (Arc::clone(&greeted), door.clone());
    let init = move |greeting: serde_json::Value| {
        greet.store(true, Ordering::Relaxed);
        let mut session = Data::default();
        let Some(identity) = opened.open(&greeting) else {
            return future::ready(Err(async_graphql::Error::new(WHO)));
        };
        session.insert(opened.allowance.of(&identity));
        session.insert(identity);
        future::ready(Ok(session))
    };
    let messages = Protocol::new(api, said, protocol).connection_data(session).on_connection_init(init);
    let mut messages = std::pin::pin!(messages);
    let mut late = std::pin::pin!(sleep(live.bounds.header_timeout));
    let mut peer = Reader { sink, live };
    let (mut asked, mut asked_at) = (0, Instant::now());
    loop {
        let last = *heard.lock().unwrap_or_else(PoisonError::into_inner);
        if last > asked_at {
            asked = 0;
        }
        tokio::select! {
            biased;
            () = peer.live.stop.cancelled() => {
                return peer.close(close_code::AWAY, "the gateway stops; connect again with since").await;
            }
            () = late.as_mut(), if !greeted.load(Ordering::Relaxed) => {
                return peer.close(NOT_GREETED, "no connection_init within HEADER_TIMEOUT").await;
            }
            () = door.shut() => {
                return peer.close(FORBIDDEN, "the API key is not good any more").await;
            }
            message = messages.next() => match message {
                Some(WsMessage::Close(_, reason)) if reason == WHO => return peer.close(UNAUTHORIZED, WHO).await,
                Some(WsMessage::Text(text)) if text == ACKNOWLEDGED => {
                    if !peer.send(Message::Text(welcome.clone())).await { return }
                }
                Some(WsMessage::Text(text)) => if !peer.send(Message::Text(text.into())).await { return },
                Some(WsMessage::Close(code, reason)) => return peer.close(code, &reason).await,
                None => return,
            },
            () = sleep_until(last.max(asked_at) + peer.live.bounds.ping_interval) => {
                let heard_since = *heard.lock().unwrap_or_else(PoisonError::into_inner) > last;
                if heard_since {
                    continue;
                }
                if asked >= PATIENCE {
                    return;
                }
                (asked, asked_at) = (asked + 1, Instant::now());
                if !peer.send(Message::Ping(Bytes::new())).await {
                    return;
                }
            }
        }
    }
}

/// What the protocol's crate says to a greeting.
const ACKNOWLEDGED: &str = r#"{"type":"connection_ack"}"#;

/// The same with the request's id, by which the log has what is done on this connection; errors repeat it.
fn welcome(request_id: &str) -> Utf8Bytes {
    json!({"type": "connection_ack", "payload": {"request_id": request_id}}).to_string().into()
}

/// Who is written to.
struct Reader {
    sink: SplitSink<WebSocket, Message>,
    live: Live,
}

impl Reader {
    /// `false`: nobody reads, or the gateway stops.
    async fn send(&mut self, message: Message) -> bool {
        let longest = self.live.bounds.ping_interval * PATIENCE;
        tokio::select! {
            sent = timeout(longest, self.sink.send(message)) => matches!(sent, Ok(Ok(()))),
            () = self.live.stop.cancelled() => false,
        }
    }

    async fn close(&mut self, code: u16, reason: &str) {
        let farewell = self.sink.send(Message::Close(Some(CloseFrame { code, reason: reason.into() })));
        let _ = timeout(std::time::Duration::from_secs(1), farewell).await;
    }
}
