//! What `docs/API.md` shows of WebSockets is true: its clients connect to a running gateway and say what they say there, and
//! what stands there comes.
//!
//! The fleet of the examples is the same on every machine, so all is compared to the letter but what is of the moment:
//! positions, times, numbers of rows, measured values. `…` stands for what is left out.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::manual::{MANUAL, fleet, shown};
use crate::markdown::Markdown;
use crate::parity::Gateway;
use crate::world::{PATIENCE, World};

/// Of the moment, whatever they are.
const OF_THE_MOMENT: [&str; 6] = ["position", "revision", "timestamp", "since", "before", "request_id"];

/// What the manual has of the live feed.
#[derive(Debug, Default)]
struct Examples {
    /// What the client in the text asks for in its URL.
    query: String,
    /// What it is told.
    messages: Vec<Value>,
    /// What a client may say, and what is said to that.
    dialogue: Vec<(String, Value)>,
    /// Subscriptions of GraphQL.
    subscriptions: Vec<String>,
}

fn message(text: &str) -> Value {
    shown(text).unwrap_or_else(|| panic!("docs/API.md: no JSON: {text}"))
}

fn examples() -> Examples {
    let mut found = Examples::default();
    for block in Markdown::of(MANUAL).blocks {
        let text = block.text.trim();
        if let Some((_, rest)) = text.split_once("new WebSocket('ws://localhost:8080/ws?") {
            found.query = rest.split('\'').next().unwrap_or_default().to_owned();
        } else if text.starts_with("{\"type\":") {
            found.messages.extend(text.split("\n\n").map(message));
        } else if text.starts_with("> ") {
            let lines: Vec<_> = text.lines().collect();
            for pair in lines.chunks(2) {
                let [said, answer] = pair else { panic!("docs/API.md: {pair:?}") };
                let (said, answer) = (said.strip_prefix("> ").unwrap(), answer.strip_prefix("< ").unwrap());
                found.dialogue.push((said.to_owned(), message(answer)));
            }
        } else if text.starts_with("subscription ") {
            found.subscriptions.extend(text.lines().map(str::to_owned));
        }
    }
    found
}

/// Where a message is not as it is shown. `name` is that of the field we are in.
fn differs(name: &str, shown: &Value, told: &Value) -> Option<String> {
    match (shown, told) {
        (Value::Object(shown), Value::Object(told)) if name == "data" => {
            let other = shown.len() != told.len() || shown.keys().any(|metric| !told.contains_key(metric));
            other.then(|| format!(" is of {:?}", told.keys().collect::<Vec<_>>()))
        }
        (Value::Object(shown), Value::Object(told)) => shown.iter().find_map(|(name, value)| match told.get(name) {
            None => Some(format!(".{name} is missing")),
            Some(told) => differs(name, value, told).map(|what| format!(".{name}{what}")),
        }),
        (Value::Array(shown), Value::Array(told)) => shown.iter().find_map(|one| {
            let missing = told.iter().all(|other| differs(name, one, other).is_some());
            missing.then(|| format!(" has nothing like {one}"))
        }),
        (Value::String(shown), Value::String(_)) if shown.is_empty() || OF_THE_MOMENT.contains(&name) => None,
        // An event is known by a number, a subscription by a name.
        (Value::Number(_), Value::Number(_)) if name == "id" || OF_THE_MOMENT.contains(&name) => None,
        _ => (shown != told).then(|| format!(" is {told}, not {shown}")),
    }
}

/// A client, as somebody might write it who has read nothing but the manual.
struct Live(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Live {
    async fn to(gateway: &Gateway, place: &str, protocol: Option<&str>) -> Live {
        let mut request = format!("ws://127.0.0.1:{}{place}", gateway.port).into_client_request().unwrap();
        if let Some(protocol) = protocol {
            request.headers_mut().insert("sec-websocket-protocol", protocol.parse().unwrap());
        }
        Live(connect_async(request).await.unwrap().0)
    }

    /// Connected to the feed, and welcomed as the manual says.
    async fn connected(gateway: &Gateway, query: &str, welcome: &Value) -> Live {
        let mut live = Live::to(gateway, &format!("/ws?{query}"), None).await;
        let first = live.next().await;
        assert_eq!(differs("", welcome, &first), None, "{first}");
        live
    }

    /// Subscribed with GraphQL.
    async fn subscribed(gateway: &Gateway, query: &str) -> Live {
        let mut live = Live::to(gateway, "/graphql", Some("graphql-transport-ws")).await;
        live.say(&json!({"type": "connection_init"}).to_string()).await;
        assert_eq!(live.next().await["type"], "connection_ack");
        live.say(&json!({"type": "subscribe", "id": "1", "payload": {"query": query}}).to_string()).await;
        // Events come from now on: whoever wants them is told first where that is. Newest values come to whoever comes.
        if query.contains("{ events ") {
            let told = live.next().await;
            assert!(told["payload"]["data"]["events"]["position"].is_string(), "{query}: {told}");
        }
        live
    }

    async fn say(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    /// The next message that is text.
    async fn next(&mut self) -> Value {
        loop {
            let message = timeout(PATIENCE, self.0.next()).await.expect("a message in time").unwrap().unwrap();
            if let Message::Text(text) = message {
                return serde_json::from_str(&text).unwrap();
            }
        }
    }
}

/// Reads on until each of these was told.
async fn hears(live: &mut Live, mut awaited: Vec<&Value>) {
    let (mut heard, mut nearly) = (Vec::new(), None);
    let listening = async {
        while !awaited.is_empty() {
            let told = live.next().await;
            awaited.retain(|shown| {
                let what = differs("", shown, &told);
                if shown["type"] == told["type"] && what.is_some() {
                    nearly.clone_from(&what);
                }
                what.is_some()
            });
            heard.push(told["type"].clone());
        }
    };
    let in_time = timeout(PATIENCE / 2, listening).await.is_ok();
    assert!(in_time, "docs/API.md shows {awaited:?}, and nothing like it came: {nearly:?}; came: {heard:?}");
}

/// Reads on until an answer comes: what is told meanwhile is told by itself.
async fn answered(live: &mut Live) -> Value {
    loop {
        let told = live.next().await;
        if ["subscribed", "unsubscribed", "error"].iter().any(|word| told["type"] == *word) {
            return told;
        }
    }
}

/// Reads on until a frame of a subscription holds something.
async fn flows(live: &mut Live, query: &str) {
    loop {
        let told = live.next().await;
        let data = &told["payload"]["data"];
        let frame = data.get("telemetry").or(data.get("events")).unwrap_or(&told);
        assert!(frame["position"].is_string(), "{query}: {told}");
        let holds = |list: &str| frame[list].as_array().is_some_and(|list| !list.is_empty());
        if holds("samples") || holds("events") {
            return;
        }
    }
}

#[tokio::test]
async fn what_the_manual_shows_of_websockets_comes() {
    let examples = examples();
    let of_type = |word: &str| {
        let found = examples.messages.iter().find(|message| message["type"] == word);
        found.unwrap_or_else(|| panic!("docs/API.md shows no {word}: it is not read"))
    };
    let (welcome, gap) = (of_type("welcome"), of_type("gap"));
    let told: Vec<_> = examples.messages.iter().filter(|shown| ![welcome, gap].contains(shown)).collect();
    assert_eq!((told.len(), examples.dialogue.len(), examples.subscriptions.len()), (2, 3, 2), "{examples:?}");

    let world = World::new().await;
    let collector = world.start("collector", &[("CONDITIONS_INTERVAL", "100ms")]);
    let gateway = Gateway::start(&world).await;
    let mut live = Live::connected(&gateway, &examples.query, welcome).await;
    let mut subscribed = Vec::new();
    for query in &examples.subscriptions {
        subscribed.push((Live::subscribed(&gateway, query).await, query));
    }
    world.start("streamer", &[("CSV_FILE", fleet(&world).to_str().unwrap())]).succeeds().await;
    hears(&mut live, told).await;
    for (live, query) in &mut subscribed {
        flows(live, query).await;
    }

    let mut live = Live::connected(&gateway, "", welcome).await;
    for (said, shown) in &examples.dialogue {
        live.say(said).await;
        let told = answered(&mut live).await;
        assert_eq!(differs("", shown, &told), None, "{said}: {told}");
    }

    let since = format!("since={}", gap["after"].as_str().unwrap());
    let told = Live::connected(&gateway, &since, welcome).await.next().await;
    assert_eq!(differs("", gap, &told), None, "{told}");
    collector.stop().await;
}
