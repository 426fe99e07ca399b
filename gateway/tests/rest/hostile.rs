//! Requests nobody should send: each is answered or refused quickly and clearly, and the gateway goes on answering others.

use std::time::{Duration, Instant};

use nexus_common::testing::eventually;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::http::{exchange, request};
use crate::world::{PATIENCE, QUICK, World};

/// It still answers, and as quickly.
async fn lives(world: &World) {
    let live = timeout(QUICK, world.get("/live")).await.expect("no answer in time");
    assert_eq!(live.status, 200);
}

/// What came back for these bytes, as text.
async fn answer(world: &World, bytes: &[u8]) -> String {
    let answer = timeout(QUICK, exchange(world.address, bytes)).await.expect("no answer in time");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn slow_headers_are_cut_off() {
    let world = World::with(|config| config.bounds.header_timeout = Duration::from_millis(300)).await;
    let began = Instant::now();
    let mut silent = TcpStream::connect(world.address).await.unwrap();
    let mut slow = TcpStream::connect(world.address).await.unwrap();
    let mut kept = TcpStream::connect(world.address).await.unwrap();
    slow.write_all(b"GET /live HTTP/1.1\r\nHost: x\r\nX-Slow: ").await.unwrap();
    kept.write_all(b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let trickle = async {
        // A byte now and then does not help.
        while slow.write_all(b"a").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(QUICK, trickle).await.expect("slow headers are never cut off");
    for (name, stream) in [("silent", &mut silent), ("kept", &mut kept)] {
        let mut rest = Vec::new();
        timeout(QUICK, stream.read_to_end(&mut rest))
            .await
            .unwrap_or_else(|_| panic!("{name} is never closed"))
            .unwrap();
    }
    assert!(began.elapsed() >= Duration::from_millis(250));
    lives(&world).await;
}

#[tokio::test]
async fn a_body_of_100_mb_is_not_read() {
    let world = World::new().await;
    let announced = request(world.address, "POST", "/live", &[("Content-Length", "104857600")]).await;
    assert_eq!((announced.status, announced.json()["type"].as_str()), (413, Some("urn:nexus:problem:too-large")));
    assert!(announced.json()["detail"].as_str().unwrap().contains("1048576 bytes"), "{announced:?}");
    assert_eq!(request(world.address, "GET", "/live", &[("Content-Length", "104857600")]).await.status, 413);

    let mut sent = b"POST /live HTTP/1.1\r\nHost: x\r\nContent-Length: 104857600\r\n\r\n".to_vec();
    sent.resize(sent.len() + 100 * 1024 * 1024, b'x');
    let began = Instant::now();
    assert!(answer(&world, &sent).await.starts_with("HTTP/1.1 413 "));
    assert!(began.elapsed() < QUICK);

    // Without a length the route is answered, and the connection ends before the body has been read.
    let mut sent = b"GET /live HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n6400000\r\n".to_vec();
    sent.resize(sent.len() + 100 * 1024 * 1024, b'x');
    assert!(answer(&world, &sent).await.starts_with("HTTP/1.1 200 "));
    lives(&world).await;
    let small = "GET /live HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello";
    assert!(answer(&world, small.as_bytes()).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn huge_heads_are_refused() {
    let world = World::new().await;
    let header = format!("GET /live HTTP/1.1\r\nHost: x\r\nX-Huge: {}\r\n\r\n", "x".repeat(1 << 20));
    assert!(answer(&world, header.as_bytes()).await.starts_with("HTTP/1.1 431 "));
    let headers = format!("GET /live HTTP/1.1\r\nHost: x\r\n{}\r\n", "X-Many: x\r\n".repeat(200));
    assert!(answer(&world, headers.as_bytes()).await.starts_with("HTTP/1.1 431 "));

    let parameters = world.get(&format!("/api/v1/clusters?{}", "page=1&".repeat(2_000))).await;
    assert_eq!((parameters.status, parameters.json()["parameter"].as_str()), (400, Some("page")));
    let long = world.get(&format!("/api/v1/clusters?{}", "a=1&".repeat(10_000))).await;
    assert_eq!((long.status, long.json()["type"].as_str()), (414, Some("urn:nexus:problem:uri-too-long")), "{long:?}");
    assert!(long.json()["detail"].as_str().unwrap().contains("up to 16384"), "{long:?}");
    assert_eq!(long.header("x-content-type-options"), Some("nosniff"), "a refusal is an answer like others");
    lives(&world).await;
}

#[tokio::test]
async fn absurd_questions_are_refused_with_what_would_work() {
    let world = World::new().await;
    let years = "/api/v1/telemetry?start=2016-01-01&end=2026-01-01";
    for (path, parameter, says) in [
        ("/api/v1/telemetry?limit=1e9".to_owned(), "limit", "from 1 to 10000"),
        ("/api/v1/telemetry?limit=1000000000".to_owned(), "limit", "from 1 to 10000"),
        ("/api/v1/telemetry?limit=99999999999999999999999".to_owned(), "limit", "from 1 to 10000"),
        (format!("{years}&step=1s"), "step", "step=85257s would work"),
        (format!("{years}&step=1us"), "step", "from 1ms to 3650days"),
        (format!("/api/v1/telemetry?metrics={}", "power,".repeat(200)), "metrics", "at most 100"),
        ("/api/v1/telemetry?cursor=AAAAAAAA".to_owned(), "cursor", "start again without it"),
        ("/api/v1/telemetry?cursor=eyJzIjpbImQiLDEsMV19eyJz".to_owned(), "cursor", "start again without it"),
        (format!("/api/v1/telemetry?cursor={}", "x".repeat(10_000)), "cursor", "start again without it"),
        ("/api/v1/telemetry?cursor=%F0%9F%92%A9".to_owned(), "cursor", "start again without it"),
        ("/api/v1/gpus?host_id=%00".to_owned(), "host_id", "NUL"),
        ("/api/v1/gpus?%00=1".to_owned(), "\0", "is not a parameter here"),
    ] {
        let began = Instant::now();
        let answer = world.get(&path).await;
        assert!(began.elapsed() < QUICK, "{path}");
        let problem = answer.json();
        assert_eq!((answer.status, problem["parameter"].as_str()), (400, Some(parameter)), "{path}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(says), "{path}: {problem}");
    }
    // A cursor of another list, and the same years at a step that works.
    let hosts = world.json("/api/v1/hosts?limit=1").await["next_cursor"].as_str().unwrap().to_owned();
    assert_eq!(world.get(&format!("/api/v1/telemetry?cursor={hosts}")).await.status, 400);
    assert_eq!(world.json(&format!("{years}&step=auto&cluster_id=beta")).await["step"], "14d");
    lives(&world).await;
}

#[tokio::test]
async fn broken_text_is_no_fault_of_ours() {
    let world = World::new().await;
    for (line, status) in [
        (&b"GET /api/v1/clusters/%ff HTTP/1.1"[..], 400),
        (b"GET /api/v1/clusters?cluster_id=%ff HTTP/1.1", 400),
        (b"GET /api/v1/hosts?cluster_id=%ff%fe HTTP/1.1", 200),
        (b"GET /api/v1/clusters/\xff\xfe HTTP/1.1", 400),
        (b"GET /api/v1/hosts?cluster_id=\xc3\x28 HTTP/1.1", 0),
        (b"GET /api/v1/clusters/%zz HTTP/1.1", 404),
        (b"GET http://[::1/ HTTP/1.1", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"GET / HTTP/9.9", 400),
    ] {
        let answer = answer(&world, &[line, b"\r\nHost: x\r\nConnection: close\r\n\r\n"].concat()).await;
        let given: u16 = answer.get(9..12).and_then(|status| status.parse().ok()).unwrap_or_default();
        let shown = String::from_utf8_lossy(line);
        assert!((200..500).contains(&given) && (status == 0 || given == status), "{shown}: {answer}");
    }
    lives(&world).await;
}

#[tokio::test]
async fn idle_connections_stand_in_nobodys_way() {
    let world = World::new().await;
    let mut idle = Vec::new();
    for _ in 0..400 {
        idle.push(TcpStream::connect(world.address).await.unwrap());
    }
    lives(&world).await;
    assert_eq!(world.items("/api/v1/clusters").await.len(), 4);
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_a_place() {
    let world = World::with(|config| config.bounds.connections = 2).await;
    let mut first = TcpStream::connect(world.address).await.unwrap();
    let mut second = TcpStream::connect(world.address).await.unwrap();
    // Both have their place once they got an answer.
    for stream in [&mut first, &mut second] {
        stream.write_all(b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        assert!(timeout(QUICK, stream.read(&mut [0; 1024])).await.unwrap().unwrap() > 0);
    }
    let waiting = request(world.address, "GET", "/live", &[]);
    let mut waiting = std::pin::pin!(waiting);
    assert!(timeout(Duration::from_millis(300), waiting.as_mut()).await.is_err(), "there is no third place");
    drop(first);
    assert_eq!(timeout(QUICK, waiting).await.expect("the free place is not given on").status, 200);
    drop(second);
    eventually("places are free again", PATIENCE, async || world.get("/live").await.status == 200).await;
}

#[tokio::test]
async fn who_is_refused_while_sending_still_hears_it() {
    let world = World::new().await;
    let head = format!("GET /live HTTP/1.1\r\nHost: x\r\nX-Huge: {}\r\n\r\n", "x".repeat(1 << 20));
    let body = format!("POST /live HTTP/1.1\r\nHost: x\r\nContent-Length: 30000000\r\n\r\n{}", "x".repeat(30_000_000));
    for (sent, status) in [(head, "431"), (body, "413")] {
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        timeout(QUICK, stream.read_to_string(&mut answer)).await.unwrap().expect("the connection is reset");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
}
