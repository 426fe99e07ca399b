//! What is refused, and how.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::http::{Answer, request};
use crate::world::World;

#[track_caller]
fn is_problem(answer: &Answer, status: u16, code: &str) -> Value {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{answer:?}");
    let problem = answer.json();
    assert_eq!(problem["type"], format!("urn:nexus:problem:{code}"), "{problem}");
    assert_eq!(problem["status"], status);
    assert!(problem["title"].is_string() && problem["detail"].is_string(), "{problem}");
    assert_eq!(problem["request_id"].as_str(), answer.header("x-request-id"), "{problem}");
    problem
}

#[tokio::test]
async fn what_is_not_there_is_told() {
    let world = World::new().await;
    for path in [
        "/nowhere",
        "/api/v1/",
        "/api/v1/clusters/",
        "/api/v1/clusters/nobody",
        "/api/v1/clusters/nobody/stats",
        "/api/v1/clusters/nobody/hosts",
        "/api/v1/clusters/beta/hosts/a-000",
        "/api/v1/clusters/beta/hosts/nobody/gpus",
        "/api/v1/clusters/beta/hosts/b-000/gpus/2",
        "/api/v1/clusters/beta/hosts/b-000/gpus/2/metrics",
        "/api/v1/clusters/be%2Fta/hosts",
        "/api/v1/clusters/%27%3B--",
    ] {
        is_problem(&world.get(path).await, 404, "not-found");
    }
}

/// What a client can write and PostgreSQL's calendar cannot hold is either answered or refused, never a fault of ours.
#[tokio::test]
async fn the_ends_of_time_break_nothing() {
    let world = World::new().await;
    let cursor = |place: Value| URL_SAFE_NO_PAD.encode(place.to_string());
    const MINUTE: i64 = 60_000_000;
    const DAY: i64 = 1_440 * MINUTE;
    let last = 253_402_300_799_999_999_i64;
    let gpu = "/api/v1/telemetry?cluster_id=beta&gpu_id=0";
    for (query, status) in [
        ("step=3650days".to_owned(), 200),
        ("step=3650days&order=asc".to_owned(), 200),
        ("start=0&end=9999-12-30&step=3650days".to_owned(), 200),
        (format!("cursor={}", cursor(json!({"s": ["d", -1, 1]}))), 200),
        (format!("cursor={}", cursor(json!({"s": ["d", i64::MIN, 1]}))), 400),
        (format!("step=1m&cursor={}", cursor(json!({"b": ["d", -last, 1, -last, 1 - last, MINUTE]}))), 400),
        (format!("step=3650days&cursor={}", cursor(json!({"b": ["d", last, 1, last - 1, last, 3650 * DAY]}))), 200),
        (format!("step=1m&cursor={}", cursor(json!({"b": ["d", 0, 1, 0, last, MINUTE]}))), 400),
    ] {
        let answer = world.get(&format!("{gpu}&{query}")).await;
        assert_eq!(answer.status, status, "{query}: {answer:?}");
    }
    // The longest steps page like others.
    let page = world.json("/api/v1/telemetry?cluster_id=beta&step=3650days&limit=1").await;
    let next = page["next_cursor"].as_str().unwrap();
    let rest = world.items(&format!("/api/v1/telemetry?cluster_id=beta&step=3650days&cursor={next}")).await;
    assert_eq!((rest.len(), &rest[0]["timestamp"]), (1, &page["items"][0]["timestamp"]));
}

#[tokio::test]
async fn parameters_that_make_no_sense_are_named() {
    let world = World::new().await;
    for (path, parameter) in [
        ("/api/v1/telemetry?limit=many", "limit"),
        ("/api/v1/telemetry?limit=0", "limit"),
        ("/api/v1/clusters?limit=10001", "limit"),
        ("/api/v1/clusters?limit=-1", "limit"),
        ("/api/v1/clusters?limit=1&limit=2", "limit"),
        ("/api/v1/clusters?page=2", "page"),
        ("/api/v1/clusters/beta?limit=1", "limit"),
        ("/api/v1/gpus?host=b-000", "host"),
        ("/api/v1/gpus?host_id=%00", "host_id"),
        ("/api/v1/telemetry?start=yesterday", "start"),
        ("/api/v1/telemetry?start=2025-07-19&end=2025-07-18", "start"),
        ("/api/v1/telemetry?end=10000-01-01T00:00:00Z", "end"),
        ("/api/v1/telemetry?order=sideways", "order"),
        ("/api/v1/telemetry?agg=median", "agg"),
        ("/api/v1/telemetry?agg=rate&metrics=power_watts", "metrics"),
        ("/api/v1/telemetry?agg=rate&metrics=energy,job_slots", "metrics"),
        ("/api/v1/telemetry?format=xml", "format"),
        ("/api/v1/metrics?limit=1", "limit"),
        ("/api/v1/telemetry?step=1m&agg=median", "agg"),
        ("/api/v1/telemetry?step=5", "step"),
        ("/api/v1/telemetry?step=0s", "step"),
        ("/api/v1/telemetry?metrics=power", ""),
        ("/api/v1/telemetry?metrics=temprature", "metrics"),
        ("/api/v1/telemetry/latest?step=1m", "step"),
        ("/api/v1/clusters/beta/hosts/b-000/gpus/0/metrics?gpu_id=1", "gpu_id"),
    ] {
        let answer = world.get(path).await;
        if parameter.is_empty() {
            assert_eq!(answer.status, 200, "{path}: an alias is a name");
            continue;
        }
        let problem = is_problem(&answer, 400, "invalid-parameter");
        assert_eq!(problem["parameter"], parameter, "{path}: {problem}");
    }
    is_problem(&world.get("/api/v1/clusters/%ff").await, 400, "invalid-path");
    is_problem(&world.get("/api/v1/clusters/a%00b").await, 400, "invalid-path");
    let near = world.get("/api/v1/telemetry?metrics=temprature_celsius").await.json();
    assert!(near["detail"].as_str().unwrap().contains("temperature_celsius"), "{near}");
}

#[tokio::test]
async fn it_is_only_read() {
    let world = World::new().await;
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let answer = request(world.address, method, "/api/v1/clusters", &[("Content-Length", "0")]).await;
        is_problem(&answer, 405, "method-not-allowed");
        assert_eq!(answer.header("allow"), Some("GET,HEAD"));
    }
    let head = request(world.address, "HEAD", "/api/v1/clusters", &[]).await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[tokio::test]
async fn a_request_has_an_id() {
    let world = World::new().await;
    let own = world.get("/live").await;
    assert_eq!(own.header("x-request-id").unwrap().len(), 32);
    let theirs = request(world.address, "GET", "/nowhere", &[("X-Request-Id", "a1b2-c3")]).await;
    assert_eq!(is_problem(&theirs, 404, "not-found")["request_id"], "a1b2-c3");
    let long = "x".repeat(200);
    for unusable in ["two words", long.as_str()] {
        let answer = request(world.address, "GET", "/live", &[("X-Request-Id", unusable)]).await;
        assert_ne!(answer.header("x-request-id"), Some(unusable));
    }
}

#[tokio::test]
async fn other_origins_read_where_they_may() {
    const ORIGIN: &[(&str, &str)] = &[("Origin", "https://page.example")];
    let allowed = |answer: &Answer| answer.header("access-control-allow-origin").map(str::to_owned);

    let anyone = World::new().await;
    for path in ["/api/v1/clusters", "/nowhere"] {
        assert_eq!(allowed(&request(anyone.address, "GET", path, ORIGIN).await).as_deref(), Some("*"), "{path}");
    }
    let preflight = [ORIGIN[0], ("Access-Control-Request-Method", "GET")];
    let preflight = request(anyone.address, "OPTIONS", "/api/v1/clusters", &preflight).await;
    assert_eq!((preflight.status, preflight.header("access-control-allow-methods")), (200, Some("GET,HEAD,POST")));

    let listed = World::with(|config| config.cors_origins = vec!["https://page.example".to_owned()]).await;
    assert_eq!(
        allowed(&request(listed.address, "GET", "/live", ORIGIN).await).as_deref(),
        Some("https://page.example")
    );
    let other = [("Origin", "https://other.example")];
    assert_eq!(allowed(&request(listed.address, "GET", "/live", &other).await), None);

    let off = World::with(|config| config.enable_cors = false).await;
    assert_eq!(allowed(&request(off.address, "GET", "/live", ORIGIN).await), None);
}

#[tokio::test]
async fn a_fault_of_ours_tells_nothing_of_the_inside() {
    let world = World::new().await;
    world.sql("ALTER TABLE samples ALTER COLUMN power_watts TYPE bytea USING NULL").await;
    let answer = world.get("/api/v1/telemetry").await;
    is_problem(&answer, 500, "internal");
    for inside in ["bytea", "power_watts", "column", "postgres", "error retrieving"] {
        assert!(!answer.body.contains(inside), "{answer:?}");
    }
}

#[tokio::test]
async fn a_query_that_takes_too_long_is_ended() {
    let world = World::with(|config| config.query_timeout = std::time::Duration::from_secs(1)).await;
    // Whoever reads samples waits for this lock.
    let (client, connection) = world.postgres.owner_config().connect(tokio_postgres::NoTls).await.unwrap();
    let mut driver = tokio::task::JoinSet::new();
    driver.spawn(connection);
    client.batch_execute("BEGIN; LOCK TABLE samples IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let problem = is_problem(&world.get("/api/v1/telemetry").await, 504, "too-slow");
    assert!(problem["detail"].as_str().unwrap().contains("1s"), "{problem}");
    client.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(world.get("/api/v1/telemetry").await.status, 200);
}
