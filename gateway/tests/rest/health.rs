//! What a gateway says of itself while its servers come and go.

use nexus_common::servers::free_port;
use nexus_common::testing::{eventually, postgres};

use crate::world::{PATIENCE, World};

#[tokio::test]
async fn a_healthy_gateway_says_so() {
    let world = World::new().await;
    eventually("both answer in time", PATIENCE, async || world.get("/health").await.status == 200).await;
    let health = world.json("/health").await;
    assert_eq!(health["status"], "up", "{health}");
    for name in ["postgresql", "etcd"] {
        let dependency = &health["dependencies"][name];
        assert_eq!(dependency["status"], "up", "{health}");
        assert!(dependency["latency_ms"].as_f64().unwrap() > 0.0, "{health}");
    }
    assert_eq!(world.json("/live").await["status"], "live");
    assert_eq!(world.json("/ready").await["status"], "ready");
    let index = world.json("/").await;
    let routes = index["routes"].as_object().unwrap();
    // These speak otherwise, or are for operators; their own tests ask them.
    let others = ["/graphql", "/ws", "/api/v1/stream", "/api/v1/tickets", "/api/v1/actions"];
    let plain = |path: &&str| !path.contains('{') && !path.contains("dead-letters/") && !others.contains(path);
    for path in routes.values().map(|path| path.as_str().unwrap()).filter(plain) {
        assert_eq!(world.get(path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn without_postgresql_it_answers_503_and_comes_back() {
    let mut world = World::new().await;
    world.postgres.stop().await.unwrap();
    // What was found a moment ago may still be told.
    eventually("it is down", PATIENCE, async || world.get("/health").await.status == 503).await;
    let report = world.get("/health").await.json();
    assert_eq!(report["status"].as_str(), Some("down"), "{report}");
    assert_eq!(report["dependencies"]["postgresql"]["status"], "down", "{report}");
    assert_eq!(report["dependencies"]["etcd"]["status"], "up", "{report}");
    assert_eq!(world.get("/ready").await.status, 503);
    assert_eq!(world.get("/live").await.status, 200);
    for path in ["/api/v1/clusters", "/api/v1/gpus", "/api/v1/telemetry/latest", "/api/v1/clusters/alpha/stats"] {
        assert_eq!(world.get(path).await.status, 200, "{path}: what is known of now is in memory");
    }
    for path in ["/api/v1/telemetry", "/api/v1/telemetry?step=1h"] {
        let answer = world.get(path).await;
        assert_eq!(
            (answer.status, answer.json()["type"].as_str()),
            (503, Some("urn:nexus:problem:unavailable")),
            "{path}"
        );
        assert!(answer.header("retry-after").is_some(), "{path}");
        let port = world.postgres.port().to_string();
        for inside in [port.as_str(), "refused", "127.0.0.1", "connect"] {
            assert!(!answer.body.contains(inside), "{path}: {}", answer.body);
        }
    }
    world.postgres.restart().await.unwrap();
    eventually("it is back", PATIENCE, async || world.get("/health").await.status == 200).await;
    assert_eq!(world.items("/api/v1/clusters").await.len(), 4);
}

#[tokio::test]
async fn without_etcd_it_still_answers() {
    let mut world = World::new().await;
    world.etcd.stop().await.unwrap();
    eventually("it is down", PATIENCE, async || world.get("/health").await.status == 503).await;
    assert_eq!(world.get("/health").await.json()["dependencies"]["etcd"]["status"], "down");
    assert_eq!(world.get("/ready").await.status, 200, "reading needs no etcd");
    assert_eq!(world.items("/api/v1/clusters").await.len(), 4);
}

#[tokio::test]
async fn it_starts_without_etcd_and_stops_without_it() {
    let mut world = World::over(postgres().await, |config| {
        // Nobody listens there.
        config.common.etcd_endpoints = vec![format!("http://127.0.0.1:{}", free_port().unwrap())];
    })
    .await;
    eventually("it is ready", PATIENCE, async || world.get("/ready").await.status == 200).await;
    assert_eq!(world.get("/health").await.json()["dependencies"]["etcd"]["status"], "down");
    world.stopped().await;
}

#[tokio::test]
async fn it_listens_before_the_database_is_there_and_then_migrates_it() {
    let mut postgres = postgres().await;
    postgres.stop().await.unwrap();
    let mut world = World::over(postgres, |_| ()).await;
    assert_eq!(world.get("/ready").await.status, 503);
    assert_eq!(world.get("/api/v1/clusters").await.status, 503);
    world.postgres.restart().await.unwrap();
    eventually("it is ready", PATIENCE, async || world.get("/ready").await.status == 200).await;
    assert!(world.items("/api/v1/clusters").await.is_empty());
}

#[tokio::test]
async fn without_its_schema_the_database_is_not_ready() {
    let world = World::over(postgres().await, |config| config.db.migrate = false).await;
    let answer = world.get("/api/v1/clusters").await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(!answer.body.contains("relation"), "{answer:?}");
}
