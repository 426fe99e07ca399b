//! Subscriptions, over real WebSockets.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use nexus_common::domain::{Condition, Event, EventKind, Severity, Timestamp};
use nexus_common::etcd::{Client, Txn, TxnOp};
use nexus_common::queue::{Feed, FeedSample, Keys};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::world::{PATIENCE, World};

/// A client of `graphql-transport-ws`, greeted.
pub(crate) struct Socket(pub(crate) WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    pub(crate) async fn open(world: &World) -> Socket {
        let mut socket = Socket(connect(world, "graphql-transport-ws", None).await.unwrap());
        let shown = world.bearer().map(|bearer| json!({ "authorization": bearer }));
        socket.say(json!({"type": "connection_init", "payload": shown})).await;
        let ack = socket.next().await;
        assert_eq!(ack["type"], "connection_ack");
        assert_eq!(ack["payload"]["request_id"].as_str().unwrap().len(), 32, "{ack}");
        socket
    }

    pub(crate) async fn say(&mut self, message: Value) {
        self.0.send(Message::Text(message.to_string().into())).await.unwrap();
    }

    pub(crate) async fn ask(&mut self, id: &str, query: &str) {
        self.say(json!({"id": id, "type": "subscribe", "payload": {"query": query}})).await;
    }

    /// The next message; `None` once it is closed.
    async fn hear(&mut self) -> Option<Value> {
        loop {
            match timeout(PATIENCE, self.0.next()).await.expect("nothing comes") {
                Some(Ok(Message::Text(text))) => return Some(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                _ => return None,
            }
        }
    }

    pub(crate) async fn next(&mut self) -> Value {
        self.hear().await.expect("closed")
    }

    /// What a field told next.
    async fn told(&mut self, field: &str) -> Value {
        let mut message = self.next().await;
        assert_eq!(message["type"], "next", "{message}");
        assert_eq!(message["payload"].get("errors"), None, "{message}");
        message["payload"]["data"][field].take()
    }
}

async fn connect(
    world: &World,
    protocol: &str,
    origin: Option<&str>,
) -> Result<WebSocketStream<MaybeTlsStream<TcpStream>>, (u16, Value)> {
    let mut request = format!("ws://{}/graphql", world.address).into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", protocol.parse().unwrap());
    if let Some(origin) = origin {
        request.headers_mut().insert("origin", origin.parse().unwrap());
    }
    match connect_async(request).await {
        Ok((stream, answer)) => {
            assert_eq!(answer.headers()["sec-websocket-protocol"], protocol);
            Ok(stream)
        }
        Err(Error::Http(answer)) => {
            let body = serde_json::from_slice(answer.body().as_deref().unwrap_or_default()).unwrap_or_default();
            Err((answer.status().as_u16(), body))
        }
        Err(error) => panic!("{error}"),
    }
}

/// What collectors do when they commit: the feed's key gets a value.
async fn put(world: &World, value: Vec<u8>) -> i64 {
    let client = Client::connect(&world.etcd.endpoints()).await.unwrap();
    let put = TxnOp::put(Keys::new("/telemetry/queue", "alpha").feed(), value, None);
    client.txn(Txn::new().and_then([put])).await.unwrap().revision
}

async fn power(world: &World, host: &str, watts: f64) -> i64 {
    let sample = FeedSample {
        host_id: host.to_owned(),
        gpu_id: "0".to_owned(),
        uuid: Some(format!("GPU-{host}-0")),
        timestamp_us: 1_767_600_000_000_000,
        data: [("power_watts".to_owned(), watts)].into(),
    };
    put(world, Feed::encode("batch", vec![sample], 0)).await
}

const ALL: &str = "type position revision cluster_id samples { cluster_id host_id gpu_id uuid timestamp data } \
                   events { host_id kind code detail } skipped left_out gap { after before reason }";

#[tokio::test]
async fn telemetry_flows_as_it_is_committed() {
    let world = World::new().await;
    let mut socket = Socket::open(&world).await;
    socket.ask("1", &format!("subscription {{ telemetry(mode: \"all\", host_id: \"a-001\") {{ {ALL} }} }}")).await;
    let first = socket.told("telemetry").await;
    assert_eq!((&first["type"], &first["samples"]), (&json!("position"), &Value::Null), "{first}");
    power(&world, "a-002", 1.0).await;
    let revision = power(&world, "a-001", 301.5).await;
    let frame = socket.told("telemetry").await;
    let position = frame["position"].as_str().unwrap();
    assert!(position.ends_with(&format!(".{revision}")), "{frame}");
    assert_eq!(
        frame,
        json!({
            "type": "telemetry", "position": position, "revision": revision, "cluster_id": "alpha",
            "samples": [{
                "cluster_id": "alpha", "host_id": "a-001", "gpu_id": "0", "uuid": "GPU-a-001-0",
                "timestamp": "2026-01-05T08:00:00Z", "data": {"power_watts": 301.5},
            }],
            "events": null, "skipped": 0, "left_out": 0, "gap": null,
        })
    );
    // A query is answered on the same connection.
    socket.ask("2", "{ clusters(limit: 1) { cluster_id } }").await;
    let answer = socket.next().await;
    assert_eq!(
        (&answer["id"], &answer["payload"]["data"]["clusters"][0]["cluster_id"]),
        (&json!("2"), &json!("alpha"))
    );
    assert_eq!(socket.next().await, json!({"type": "complete", "id": "2"}));
    socket.say(json!({"id": "1", "type": "complete"})).await;
    socket
        .ask("3", &format!("subscription {{ telemetry(mode: \"all\", since: \"{position}\") {{ position }} }}"))
        .await;
    let next = power(&world, "a-002", 2.0).await;
    loop {
        let message = socket.next().await;
        if message["id"] == "3" && message["type"] == "next" {
            let position = message["payload"]["data"]["telemetry"]["position"].as_str().unwrap().to_owned();
            if position.ends_with(&format!(".{next}")) {
                break;
            }
        }
    }
}

#[tokio::test]
async fn who_was_away_goes_on_or_is_told_of_the_gap() {
    let world = World::new().await;
    let mut socket = Socket::open(&world).await;
    socket.ask("1", "subscription { telemetry(mode: \"all\") { position revision } }").await;
    let position = socket.told("telemetry").await["position"].as_str().unwrap().to_owned();
    drop(socket);
    let missed =
        [power(&world, "a-000", 1.0).await, power(&world, "a-001", 2.0).await, power(&world, "a-002", 3.0).await];
    let mut socket = Socket::open(&world).await;
    let query =
        format!("subscription {{ telemetry(mode: \"all\", since: \"{position}\") {{ revision gap {{ reason }} }} }}");
    socket.ask("1", &query).await;
    for revision in missed {
        assert_eq!(
            socket.told("telemetry").await,
            json!({"revision": revision, "gap": null}),
            "each once and in order"
        );
    }
    // A position of another store.
    let mut socket = Socket::open(&world).await;
    let query = format!("subscription {{ telemetry(mode: \"all\", since: \"00000000000000ab.7\") {{ {ALL} }} }}");
    socket.ask("1", &query).await;
    let gap = socket.told("telemetry").await;
    assert_eq!((&gap["type"], &gap["gap"]["after"]), (&json!("gap"), &json!("00000000000000ab.7")), "{gap}");
    assert!(!gap["gap"]["reason"].as_str().unwrap().is_empty());
}

#[tokio::test]
async fn newest_values_come_first() {
    let world = World::new().await;
    let mut socket = Socket::open(&world).await;
    socket
        .ask(
            "1",
            "subscription { telemetry(host_id: \"a-001\", metrics: [\"power_watts\"]) { samples { gpu_id data } } }",
        )
        .await;
    let samples = socket.told("telemetry").await["samples"].take();
    assert_eq!(samples.as_array().unwrap().len(), 8, "{samples}");
    assert_eq!(samples[0], json!({"gpu_id": "0", "data": {"power_watts": 108}}));
}

#[tokio::test]
async fn events_are_told_apart_from_telemetry() {
    let world = World::new().await;
    let mut socket = Socket::open(&world).await;
    socket.ask("1", &format!("subscription {{ events {{ {ALL} }} }}")).await;
    assert_eq!(socket.told("events").await["type"], "position");
    power(&world, "a-000", 1.0).await;
    let at = Timestamp(1_767_600_000_000_000);
    let event = Event {
        id: 7,
        host_id: "a-000".to_owned(),
        gpu_id: "3".to_owned(),
        uuid: None,
        at,
        kind: EventKind::Xid,
        condition: Some(Condition::Sick),
        severity: Severity::Critical,
        since: at,
        code: Some(79),
        detail: "XID 79".to_owned(),
    };
    for value in Feed::encode_events(&[event], 0) {
        put(&world, value).await;
    }
    let frame = socket.told("events").await;
    assert_eq!((&frame["type"], &frame["samples"]), (&json!("events"), &Value::Null), "{frame}");
    assert_eq!(frame["events"], json!([{"host_id": "a-000", "kind": "xid", "code": 79, "detail": "XID 79"}]));
}

#[tokio::test]
async fn what_cannot_be_told_is_refused_in_words() {
    let world = World::with(|config| {
        config.bounds.live_clients = 2;
        config.bounds.live_filters = 3;
        config.cors_origins = vec!["http://dashboard.example".to_owned()];
    })
    .await;
    let mut socket = Socket::open(&world).await;
    for (arguments, parameter) in [
        ("mode: \"some\"", "mode"),
        ("since: \"12\"", "since"),
        ("interval: \"soon\"", "interval"),
        ("interval: \"5s\", mode: \"all\"", "interval"),
    ] {
        socket.ask(parameter, &format!("subscription {{ telemetry({arguments}) {{ position }} }}")).await;
        let message = socket.next().await;
        let error = if message["type"] == "error" { &message["payload"][0] } else { &message["payload"]["errors"][0] };
        assert_eq!(error["extensions"]["code"], "INVALID_ARGUMENT", "{message}");
        assert_eq!(error["extensions"]["parameter"], parameter, "{message}");
        assert_eq!(error["extensions"]["request_id"].as_str().unwrap().len(), 32, "{message}");
        assert_eq!(socket.next().await["type"], "complete");
    }
    let all = "subscription { telemetry(mode: \"all\") { type } }";
    for id in ["a", "b"] {
        socket.ask(id, all).await;
        assert_eq!(socket.told("telemetry").await["type"], "position");
    }
    socket.ask("c", all).await;
    let refused = socket.next().await.to_string();
    assert!(refused.contains("MAX_LIVE_CLIENTS") && refused.contains("UNAVAILABLE"), "{refused}");
    drop(socket);
    assert_eq!(connect(&world, "graphql-transport-ws", Some("http://evil.example")).await.unwrap_err().0, 403);
    assert!(connect(&world, "graphql-transport-ws", Some("http://dashboard.example")).await.is_ok());
    assert_eq!(connect(&world, "soap", None).await.unwrap_err().0, 426);
}

#[tokio::test]
async fn one_connection_has_so_many_operations() {
    let world = World::with(|config| config.bounds.live_filters = 2).await;
    let mut socket = Socket::open(&world).await;
    let all = "subscription { telemetry(mode: \"all\") { type } }";
    for id in ["a", "b"] {
        socket.ask(id, all).await;
        assert_eq!(socket.told("telemetry").await["type"], "position");
    }
    socket.ask("c", all).await;
    let refused = socket.next().await.to_string();
    assert!(refused.contains("one connection"), "{refused}");
    assert_eq!(socket.next().await, json!({"type": "complete", "id": "c"}));
    socket.say(json!({"id": "a", "type": "complete"})).await;
    assert_eq!(socket.next().await, json!({"type": "complete", "id": "a"}));
    socket.ask("d", all).await;
    assert_eq!(socket.told("telemetry").await["type"], "position", "one was free again");
}

#[tokio::test]
async fn who_does_not_greet_is_let_go() {
    let world = World::with(|config| config.bounds.header_timeout = Duration::from_secs(1)).await;
    let mut greeted = Socket::open(&world).await;
    let mut mute = connect(&world, "graphql-transport-ws", None).await.unwrap();
    let mut chatty = connect(&world, "graphql-transport-ws", None).await.unwrap();
    chatty.send(Message::text(json!({"type": "ping"}).to_string())).await.unwrap();
    assert!(matches!(chatty.next().await, Some(Ok(Message::Text(_)))), "a pong");
    for socket in [&mut mute, &mut chatty] {
        let Some(Ok(Message::Close(Some(farewell)))) = timeout(PATIENCE, socket.next()).await.expect("it may stay")
        else {
            panic!("no farewell");
        };
        assert_eq!(u16::from(farewell.code), 4408, "{farewell}");
    }
    greeted.ask("1", "{ clusters(limit: 1) { cluster_id } }").await;
    assert_eq!(greeted.next().await["type"], "next");
}

#[tokio::test]
async fn who_is_silent_is_asked_and_let_go() {
    let world = World::with(|config| config.bounds.ping_interval = Duration::from_millis(250)).await;
    let mut awake = Socket::open(&world).await;
    awake.ask("1", "subscription { telemetry(mode: \"all\") { type } }").await;
    assert_eq!(awake.told("telemetry").await["type"], "position");
    let asleep = Socket::open(&world).await;
    // Reading answers the pings; the other socket is not read, so that nobody does. It finds itself closed.
    for _ in 0..4 {
        let asked = timeout(PATIENCE, awake.0.next()).await.expect("it is not asked");
        assert!(matches!(asked, Some(Ok(Message::Ping(_)))), "a client that answers stays: {asked:?}");
    }
    let mut asleep = asleep;
    assert_eq!(asleep.hear().await, None);
    power(&world, "a-000", 1.0).await;
    assert_eq!(awake.told("telemetry").await["type"], "telemetry");
}

#[tokio::test]
async fn subscriptions_can_be_switched_off() {
    let world = World::with(|config| config.enable_websocket = false).await;
    let (status, problem) = connect(&world, "graphql-transport-ws", None).await.unwrap_err();
    assert_eq!(status, 404);
    assert!(problem["detail"].as_str().unwrap().contains("ENABLE_WEBSOCKET=false"), "{problem}");
    assert_eq!(
        crate::graphql::data(&world, "{ clusters(limit: 1) { cluster_id } }").await["clusters"][0]["cluster_id"],
        "alpha"
    );
}
