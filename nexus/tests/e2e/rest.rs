//! What was streamed, asked for over HTTP.

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use nexus_common::testing::eventually;

use crate::rows::{expected, file};
use crate::world::{PATIENCE, World};

/// Status and body of a GET.
async fn get(port: u16, path: &str) -> Option<(u16, Value)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    // A chunked body is framed by lines of hex: the JSON is what lies between the first and the last brace.
    let json = &body[body.find('{')?..=body.rfind('}')?];
    Some((status, serde_json::from_str(json).ok()?))
}

#[tokio::test]
async fn every_stored_value_is_answered() {
    let world = World::new().await;
    let path = world.file("a.csv", file(1_000));
    let collector = world.collector();
    let mut streamer = world.start("streamer", &[("CSV_FILE", path.to_str().unwrap())]);
    streamer.succeeds().await;
    world.holds_exactly(&expected(0, 1_000)).await;

    let port = nexus_common::servers::free_port().unwrap();
    let gateway = world.start("gateway", &[("PORT", &port.to_string()), ("BIND_ADDRESS", "127.0.0.1")]);
    eventually("the gateway is ready", PATIENCE, async || {
        get(port, "/ready").await.is_some_and(|(status, _)| status == 200)
    })
    .await;
    let items = async |path: &str| {
        let (status, body) = get(port, path).await.unwrap_or_else(|| panic!("{path}: no answer"));
        assert_eq!(status, 200, "{path}: {body}");
        body["items"].as_array().unwrap_or_else(|| panic!("{path}: {body}")).clone()
    };
    assert_eq!(items("/api/v1/clusters").await[0]["cluster_id"], "local-cluster");
    assert_eq!(items("/api/v1/clusters/local-cluster/hosts").await.len(), 2);
    assert_eq!(items("/api/v1/gpus").await.len(), 16);
    assert_eq!(items("/api/v1/telemetry/latest").await.len(), 16);

    let telemetry = items("/api/v1/telemetry?host_id=host-000&gpu_id=3&limit=1000").await;
    let answered: std::collections::BTreeSet<_> =
        telemetry.iter().map(|item| item["data"]["energy_millijoules"].as_f64().unwrap() as u64).collect();
    let stored: std::collections::BTreeSet<_> = (0..1_000_u64).filter(|index| index % 16 == 3).collect();
    assert_eq!(answered, stored);
    assert_eq!(telemetry.len(), stored.len());

    eventually("all it depends on answers", PATIENCE, async || {
        get(port, "/health").await.is_some_and(|(status, _)| status == 200)
    })
    .await;
    let (status, problem) = get(port, "/api/v1/telemetry?limit=many").await.unwrap();
    assert_eq!(status, 400, "{problem}");
    gateway.stop().await;
    collector.stop().await;
}
