//! Every list, page by page, is the list.

use serde_json::Value;

use crate::world::World;

/// Follows the cursors to the end.
async fn exhausted(world: &World, path: &str, limit: usize) -> Vec<Value> {
    let between = if path.contains('?') { '&' } else { '?' };
    let (mut all, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let at = cursor.as_ref().map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        let page = world.json(&format!("{path}{between}limit={limit}{at}")).await;
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= limit, "{path}: {} items", items.len());
        all.extend(items.iter().cloned());
        assert!(all.len() <= 1_000, "{path} has no end");
        match &page["next_cursor"] {
            Value::Null => return all,
            next => {
                assert_eq!(items.len(), limit, "{path}: a page in the middle is full");
                cursor = Some(next.as_str().unwrap().to_owned());
            }
        }
    }
}

#[tokio::test]
async fn pages_make_up_the_list() {
    let world = World::new().await;
    let beta = "cluster_id=beta&start=2025-07-18T20:00:05Z&end=2025-07-18T20:08:00Z";
    for (path, count) in [
        ("/api/v1/clusters".to_owned(), 4),
        ("/api/v1/hosts".to_owned(), 5),
        ("/api/v1/clusters/alpha/hosts".to_owned(), 3),
        ("/api/v1/gpus".to_owned(), 27),
        ("/api/v1/clusters/alpha/hosts/a-001/gpus".to_owned(), 8),
        ("/api/v1/telemetry/latest".to_owned(), 25),
        ("/api/v1/telemetry/latest?metrics=job_slots".to_owned(), 8),
        ("/api/v1/telemetry".to_owned(), 120),
        (format!("/api/v1/telemetry?{beta}"), 94),
        (format!("/api/v1/telemetry?{beta}&order=asc"), 94),
        (format!("/api/v1/telemetry?{beta}&step=1m"), 16),
        (format!("/api/v1/telemetry?{beta}&step=1m&order=asc"), 16),
        ("/api/v1/telemetry?step=30s&cluster_id=beta".to_owned(), 40),
        ("/api/v1/clusters/beta/hosts/b-000/gpus/1/metrics".to_owned(), 60),
    ] {
        let whole = exhausted(&world, &path, 1_000).await;
        assert_eq!(whole.len(), count, "{path}");
        for limit in [1, 3, 7] {
            assert_eq!(exhausted(&world, &path, limit).await, whole, "{path} by {limit}");
        }
    }
}

#[tokio::test]
async fn what_arrives_meanwhile_hides_and_repeats_nothing() {
    let world = World::new().await;
    let path = "/api/v1/telemetry?cluster_id=beta&gpu_id=0&limit=10";
    let first = world.json(path).await;
    world
        .sql(
            "INSERT INTO samples (gpu_id, ts, power_watts)
                 SELECT id, '2025-07-18T20:30:00Z', 1 FROM gpus WHERE uuid = 'GPU-b-0'",
        )
        .await;
    let second = world.json(&format!("{path}&cursor={}", first["next_cursor"].as_str().unwrap())).await;
    assert_eq!(first["items"][9]["timestamp"], "2025-07-18T20:08:20Z");
    assert_eq!(second["items"][0]["timestamp"], "2025-07-18T20:08:10Z");
}

#[tokio::test]
async fn a_cursor_belongs_to_its_list() {
    let world = World::new().await;
    let cursor = async |path: &str| world.json(path).await["next_cursor"].as_str().unwrap().to_owned();
    let clusters = cursor("/api/v1/clusters?limit=1").await;
    let hosts = cursor("/api/v1/hosts?limit=1").await;
    let samples = cursor("/api/v1/telemetry?limit=1").await;
    for path in [
        format!("/api/v1/hosts?cursor={clusters}"),
        format!("/api/v1/clusters?cursor={hosts}"),
        format!("/api/v1/gpus?cursor={samples}"),
        format!("/api/v1/telemetry?cursor={hosts}"),
        format!("/api/v1/telemetry?order=asc&cursor={samples}"),
        format!("/api/v1/telemetry?step=1m&cursor={samples}"),
        "/api/v1/clusters?cursor=nonsense".to_owned(),
    ] {
        let answer = world.get(&path).await;
        assert_eq!((answer.status, answer.json()["parameter"].as_str()), (400, Some("cursor")), "{path}");
    }
}
