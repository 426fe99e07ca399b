//! What holds for every answer: its headers, its tag, its compression, its trace, and who may read it.

use crate::http::{exchange, request};
use crate::world::World;

#[tokio::test]
async fn every_answer_is_guarded() {
    let world = World::new().await;
    let long = format!("/api/v1/clusters?{}", "a".repeat(20_000));
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/live"),
        ("GET", "/health"),
        ("GET", "/metrics"),
        ("GET", "/api/v1/clusters"),
        ("HEAD", "/api/v1/clusters"),
        ("GET", "/api/v1/telemetry?format=csv"),
        ("GET", "/nowhere"),
        ("DELETE", "/api/v1/clusters"),
        ("GET", "/api/v1/telemetry?limit=0"),
        ("GET", long.as_str()),
    ] {
        let answer = request(world.address, method, path, &[]).await;
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("x-frame-options", "DENY"),
            ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
            ("cache-control", "no-cache"),
            ("vary", "Accept, Accept-Encoding, Origin"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{method} {path}: {name}");
        }
    }
}

#[tokio::test]
async fn what_is_known_is_not_sent_again() {
    let world = World::new().await;
    for path in ["/api/v1/clusters/beta", "/api/v1/telemetry?limit=1000", "/api/v1/telemetry/latest?cluster_id=beta"] {
        let first = world.get(path).await;
        let tag = first.header("etag").unwrap_or_else(|| panic!("{path}: no tag")).to_owned();
        assert!(tag.starts_with("W/\""), "{tag}");
        let head = request(world.address, "HEAD", path, &[]).await;
        assert_eq!((head.status, head.header("etag"), head.body.as_str()), (200, Some(tag.as_str()), ""), "{path}");
        assert_eq!(head.header("content-length"), Some(first.body.len().to_string().as_str()), "{path}");
        let again = request(world.address, "GET", path, &[("If-None-Match", &tag)]).await;
        assert_eq!((again.status, again.body.as_str(), again.header("etag")), (304, "", Some(tag.as_str())), "{path}");
        assert_eq!(again.header("cache-control"), Some("no-cache"));
        let other = request(world.address, "GET", path, &[("If-None-Match", "W/\"other\"")]).await;
        assert_eq!((other.status, &other.body), (200, &first.body), "{path}");
    }
    let path = "/api/v1/telemetry?limit=1000";
    let before = world.get(path).await.header("etag").unwrap().to_owned();
    world.sql("UPDATE samples SET power_watts = 1 WHERE xid IS NOT NULL").await;
    let after = request(world.address, "GET", path, &[("If-None-Match", &before)]).await;
    assert_eq!(after.status, 200, "what changed is sent");
    for path in ["/health", "/metrics", "/nowhere", "/api/v1/telemetry?format=ndjson"] {
        assert_eq!(world.get(path).await.header("etag"), None, "{path}");
    }
}

#[tokio::test]
async fn long_answers_are_compressed() {
    let world = World::new().await;
    let get = async |path: &str, encodings: &str| {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAccept-Encoding: {encodings}\r\n\r\n");
        let answer = exchange(world.address, request.as_bytes()).await;
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        (String::from_utf8(answer[..end].to_vec()).unwrap().to_lowercase(), answer[end + 4..].to_vec())
    };
    let path = "/api/v1/telemetry?limit=1000";
    let (_, plain) = get(path, "identity").await;
    for (encodings, encoding) in [("gzip", "gzip"), ("br", "br"), ("gzip;q=0.5, br;q=1.0", "br")] {
        let (head, body) = get(path, encodings).await;
        assert!(head.contains(&format!("content-encoding: {encoding}")), "{head}");
        assert!(head.contains("etag: w/"), "{head}");
        assert!(body.len() * 3 < plain.len(), "{encoding}: {} of {} bytes", body.len(), plain.len());
    }
    for path in ["/live", "/nowhere"] {
        let (head, _) = get(path, "gzip, br").await;
        assert!(!head.contains("content-encoding"), "{path}: {head}");
    }
}

#[tokio::test]
async fn a_request_stays_in_its_trace() {
    let world = World::new().await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let given = format!("00-{trace}-00f067aa0ba902b7-01");
    for path in ["/live", "/nowhere", "/api/v1/clusters"] {
        let answer = request(world.address, "GET", path, &[("traceparent", &given)]).await;
        let parts: Vec<_> = answer.header("traceparent").unwrap().split('-').collect();
        assert_eq!((parts[0], parts[1], parts[3]), ("00", trace, "01"), "{path}");
        assert!(parts[2].len() == 16 && parts[2] != "00f067aa0ba902b7", "{path}: {parts:?}");
    }
    let own = |answer: crate::http::Answer| answer.header("traceparent").unwrap()[3..35].to_owned();
    let unusable = own(request(world.address, "GET", "/live", &[("traceparent", "00-nonsense")]).await);
    assert!(unusable.bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_ne!(own(world.get("/live").await), own(world.get("/live").await), "each begins a trace of its own");
}

#[tokio::test]
async fn pages_of_other_origins_see_what_they_need_or_nothing() {
    const ORIGIN: (&str, &str) = ("Origin", "https://page.example");
    let world = World::new().await;
    let answer = request(world.address, "GET", "/api/v1/clusters", &[ORIGIN]).await;
    let exposed = answer.header("access-control-expose-headers").unwrap();
    for name in ["x-request-id", "traceparent", "link", "x-next-cursor", "etag", "retry-after", "x-step"] {
        assert!(exposed.split(',').any(|exposed| exposed.trim() == name), "{name}: {exposed}");
    }
    let preflight =
        [ORIGIN, ("Access-Control-Request-Method", "GET"), ("Access-Control-Request-Headers", "traceparent")];
    let answer = request(world.address, "OPTIONS", "/api/v1/clusters", &preflight).await;
    let allowed = answer.header("access-control-allow-headers").unwrap();
    for name in ["accept", "content-type", "if-none-match", "last-event-id", "x-request-id", "traceparent"] {
        assert!(allowed.split(',').any(|allowed| allowed.trim() == name), "{name}: {allowed}");
    }

    let off = World::with(|config| config.enable_cors = false).await;
    for (method, path) in [("GET", "/api/v1/clusters"), ("OPTIONS", "/api/v1/clusters"), ("GET", "/nowhere")] {
        let answer = request(off.address, method, path, &preflight).await;
        assert!(!format!("{answer:?}").to_lowercase().contains("access-control"), "{method} {path}: {answer:?}");
    }
}
