//! The same feed as Server-Sent Events.

use std::time::Duration;

use reqwest::Response;
use serde_json::Value;
use tokio::time::timeout;

use crate::world::{Gateway, PATIENCE, World};

struct Stream {
    response: Response,
    unread: String,
}

/// One event: its id, its name and its data.
type Event = (String, String, Value);

impl Stream {
    async fn open(gateway: &Gateway, query: &str, last: Option<&str>) -> Stream {
        let mut request = reqwest::Client::new().get(format!("http://{}/api/v1/stream{query}", gateway.address));
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Stream { response, unread: String::new() }
    }

    /// What stands between two empty lines.
    async fn block(&mut self) -> String {
        loop {
            if let Some((block, rest)) = self.unread.split_once("\n\n") {
                let block = block.to_owned();
                self.unread = rest.to_owned();
                return block;
            }
            let chunk = timeout(PATIENCE, self.response.chunk()).await.expect("nothing comes").unwrap().unwrap();
            self.unread.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    async fn next(&mut self) -> Event {
        let block = loop {
            let block = self.block().await;
            if !block.starts_with(':') {
                break block;
            }
        };
        let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap();
        (field("id").to_owned(), field("event").to_owned(), serde_json::from_str(field("data")).unwrap())
    }
}

#[tokio::test]
async fn events_carry_their_position_and_a_client_comes_back_with_it() {
    let world = World::new().await;
    let gateway = world.gateway().await;
    let mut stream = Stream::open(&gateway, "?mode=all&host_id=h", None).await;
    assert_eq!(stream.next().await.1, "position");
    let mut ids = Vec::new();
    for watts in 0..5 {
        let revision = world.power("h", "0", f64::from(watts)).await;
        world.power("other", "0", 0.0).await;
        let (id, event, data) = stream.next().await;
        assert_eq!(
            (event.as_str(), &data["position"], &data["revision"]),
            ("telemetry", &Value::from(&*id), &Value::from(revision))
        );
        ids.push(id);
    }
    drop(stream);
    let mut again = Stream::open(&gateway, "?mode=all&host_id=h", Some(&ids[1])).await;
    for id in &ids[2..] {
        assert_eq!(again.next().await.0, *id);
    }
    // Whoever asks for both means the one that stands in the URL.
    let query = format!("?mode=all&host_id=h&since={}", ids[3]);
    assert_eq!(Stream::open(&gateway, &query, Some(&ids[0])).await.next().await.0, ids[4]);
    let old = Stream::open(&gateway, "?mode=all", Some("0123456789abcdef.1")).await.next().await;
    assert_eq!(old.1, "gap");
}

#[tokio::test]
async fn a_quiet_stream_says_that_it_is_there() {
    let world = World::new().await;
    let gateway = world.gateway_with(|config| config.bounds.ping_interval = Duration::from_millis(100)).await;
    let mut stream = Stream::open(&gateway, "?mode=all", None).await;
    stream.next().await;
    for _ in 0..3 {
        assert_eq!(stream.block().await, ":");
    }
}

#[tokio::test]
async fn a_wrong_last_event_id_is_refused() {
    let world = World::new().await;
    let gateway = world.gateway().await;
    let request = reqwest::Client::new().get(format!("http://{}/api/v1/stream", gateway.address));
    let answer = request.header("last-event-id", "42").send().await.unwrap();
    assert_eq!(answer.status(), 400);
    let problem: Value = answer.json().await.unwrap();
    assert_eq!(problem["parameter"], "Last-Event-ID");
}
