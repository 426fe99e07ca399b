//! What happened to GPUs.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::world::World;

/// - On `a-000` GPU 0 fell off the bus and was reset; GPU 1 was hot. On `b-000` a program of GPU 0 crashed.
/// - Then 20 GPUs of `a-001` fell silent at one moment.
const EVENTS: &str = "
    INSERT INTO events (cluster_id, host, gpu, uuid, at, noted_at, kind, condition, severity, since, code, detail)
    SELECT c.id, e.host, e.gpu, 'GPU-' || e.host || '-' || e.gpu, e.at::timestamptz, e.at::timestamptz + interval '1 s',
           e.kind, e.condition, e.severity, '2025-07-18T20:00:00Z', e.code, e.detail
    FROM (VALUES
        (1, 'alpha', 'a-000', '0', '2025-07-18T20:00:00Z', 'xid', 'sick', 'critical', 79, 'XID 79'),
        (2, 'alpha', 'a-000', '0', '2025-07-18T20:10:00Z', 'recovered', 'sick', 'notice', 79, 'XID 79 is over'),
        (3, 'alpha', 'a-000', '1', '2025-07-18T20:05:00Z', 'hot', 'hot', 'warning', NULL, '82 °C'),
        (4, 'beta', 'b-000', '0', '2025-07-18T20:06:00Z', 'xid', NULL, 'warning', 13, 'XID 13')
    ) AS e (n, cluster, host, gpu, at, kind, condition, severity, code, detail)
    JOIN clusters c ON c.name = e.cluster ORDER BY e.n;
    INSERT INTO events (cluster_id, host, gpu, at, kind, condition, severity, since, detail)
    SELECT id, 'a-001', n, '2025-07-18T21:00:00Z', 'stale', 'stale', 'warning', '2025-07-18T20:54:00Z', 'silent'
    FROM clusters, generate_series(0, 19) n WHERE name = 'alpha'";

/// One that is newer than all there are.
const NEW: &str = "
    INSERT INTO events (cluster_id, host, gpu, at, kind, severity, since, detail)
    SELECT id, 'c-000', '2', now(), 'xid', 'notice', now(), '' FROM clusters WHERE name = 'gamma'";

async fn world() -> World {
    let world = World::new().await;
    world.sql(EVENTS).await;
    world
}

/// The numbers of the events that are not of `a-001`.
async fn numbers(world: &World, query: &str) -> Vec<i64> {
    let items = world.items(&format!("/api/v1/events?{query}")).await;
    items.iter().map(|item| item["id"].as_i64().unwrap()).filter(|id| *id <= 4).collect()
}

#[tokio::test]
async fn an_event_is_answered_as_it_was_told() {
    let world = world().await;
    let of_gpu = world.items("/api/v1/events?cluster_id=alpha&host_id=a-000&gpu_id=0&order=asc").await;
    assert_eq!(
        of_gpu[0],
        json!({
            "id": 1, "cluster_id": "alpha", "host_id": "a-000", "gpu_id": "0", "uuid": "GPU-a-000-0",
            "timestamp": "2025-07-18T20:00:00Z", "noted_at": "2025-07-18T20:00:01Z",
            "kind": "xid", "condition": "sick", "severity": "critical", "since": "2025-07-18T20:00:00Z",
            "code": 79, "detail": "XID 79",
        })
    );
    let crashed = &world.items("/api/v1/events?cluster_id=beta").await[0];
    assert_eq!((&crashed["condition"], &crashed["uuid"]), (&Value::Null, &json!("GPU-b-000-0")));
}

#[tokio::test]
async fn questions_choose() {
    let world = world().await;
    assert_eq!(numbers(&world, "").await, [2, 4, 3, 1], "the newest by the data first");
    assert_eq!(numbers(&world, "order=asc").await, [1, 3, 4, 2]);
    assert_eq!(numbers(&world, "cluster_id=alpha").await, [2, 3, 1]);
    assert_eq!(numbers(&world, "cluster_id=nowhere").await, [0; 0]);
    assert_eq!(numbers(&world, "host_id=a-000&gpu_id=1").await, [3]);
    assert_eq!(numbers(&world, "gpu_id=GPU-a-000-0").await, [2, 1]);
    assert_eq!(numbers(&world, "kind=xid").await, [4, 1]);
    assert_eq!(numbers(&world, "condition=sick").await, [2, 1]);
    assert_eq!(numbers(&world, "min_severity=notice").await, [2, 4, 3, 1]);
    assert_eq!(numbers(&world, "min_severity=warning").await, [4, 3, 1]);
    assert_eq!(numbers(&world, "min_severity=critical").await, [1]);
    assert_eq!(numbers(&world, "start=2025-07-18T20:05:00Z&end=2025-07-18T20:10:00Z").await, [4, 3]);
}

#[tokio::test]
async fn pages_hold_every_event_once() {
    let world = world().await;
    for (query, limit) in [("order=desc", 3), ("order=asc&cluster_id=alpha&kind=stale", 7)] {
        let whole = world.items(&format!("/api/v1/events?{query}&limit=100")).await;
        let (mut items, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = world.json(&format!("/api/v1/events?{query}&limit={limit}{cursor}")).await;
            items.extend(page["items"].as_array().unwrap().clone());
            // What comes while somebody pages moves nothing.
            world.sql(NEW).await;
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(items, whole);
        let ids: BTreeSet<_> = items.iter().map(|item| item["id"].as_i64().unwrap()).collect();
        assert_eq!(ids.len(), items.len());
    }
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused() {
    let world = world().await;
    for (query, parameter) in [
        ("kind=broken", "kind"),
        ("condition=xid", "condition"),
        ("min_severity=bad", "min_severity"),
        ("severity=warning", "severity"),
        ("start=tomorrow", "start"),
        ("order=up", "order"),
        ("limit=0", "limit"),
        ("cursor=x", "cursor"),
    ] {
        let answer = world.get(&format!("/api/v1/events?{query}")).await;
        assert_eq!((answer.status, &answer.json()["parameter"]), (400, &json!(parameter)), "{query}");
    }
    let page = world.json("/api/v1/events?limit=1").await;
    let cursor = page["next_cursor"].as_str().unwrap();
    for path in [format!("/api/v1/events?order=asc&cursor={cursor}"), format!("/api/v1/telemetry?cursor={cursor}")] {
        let answer = world.get(&path).await;
        assert_eq!((answer.status, &answer.json()["parameter"]), (400, &json!("cursor")), "{path}");
    }
    let words = world.get("/api/v1/events?kind=broken").await.json();
    assert!(words["detail"].as_str().unwrap().starts_with("is none of xid, ecc, row_remap"), "{words}");
}
