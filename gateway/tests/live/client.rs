//! A WebSocket client that waits no longer than it has to.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async, connect_async};

use crate::world::PATIENCE;

pub(crate) struct Client(pub(crate) WebSocketStream<MaybeTlsStream<TcpStream>>);

/// More bytes than are on the way to [`Client::connect_narrow`] before its sender has to wait: by how much the system lets a
/// sender's buffer grow, which is 4 MiB unless somebody said otherwise.
pub(crate) fn more_than_is_buffered() -> usize {
    let sizes = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_wmem").unwrap_or_default();
    let most = sizes.split_whitespace().next_back().and_then(|most| most.parse().ok()).unwrap_or(4 << 20);
    most + (2 << 20)
}

impl Client {
    /// Connects; an answer that is none of a WebSocket comes back as its status and body.
    pub(crate) async fn connect(address: SocketAddr, query: &str) -> Result<Client, String> {
        Client::connect_from(address, query, None).await
    }

    /// The same as a page of an origin does.
    pub(crate) async fn connect_from(address: SocketAddr, query: &str, origin: Option<&str>) -> Result<Client, String> {
        let mut request = format!("ws://{address}/ws{query}").into_client_request().unwrap();
        if let Some(origin) = origin {
            request.headers_mut().insert("origin", origin.parse().unwrap());
        }
        match connect_async(request).await {
            Ok((stream, answer)) => {
                let mut client = Client(stream);
                // The first message names the request, as the answer does, which a page cannot read.
                let welcome = client.next().await;
                assert_eq!(
                    welcome,
                    json!({"type": "welcome", "request_id": answer.headers()["x-request-id"].to_str().unwrap()})
                );
                Ok(client)
            }
            Err(Error::Http(answer)) => {
                let body = String::from_utf8(answer.body().clone().unwrap_or_default()).unwrap();
                Err(format!("{} {body}", answer.status().as_u16()))
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Connects with little room for what is not read yet.
    pub(crate) async fn connect_narrow(address: SocketAddr, query: &str) -> Client {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(256 << 10).unwrap();
        let stream = MaybeTlsStream::Plain(socket.connect(address).await.unwrap());
        let mut client = Client(client_async(format!("ws://{address}/ws{query}"), stream).await.unwrap().0);
        assert_eq!(client.next().await["type"], "welcome");
        client
    }

    /// The next message; `Err` holds the code of the farewell, 0 where there was none.
    pub(crate) async fn try_next(&mut self) -> Result<Value, u16> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let message = timeout_at(deadline, self.0.next()).await.expect("nothing comes");
            match message {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(farewell))) => return Err(farewell.map_or(0, |frame| frame.code.into())),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(0),
            }
        }
    }

    pub(crate) async fn next(&mut self) -> Value {
        self.try_next().await.unwrap_or_else(|code| panic!("closed: {code}"))
    }

    /// Nothing comes for a moment, but perhaps how far the feed has come.
    pub(crate) async fn is_quiet(&mut self) {
        let said = async {
            loop {
                match self.next().await {
                    message if message["type"] == "position" => {}
                    message => break message,
                }
            }
        };
        let said = timeout(Duration::from_millis(300), said).await;
        assert!(said.is_err(), "{said:?}");
    }

    /// The next frame; positions are passed over.
    pub(crate) async fn frame(&mut self) -> Value {
        loop {
            let message = self.next().await;
            match message["type"].as_str().unwrap() {
                "position" => {}
                "telemetry" | "events" => return message,
                _ => panic!("{message}"),
            }
        }
    }

    pub(crate) async fn revision(&mut self) -> i64 {
        self.frame().await["revision"].as_i64().unwrap()
    }

    pub(crate) async fn say(&mut self, message: &Value) {
        self.0.send(Message::text(message.to_string())).await.unwrap();
    }

    /// Says something and takes the answer, which comes before anything else that it causes.
    pub(crate) async fn ask(&mut self, message: &Value) -> Value {
        self.say(message).await;
        self.next().await
    }
}

/// `host/gpu: metric=value …` of each sample.
pub(crate) fn samples(frame: &Value) -> Vec<String> {
    let line = |sample: &Value| {
        let data = sample["data"].as_object().unwrap();
        let data: Vec<_> = data.iter().map(|(metric, value)| format!("{metric}={value}")).collect();
        format!("{}/{}: {}", sample["host_id"].as_str().unwrap(), sample["gpu_id"].as_str().unwrap(), data.join(" "))
    };
    frame["samples"].as_array().unwrap_or_else(|| panic!("{frame}")).iter().map(line).collect()
}
