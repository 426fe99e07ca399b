//! Every list, page by page, is the list.

use serde_json::Value;
use tokio::task::JoinSet;
use tokio_postgres::NoTls;

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
async fn pages_go_on_at_midnight() {
    let world = World::new().await;
    world
        .sql(
            "INSERT INTO samples (gpu_id, ts, power_watts)
                 SELECT id, '2025-07-17T00:00:00Z'::timestamptz + n * interval '12 hours', 1
                 FROM gpus, generate_series(-2, 2) n WHERE uuid IN ('GPU-b-0', 'GPU-b-1')",
        )
        .await;
    for range in
        ["", "&end=2025-07-17T00:00:00.000001Z", "&start=2025-07-17", "&start=2025-07-16&end=2025-07-18", "&step=12h"]
    {
        for order in ["asc", "desc"] {
            let path = format!("/api/v1/telemetry?cluster_id=beta{range}&order={order}");
            let whole = exhausted(&world, &path, 1_000).await;
            assert!(whole.len() >= 6, "{path}: {whole:?}");
            for limit in [1, 3] {
                assert_eq!(exhausted(&world, &path, limit).await, whole, "{path} by {limit}");
            }
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

/// A reading of GPU 0 every ten days of the year before, in a partition of its own; its first hour is rolled up.
const YEAR_BEFORE: &str = "
    CREATE TABLE samples_before PARTITION OF samples FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
    INSERT INTO samples (gpu_id, ts, power_watts)
        SELECT g.id, '2024-01-01T00:30:00Z'::timestamptz + n * interval '10 days', n
        FROM gpus g, generate_series(0, 35) n WHERE uuid = 'GPU-b-0';
    CREATE TABLE rollups_before PARTITION OF rollup_hours FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
    INSERT INTO rollup_hours (gpu_id, start, samples, minutes)
        SELECT id, '2024-01-01T00:00:00Z', 1, false FROM gpus WHERE uuid = 'GPU-b-0';
    ANALYZE";

#[tokio::test]
async fn pages_reach_from_the_newest_to_the_oldest_and_back() {
    let world = World::new().await;
    world.sql(YEAR_BEFORE).await;
    for (gpu, count) in [("gpu_id=0", 96), ("gpu_id=1", 60), ("limit_of=both", 156)] {
        for order in ["asc", "desc"] {
            let path = format!("/api/v1/telemetry?cluster_id=beta&{gpu}&order={order}").replace("&limit_of=both", "");
            let whole = exhausted(&world, &path, 1_000).await;
            assert_eq!(whole.len(), count, "{path}");
            let times: Vec<_> = whole.iter().map(|sample| sample["timestamp"].as_str().unwrap()).collect();
            assert!(times.is_sorted_by(|a, b| if order == "asc" { a <= b } else { a >= b }), "{path}");
            for limit in [5, 59, 60, 61] {
                assert_eq!(exhausted(&world, &path, limit).await, whole, "{path} by {limit}");
            }
        }
    }
    // Of each GPU its own limit: GPU 1 has fewer.
    for order in ["asc", "desc"] {
        let gpus = format!("gpus {{ telemetry(limit: 65, order: {order}) {{ timestamp }} }}");
        let query = format!("{{ cluster(cluster_id: \"beta\") {{ hosts {{ {gpus} }} }} }}");
        let answer = crate::graphql::data(&world, &query).await;
        for (gpu, count) in [(0, 65), (1, 60)] {
            let path = format!("/api/v1/telemetry?cluster_id=beta&gpu_id={gpu}&order={order}&limit=65");
            let one_by_one: Vec<_> =
                world.items(&path).await.iter().map(|sample| sample["timestamp"].clone()).collect();
            let nested = answer["cluster"]["hosts"][0]["gpus"][gpu]["telemetry"].as_array().unwrap();
            let nested: Vec<_> = nested.iter().map(|sample| sample["timestamp"].clone()).collect();
            assert_eq!((nested.len(), &nested), (count, &one_by_one), "{order}, GPU {gpu}");
        }
    }
}

/// Days that a page does not reach are not even opened: one that is being dropped keeps nobody waiting.
#[tokio::test]
async fn a_page_opens_no_day_that_it_does_not_reach() {
    let world = World::new().await;
    world.sql(YEAR_BEFORE).await;
    let mut driver = JoinSet::new();
    let (client, connection) = world.postgres.owner_config().connect(NoTls).await.unwrap();
    driver.spawn(connection);
    for (held, order) in [("samples_before", "desc"), ("samples_all", "asc")] {
        client.batch_execute(&format!("BEGIN; LOCK TABLE {held} IN ACCESS EXCLUSIVE MODE")).await.unwrap();
        let path = format!("/api/v1/telemetry?cluster_id=beta&gpu_id=0&limit=10&order={order}");
        // Were it opened, this would wait for the query's timeout.
        assert_eq!(world.items(&path).await.len(), 10, "{order}");
        client.batch_execute("ROLLBACK").await.unwrap();
    }
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

/// A client that asks for the last hour again and again comes to where its cursor lies before the hour.
#[tokio::test]
async fn behind_the_end_of_a_range_there_is_nothing() {
    let world = World::new().await;
    for (order, outside) in [("desc", "start=2025-07-18T20:09:50Z"), ("asc", "end=2025-07-18T20:00:01Z")] {
        for gpus in ["", "&gpu_id=0"] {
            let path = format!("/api/v1/telemetry?cluster_id=beta{gpus}&order={order}&limit=10");
            let cursor = world.json(&path).await["next_cursor"].as_str().unwrap().to_owned();
            assert_eq!(world.items(&format!("{path}&{outside}&cursor={cursor}")).await, Vec::<Value>::new(), "{path}");
        }
    }
}

/// One GPU and many are answered by statements of their own: a GPU's part of the list of all is its own list, and goes on
/// where the other's cursor stands.
#[tokio::test]
async fn one_gpu_is_answered_as_among_many() {
    let world = World::new().await;
    world.sql(YEAR_BEFORE).await;
    let beta = "/api/v1/telemetry?cluster_id=beta";
    for how in
        ["order=asc", "order=desc", "step=1m&start=2025-07-18T20:00:05Z", "step=20s&order=asc", "step=1m&agg=rate"]
    {
        let all = exhausted(&world, &format!("{beta}&{how}"), 1_000).await;
        for gpu in ["0", "1"] {
            let of_all: Vec<_> = all.iter().filter(|sample| sample["gpu_id"] == gpu).cloned().collect();
            assert!(!of_all.is_empty(), "{how}");
            assert_eq!(
                exhausted(&world, &format!("{beta}&gpu_id={gpu}&{how}"), 1_000).await,
                of_all,
                "{how}, GPU {gpu}"
            );
        }
    }
    for (order, limit) in [("asc", 7), ("asc", 8), ("desc", 7), ("desc", 8)] {
        let page = world.json(&format!("{beta}&order={order}&limit={limit}")).await;
        let (shown, cursor) = (page["items"].as_array().unwrap(), page["next_cursor"].as_str().unwrap());
        for gpu in ["0", "1"] {
            let own = exhausted(&world, &format!("{beta}&gpu_id={gpu}&order={order}"), 1_000).await;
            let rest = world.items(&format!("{beta}&gpu_id={gpu}&order={order}&limit=1000&cursor={cursor}")).await;
            let before = shown.iter().filter(|sample| sample["gpu_id"] == gpu).count();
            assert_eq!(rest, own[before..], "{order} behind {limit}, GPU {gpu}");
        }
    }
}
