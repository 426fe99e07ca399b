//! What questions may take of the database.

use std::time::Duration;

use nexus_common::testing::eventually;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_postgres::Client;

use crate::http::request;
use crate::world::{PATIENCE, World};

/// Holds a lock that every question for samples waits for.
async fn locked(world: &World, driver: &mut JoinSet<()>) -> Client {
    let client = world.connected(driver).await;
    client.batch_execute("BEGIN; LOCK TABLE samples IN ACCESS EXCLUSIVE MODE").await.unwrap();
    client
}

/// Statements of the gateway that run now.
async fn running(client: &Client) -> i64 {
    let sql = "SELECT count(*) FROM pg_stat_activity
               WHERE application_name = 'nexus-gateway' AND state = 'active' AND query LIKE '%samples%'";
    client.query_one(sql, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn a_query_ends_when_its_client_goes() {
    let world = World::with(|config| config.query_timeout = Duration::from_secs(300)).await;
    let mut driver = JoinSet::new();
    let lock = locked(&world, &mut driver).await;
    let watch = world.connected(&mut driver).await;
    let mut client = TcpStream::connect(world.address).await.unwrap();
    client.write_all(b"GET /api/v1/telemetry HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    eventually("the statement runs", PATIENCE, async || running(&watch).await == 1).await;
    drop(client);
    // Sooner than any timeout.
    eventually("the statement is ended", PATIENCE, async || running(&watch).await == 0).await;
    lock.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(world.items("/api/v1/telemetry").await.len(), 100);
}

#[tokio::test]
async fn heavy_questions_take_turns_and_leave_the_others_alone() {
    let world = World::with(|config| {
        config.bounds.heavy_queries = 2;
        config.query_timeout = Duration::from_secs(300);
    })
    .await;
    let mut driver = JoinSet::new();
    let lock = locked(&world, &mut driver).await;
    let watch = world.connected(&mut driver).await;
    let mut asked = JoinSet::new();
    for path in ["/api/v1/telemetry", "/api/v1/telemetry?step=1m"] {
        asked.spawn(request(world.address, "GET", path, &[]));
    }
    eventually("both turns are taken", PATIENCE, async || running(&watch).await == 2).await;
    let refused = world.get("/api/v1/telemetry?agg=rate").await;
    let problem = refused.json();
    assert_eq!((refused.status, problem["type"].as_str()), (503, Some("urn:nexus:problem:busy")), "{problem}");
    assert_eq!(refused.header("retry-after"), Some("2"));
    assert!(problem["detail"].as_str().unwrap().starts_with("2 queries over time ranges run already"), "{problem}");
    assert_eq!(running(&watch).await, 2);
    assert_eq!(world.items("/api/v1/clusters").await.len(), 4, "who asks for no range does not wait");
    assert_eq!(world.items("/api/v1/telemetry/latest").await.len(), 25);
    lock.batch_execute("ROLLBACK").await.unwrap();
    while let Some(answer) = asked.join_next().await {
        assert_eq!(answer.unwrap().status, 200);
    }
    assert_eq!(world.get("/api/v1/telemetry?agg=rate").await.status, 200, "the turns came back");
}

#[tokio::test]
async fn a_value_in_a_column_that_was_never_seen_is_answered_all_the_same() {
    const OF_ONE: &str = "/api/v1/telemetry?cluster_id=alpha&host_id=a-001&gpu_id=0&start=2025-07-18&end=2025-07-19";
    // Samples are changed here as nobody does: without a note.
    let world = World::with(|config| config.bounds.kept_bytes = 0).await;
    let stored = async |column: &str, value: f64| {
        let sql = format!(
            "INSERT INTO samples (gpu_id, ts, {column})
                 SELECT id, '2025-07-18T12:00:00Z', {value} FROM gpus WHERE uuid = 'GPU-a-001-0'
             ON CONFLICT (gpu_id, ts) DO UPDATE SET {column} = excluded.{column}"
        );
        world.sql(&sql).await;
    };
    world.log_statements().await;
    let logged = || world.statements("-- The samples of one GPU");
    // Nothing is stored yet, so that nothing is seen.
    eventually("every connection's statements are logged", PATIENCE, async || {
        let before = logged();
        let mut asked = JoinSet::new();
        (0..4).for_each(|_| drop(asked.spawn(request(world.address, "GET", OF_ONE, &[]))));
        asked.join_all().await;
        logged() == before + 4
    })
    .await;
    let before = logged();
    let asked = || logged() - before;

    stored("power_watts", 300.0).await;
    let power = json!({"power_watts": 300});
    assert_eq!((world.items(OF_ONE).await[0]["data"].clone(), asked()), (power.clone(), 1), "all columns");
    assert_eq!((world.items(OF_ONE).await[0]["data"].clone(), asked()), (power, 2), "those that were seen are enough");

    stored("sm_clock_mhz", 1980.0).await;
    let both = json!({"power_watts": 300, "sm_clock_mhz": 1980});
    assert_eq!((world.items(OF_ONE).await[0]["data"].clone(), asked()), (both.clone(), 4), "the row has more");
    assert_eq!((world.items(OF_ONE).await[0]["data"].clone(), asked()), (both, 5), "which is seen from then on");

    let clock = world.items(&format!("{OF_ONE}&metrics=sm_clock_mhz")).await[0]["data"].clone();
    assert_eq!((clock, asked()), (json!({"sm_clock_mhz": 1980}), 6), "chosen metrics are read at once");
}

/// A plan that is kept for all days would lock all of them, whatever the question: one whose own lock is held, as by an
/// operator's command, would hold up everybody.
#[tokio::test]
async fn a_question_about_a_day_leaves_the_other_days_alone() {
    const BEFORE: &str = "
        CREATE TABLE samples_before PARTITION OF samples FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
        CREATE TABLE hours_before PARTITION OF rollup_hours FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
        CREATE TABLE fives_before PARTITION OF rollup_fives FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
        CREATE TABLE minutes_before PARTITION OF rollup_minutes FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
        ANALYZE";
    const HOUR: &str = "start=2025-07-18T20:00:00Z&end=2025-07-18T21:00:00Z";
    let world = World::told(BEFORE, |config| {
        config.pool_size = 2;
        config.query_timeout = Duration::from_secs(10);
    })
    .await;
    let mut driver = JoinSet::new();
    let dropping = world.connected(&mut driver).await;
    let lock = "BEGIN; LOCK TABLE samples_before, hours_before, fives_before, minutes_before IN ACCESS EXCLUSIVE MODE";
    dropping.batch_execute(lock).await.unwrap();
    for gpus in ["cluster_id=beta", "cluster_id=beta&gpu_id=0"] {
        let questions = [
            "limit=10".to_owned(),
            HOUR.to_owned(),
            format!("{HOUR}&step=10s"),
            format!("{HOUR}&step=10s&limit=5"),
            format!("{HOUR}&step=1m"),
            format!("{HOUR}&step=5m"),
            format!("{HOUR}&step=1h"),
            format!("{HOUR}&step=1m&limit=5"),
            format!("{HOUR}&step=10s&agg=rate"),
            format!("{HOUR}&step=1m&agg=rate"),
        ];
        for question in questions {
            let path = format!("/api/v1/telemetry?{gpus}&{question}");
            // PostgreSQL plans a statement five times before it keeps a plan, on each connection.
            for time in 1..=14 {
                assert!(!world.items(&path).await.is_empty(), "{path}, asked {time} times");
            }
        }
    }
    let of_each = "{ cluster(cluster_id: \"beta\") { hosts { gpus { telemetry(limit: 10) { data } } } } }";
    for _ in 1..=14 {
        crate::graphql::data(&world, of_each).await;
    }
}
