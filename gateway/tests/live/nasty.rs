//! Whatever a client of `/ws` says: it is answered, or the connection is closed with a code that says why, and the gateway
//! lives on. A corpus and its mutations: see `testing::fuzz`.

use futures_util::SinkExt;
use nexus_common::testing::fuzz_server;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::client::Client;
use crate::world::{Gateway, PATIENCE, World};

/// What may be said at once.
const LONGEST: usize = 64 << 10;
/// Codes of a farewell: not text, too long, and a frame that is none.
const UNSUPPORTED: u16 = 1003;
const SIZE: u16 = 1009;

#[test]
fn any_message_is_answered_or_ends_the_connection() {
    let runtime = Runtime::new().unwrap();
    let (world, gateway) = runtime.block_on(async {
        let world = World::new().await;
        let gateway = world.gateway().await;
        (world, gateway)
    });
    let corpus = format!("{}/tests/corpus/ws", env!("CARGO_MANIFEST_DIR"));
    fuzz_server(corpus, |input| {
        runtime.block_on(async {
            match std::str::from_utf8(input) {
                Ok(text) => told(&gateway, text).await,
                Err(_) => {
                    told_in_binary(&gateway, input).await;
                    told_in_no_frames(&gateway, input).await;
                }
            }
        });
    });
    drop(world);
}

async fn told(gateway: &Gateway, text: &str) {
    let mut client = gateway.connect("").await;
    client.0.send(Message::text(text)).await.unwrap();
    let answer = match answer(&mut client).await {
        Ok(answer) => answer,
        Err(code) => return assert!(code == SIZE && text.len() > LONGEST, "{code}: {text:?}"),
    };
    match answer["type"].as_str().unwrap() {
        "error" => assert!(answer["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{answer}"),
        "subscribed" | "unsubscribed" => assert!(answer["filters"].is_u64(), "{answer}"),
        other => panic!("{other}"),
    }
    // Whatever it was, the conversation goes on.
    client.say(&json!({"type": "unsubscribe"})).await;
    assert_eq!(self::answer(&mut client).await.unwrap(), json!({"type": "unsubscribed", "filters": 0}), "{text:?}");
}

async fn told_in_binary(gateway: &Gateway, bytes: &[u8]) {
    let mut client = gateway.connect("").await;
    client.0.send(Message::binary(bytes.to_vec())).await.unwrap();
    let code = answer(&mut client).await.unwrap_err();
    assert!(code == UNSUPPORTED || (code == SIZE && bytes.len() > LONGEST), "{code}: {bytes:?}");
}

/// Bytes where frames should be: the connection ends once the client has said all it wants to, and others are served.
async fn told_in_no_frames(gateway: &Gateway, bytes: &[u8]) {
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let upgrade = "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(upgrade.as_bytes()).await.unwrap();
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let mut rest = Vec::new();
    let ended = timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "the connection goes on after {bytes:?}");
    let live = reqwest::get(format!("http://{}/live", gateway.address)).await.unwrap();
    assert_eq!(live.status(), 200);
}

/// The next thing that is no telemetry.
async fn answer(client: &mut Client) -> Result<Value, u16> {
    loop {
        let said = client.try_next().await?;
        if !matches!(said["type"].as_str(), Some("position" | "telemetry" | "events" | "gap" | "snapshot")) {
            return Ok(said);
        }
    }
}
