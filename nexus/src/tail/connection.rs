//! One WebSocket to a gateway, from a client's side.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use nexus_common::tls::ClientConfig;
use reqwest::Url;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::header::AUTHORIZATION;
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::web;

/// How long a gateway may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// After so much silence the gateway is asked whether it is there; after as much again it is not.
const SILENCE: Duration = Duration::from_secs(30);

/// A connection that is open.
pub(super) struct Connection {
    stream: WebSocketStream<Box<dyn web::Stream>>,
}

/// Why there is no connection.
pub(super) enum Failed {
    /// It may work later.
    ForNow(String),
    /// It will not.
    ForGood(String),
}

impl Connection {
    /// Connects once.
    pub(super) async fn open(
        url: &Url,
        tls: Option<Arc<ClientConfig>>,
        authorization: Option<&str>,
    ) -> Result<Self, Failed> {
        let mut request = url.as_str().into_client_request().map_err(Failed::of)?;
        if let Some(shown) = authorization.and_then(|shown| HeaderValue::from_str(shown).ok()) {
            request.headers_mut().insert(AUTHORIZATION, shown);
        }
        let stream = web::connect(url, tls).await.map_err(|reason| Failed::ForNow(one_line(&reason)))?;
        match timeout(PATIENCE, client_async(request, stream)).await {
            Ok(Ok((stream, _))) => Ok(Connection { stream }),
            Ok(Err(error)) => Err(Failed::of(error)),
            Err(_) => Err(Failed::ForNow(format!("no answer in {PATIENCE:?}"))),
        }
    }

    /// The next message; or why none comes any more.
    pub(super) async fn next(&mut self) -> Result<Utf8Bytes, String> {
        let mut asked = false;
        loop {
            let due = sleep_until(Instant::now() + SILENCE);
            let said = tokio::select! {
                said = self.stream.next() => said,
                () = due => {
                    let sent = timeout(PATIENCE, self.stream.send(Message::Ping(Vec::new().into()))).await;
                    if std::mem::replace(&mut asked, true) || !matches!(sent, Ok(Ok(()))) {
                        return Err("the gateway is silent".to_owned());
                    }
                    continue;
                }
            };
            match said {
                Some(Ok(Message::Text(text))) => return Ok(text),
                Some(Ok(Message::Close(Some(farewell)))) if !farewell.reason.is_empty() => {
                    return Err(farewell.reason.to_string());
                }
                Some(Ok(Message::Close(_))) | None => return Err("the gateway closed the connection".to_owned()),
                Some(Ok(_)) => asked = false,
                Some(Err(error)) => return Err(one_line(&error.to_string())),
            }
        }
    }
}

impl Failed {
    fn of(error: Error) -> Self {
        match error {
            Error::Http(answer) => {
                let body = answer.body().as_deref().unwrap_or_default();
                let reason = match detail(body) {
                    Some(detail) => detail,
                    None => format!("no gateway answers there, but HTTP status {}", answer.status().as_u16()),
                };
                match answer.status() {
                    StatusCode::TOO_MANY_REQUESTS => Failed::ForNow(reason),
                    status if status.is_server_error() => Failed::ForNow(reason),
                    _ => Failed::ForGood(reason),
                }
            }
            Error::Io(error) => Failed::ForNow(one_line(&web::reason(&error))),
            Error::Url(error) => Failed::ForGood(one_line(&error.to_string())),
            error => Failed::ForGood(format!("no gateway answers there: {}", one_line(&error.to_string()))),
        }
    }
}

/// What a problem says in words, and about which parameter.
fn detail(body: &[u8]) -> Option<String> {
    let problem: serde_json::Value = serde_json::from_slice(body).ok()?;
    let detail = one_line(problem.get("detail")?.as_str()?);
    match problem.get("parameter").and_then(|parameter| parameter.as_str()) {
        Some(parameter) => Some(format!("{} {detail}", one_line(parameter))),
        None => Some(detail),
    }
}

fn one_line(text: &str) -> String {
    super::line::plain(text).into_owned()
}
