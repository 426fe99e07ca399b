//! The way of a row, encrypted from end to end.

use futures_util::StreamExt;
use nexus_common::domain::Timestamp;
use nexus_common::testing::eventually;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;

use crate::rows::{file, part};
use crate::stack::{PATIENCE, Stack, keeps_secrets};

#[tokio::test]
async fn every_row_arrives_and_is_answered_over_tls() {
    let stack = Stack::new().await;
    let collector = stack.start(&["collector"], &[]);
    let gateway = stack.start(&["gateway"], &[]);
    stack.stream("a.csv", file(1_600)).await;
    stack.until_accounted(1_600).await;
    stack.until_ready().await;

    // Live: what is stored from now on comes as a frame over wss.
    let (mut live, _) = client_async("wss://127.0.0.1/ws?mode=all", stack.line().await.unwrap()).await.unwrap();
    let mut next = async || -> Value {
        loop {
            let message = tokio::time::timeout(PATIENCE, live.next()).await.expect("no frame comes").unwrap().unwrap();
            if let Message::Text(text) = message {
                break serde_json::from_str(&text).unwrap();
            }
        }
    };
    while next().await["type"] != "position" {}
    let mut tail = stack.start(&["tail", "--all"], &[]);
    stack.stream("b.csv", part(1_600, 3_200)).await;
    stack.until_accounted(3_200).await;
    let mut told = 0;
    while told < 1_600 {
        told += next().await["samples"].as_array().map_or(0, Vec::len);
    }
    assert!(tail.has_ended().is_none(), "{}", tail.log());

    // The same values over HTTPS as in the file.
    for gpu in 0..16 {
        let expected: Vec<u64> = (0..3_200).filter(|row| row % 16 == gpu).collect();
        // A gateway that was there before the first row learns of new GPUs by the feed.
        eventually(format!("all values of GPU {gpu} are answered"), PATIENCE, async || {
            stack.values(&format!("host-{:03}", gpu / 8), gpu % 8).await == expected
        })
        .await;
    }
    stack.start(&["audit"], &[]).succeeds().await;
    stack.start(&["gpus"], &[]).succeeds().await;
    stack.start(&["queue", "stats", "--seconds", "100ms"], &[]).succeeds().await;

    eventually("all it depends on answers", PATIENCE, async || {
        stack.get("/health").await.is_some_and(|(head, _)| head.starts_with("HTTP/1.1 200"))
    })
    .await;
    let (head, health) = stack.get("/health").await.unwrap();
    let health = health.unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head} {health}");
    assert!(head.to_lowercase().contains("strict-transport-security: max-age=31536000"), "{head}");
    let expiries = stack.expiries().await;
    let names: Vec<_> = expiries.keys().map(String::as_str).collect();
    assert_eq!(names, ["etcd_ca", "etcd_client", "gateway", "gateway_client_ca", "postgres_ca", "postgres_client"]);
    let left = expiries["gateway"] - Timestamp::now().0 as f64 / 1e6;
    assert!((0.0..86_400.0).contains(&left), "it is good for a day: {left}");
    for process in [&collector, &gateway] {
        keeps_secrets(&format!("{} {health}", process.log()), stack.folder.path());
    }
    gateway.stop().await;
    collector.stop().await;
}

/// Whoever speaks no TLS is not answered, and holds nobody up.
#[tokio::test]
async fn plain_http_is_not_spoken() {
    let stack = Stack::new().await;
    let _gateway = stack.start(&["gateway"], &[("HEADER_TIMEOUT", "1s")]);
    stack.until_ready().await;
    let mut silent = TcpStream::connect(("127.0.0.1", stack.port)).await.unwrap();
    let mut plain = TcpStream::connect(("127.0.0.1", stack.port)).await.unwrap();
    plain.write_all(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&answer));
    stack.until_ready().await;
    // The handshake has HEADER_TIMEOUT, as a request's headers have.
    let mut nothing = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, silent.read_to_end(&mut nothing)).await;
    assert!(ended.is_ok() && nothing.is_empty(), "a silent client is kept");
}
