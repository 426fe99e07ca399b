//! What a client may not do, and what becomes of it.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use nexus_common::queue::Feed;
use nexus_common::testing::eventually;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::client::Client;
use crate::world::{PATIENCE, World, put, sample};

#[tokio::test]
async fn there_is_room_for_so_many_clients() {
    let world = World::new().await;
    let gateway = world.gateway_with(|config| config.bounds.live_clients = 2).await;
    let first = gateway.all("").await;
    let _stream = reqwest::get(format!("http://{}/api/v1/stream?mode=all", gateway.address)).await.unwrap();
    let refused = Client::connect(gateway.address, "").await.err().unwrap();
    assert!(
        refused.starts_with("503 ") && refused.contains("2 live clients") && refused.contains("MAX_LIVE_CLIENTS"),
        "{refused}"
    );
    let (status, problem) = gateway.get("/api/v1/stream").await;
    assert_eq!((status, problem["type"].as_str()), (503, Some("urn:nexus:problem:unavailable")));
    drop(first);
    eventually("there is room again", PATIENCE, async || Client::connect(gateway.address, "").await.is_ok()).await;
}

#[tokio::test]
async fn a_peer_that_is_dead_is_let_go() {
    let world = World::new().await;
    let gateway = world
        .gateway_with(|config| {
            config.bounds.live_clients = 1;
            config.bounds.ping_interval = Duration::from_millis(200);
        })
        .await;
    // Connected, and never looked at again: no question is answered.
    let _dead = gateway.connect("").await;
    eventually("its place is free", PATIENCE, async || Client::connect(gateway.address, "").await.is_ok()).await;
}

#[tokio::test]
async fn a_peer_that_answers_is_kept() {
    let world = World::new().await;
    let gateway = world.gateway_with(|config| config.bounds.ping_interval = Duration::from_millis(250)).await;
    let mut client = gateway.all("").await;
    // Looking at the connection answers the questions on it: more than may stay without an answer.
    for _ in 0..4 {
        let asked = timeout(PATIENCE, client.0.next()).await.expect("it is not asked");
        assert!(matches!(asked, Some(Ok(Message::Ping(_)))), "{asked:?}");
    }
    let revision = world.power("h", "0", 1.0).await;
    assert_eq!(client.revision().await, revision);
}

#[tokio::test]
async fn who_says_too_much_is_sent_away() {
    let world = World::new().await;
    let gateway = world.gateway().await;
    let code = async |messages: Vec<Message>| {
        let mut client = gateway.all("").await;
        for message in messages {
            if client.0.send(message).await.is_err() {
                break;
            }
        }
        loop {
            if let Err(code) = client.try_next().await {
                return code;
            }
        }
    };
    assert_eq!(code(vec![Message::text("x".repeat((64 << 10) + 1))]).await, 1009);
    assert_eq!(code(vec![Message::text("{}"); 100]).await, 1008);
    assert_eq!(code(vec![Message::Ping(Vec::new().into()); 100]).await, 1008);
    assert_eq!(code(vec![Message::binary(vec![1, 2, 3])]).await, 1003);
}

#[tokio::test]
async fn a_stop_ends_every_client_at_once() {
    let world = World::new().await;
    let mut gateway = world.gateway().await;
    let mut client = gateway.all("").await;
    let mut stream = reqwest::get(format!("http://{}/api/v1/stream?mode=all", gateway.address)).await.unwrap();
    stream.chunk().await.unwrap();
    gateway.stop.cancel();
    assert_eq!(client.try_next().await, Err(1001));
    drop(client);
    assert_eq!(timeout(PATIENCE, stream.chunk()).await.unwrap().unwrap(), None);
    let ended = timeout(PATIENCE, gateway.running.join_next()).await.expect("it waits for somebody");
    ended.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_peer_that_takes_what_it_is_sent_however_slowly_is_kept() {
    let world = World::new().await;
    let gateway = world
        .gateway_with(|config| {
            config.bounds.ping_interval = Duration::from_secs(1);
            config.bounds.ring_bytes = 1 << 28;
        })
        .await;
    let mut slow = Client::connect_narrow(gateway.address, "?mode=all").await;
    assert_eq!(slow.next().await["type"], "position");
    let (mut putting, etcd) = (JoinSet::new(), world.client.clone());
    putting.spawn(async move {
        let text = "x".repeat(90 << 10);
        for _ in 0..500 {
            let samples = vec![sample(&text, "0", &[("xid", 0.0)])];
            put(&etcd, "alpha", Feed::encode("b", samples, 0)).await;
        }
    });
    // What the gateway asks waits behind megabytes: it is answered long after two more questions.
    for _ in 0..90 {
        slow.frame().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn whoever_never_reads_the_stream_is_let_go() {
    let world = World::new().await;
    let gateway = world
        .gateway_with(|config| {
            config.bounds.live_clients = 1;
            config.bounds.ping_interval = Duration::from_millis(500);
        })
        .await;
    let mut silent = tokio::net::TcpStream::connect(gateway.address).await.unwrap();
    let request = format!("GET /api/v1/stream?mode=all HTTP/1.1\r\nHost: {}\r\n\r\n", gateway.address);
    tokio::io::AsyncWriteExt::write_all(&mut silent, request.as_bytes()).await.unwrap();
    eventually("it is served", PATIENCE, async || Client::connect(gateway.address, "").await.is_err()).await;
    // More than the buffers on the way hold.
    let large = || (0..500).map(|n| sample(&format!("host-{n:04}"), "0", &[("power_watts", 1.0)])).collect();
    eventually("its place is free", PATIENCE, async || {
        for _ in 0..20 {
            world.tell("alpha", large()).await;
        }
        Client::connect(gateway.address, "").await.is_ok()
    })
    .await;
}
