//! What GPUs reported, plain and summed up.

use serde_json::{Value, json};

use crate::world::World;

const GPU: &str = "/api/v1/telemetry?cluster_id=beta&host_id=b-000&gpu_id=0";

#[tokio::test]
async fn samples_are_answered_as_they_were_stored() {
    let world = World::new().await;
    let newest = &world.items(&format!("{GPU}&limit=1")).await[0];
    assert_eq!(
        newest,
        &json!({
            "cluster_id": "beta", "host_id": "b-000", "gpu_id": "0", "uuid": "GPU-b-0",
            "timestamp": "2025-07-18T20:09:50Z",
            "data": {"power_watts": 159, "energy_millijoules": 59029.5, "xid": 48, "job_slots": 59},
        })
    );
    let oldest = &world.items(&format!("{GPU}&limit=1&order=asc")).await[0];
    assert_eq!(oldest["timestamp"], "2025-07-18T20:00:00Z");
    assert_eq!(oldest["data"], json!({"power_watts": 100, "energy_millijoules": 0, "job_slots": 0}));
    let of_gpu = world.items("/api/v1/clusters/beta/hosts/b-000/gpus/GPU-b-0/metrics?limit=1").await;
    assert_eq!(&of_gpu[0], newest);
}

#[tokio::test]
async fn ranges_and_metrics_choose() {
    let world = World::new().await;
    let times = async |query: &str| {
        let items = world.items(&format!("{GPU}&order=asc&{query}")).await;
        items.iter().map(|item| item["timestamp"].as_str().unwrap()[14..19].to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(times("start=2025-07-18T20:00:10Z&end=2025-07-18T20:00:30Z").await, ["00:10", "00:20"]);
    assert_eq!(times("start=1752869380").await, ["09:40", "09:50"]);
    assert_eq!(times("end=2025-07-18T22:00:05%2B02:00").await, ["00:00"]);
    assert_eq!(times("metrics=xid").await, ["09:50"], "only samples that report it");
    assert!(times("start=now-1h").await.is_empty());

    let chosen = &world.items(&format!("{GPU}&limit=1&metrics=DCGM_FI_DEV_POWER_USAGE,job_slots")).await[0];
    assert_eq!(chosen["data"], json!({"power_watts": 159, "job_slots": 59}));
}

#[tokio::test]
async fn steps_are_summed_up() {
    let world = World::new().await;
    let minute = async |query: &str| {
        let items =
            world.items(&format!("{GPU}&start=2025-07-18T20:01:00Z&end=2025-07-18T20:02:00Z&step=1m&{query}")).await;
        assert_eq!(items.len(), 1, "{items:?}");
        assert_eq!(items[0]["timestamp"], "2025-07-18T20:01:00Z");
        items[0]["data"].clone()
    };
    // Power 106 to 111 W and job slots 6 to 11.
    for (aggregate, power, slots) in [
        ("avg", 108.5, 8.5),
        ("min", 106.0, 6.0),
        ("max", 111.0, 11.0),
        ("sum", 651.0, 51.0),
        ("last", 111.0, 11.0),
        ("p95", 110.75, 10.75),
    ] {
        let data = minute(&format!("agg={aggregate}&metrics=power_watts,job_slots")).await;
        assert_eq!(
            [&data["power_watts"], &data["job_slots"]].map(|value| value.as_f64().unwrap()),
            [power, slots],
            "{aggregate}"
        );
    }
    // What suits each: the mean of a gauge, the last of a counter and of what nobody knows.
    let usual = minute("").await;
    assert_eq!(usual, json!({"power_watts": 108.5, "energy_millijoules": 11005.5, "job_slots": 11}));
}

#[tokio::test]
async fn steps_without_a_range_end_with_the_newest_value() {
    let world = World::new().await;
    let items = world.items(&format!("{GPU}&step=5m&agg=max&metrics=power_watts")).await;
    let found: Vec<_> = items
        .iter()
        .map(|item| (item["timestamp"].as_str().unwrap(), item["data"]["power_watts"].as_i64().unwrap()))
        .collect();
    assert_eq!(found, [("2025-07-18T20:05:00Z", 159), ("2025-07-18T20:00:00Z", 129)]);
    assert!(world.items("/api/v1/telemetry?cluster_id=gamma&step=5m").await.is_empty());
}

#[tokio::test]
async fn too_many_points_are_refused_with_a_step_that_works() {
    let world = World::new().await;
    let path = "/api/v1/telemetry?cluster_id=beta&start=2025-07-01&end=2025-07-31&step=";
    let answer = world.get(&format!("{path}1s")).await;
    let problem = answer.json();
    assert_eq!((answer.status, problem["parameter"].as_str()), (400, Some("step")), "{problem}");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.starts_with("5184000 points (2592000 steps of 2 GPUs); at most 100000"), "{detail}");
    let step = detail.split("step=").nth(1).unwrap().split(' ').next().unwrap();
    let items = world.items(&format!("{path}{step}")).await;
    assert!(!items.is_empty());
}

#[tokio::test]
async fn latest_values_have_times_of_their_own() {
    let world = World::new().await;
    let latest = world.items("/api/v1/telemetry/latest?cluster_id=alpha&host_id=a-001&gpu_id=0").await;
    assert_eq!(latest.len(), 1);
    let item = &latest[0];
    assert_eq!((&item["uuid"], &item["status"]), (&json!("GPU-a-001-0"), &json!("ok")));
    assert_eq!(item["timestamp"], item["readings"]["power_watts"]["timestamp"]);
    assert_eq!((&item["data"]["power_watts"], &item["readings"]["power_watts"]["value"]), (&json!(108), &json!(108)));
    let slots =
        &world.items("/api/v1/telemetry/latest?cluster_id=alpha&host_id=a-001&gpu_id=0&metrics=job_slots").await[0];
    assert_eq!(slots["timestamp"], "2025-07-18T20:00:00Z");
    assert_eq!(slots["data"].as_object().unwrap().len(), 1);
    assert_eq!(
        world.items("/api/v1/telemetry/latest?cluster_id=gamma").await,
        [] as [Value; 0],
        "nothing was reported"
    );
}

/// A page of thousands of steps is answered well within QUERY_TIMEOUT, which comparing every sample with every step of it would
/// not be: that is seven hundred million comparisons. Asked often enough for PostgreSQL to keep a plan, for one GPU and for both.
#[tokio::test]
async fn a_page_of_many_steps_is_not_compared_with_every_sample() {
    let world = World::new().await;
    world
        .sql(
            "INSERT INTO samples (gpu_id, ts, power_watts)
             SELECT g.id, '2025-07-19T00:00:00Z'::timestamptz + n * interval '1 second', n
             FROM gpus g JOIN hosts h ON h.id = g.host_id, generate_series(0, 86399) n WHERE h.name = 'b-000';
             -- As where the table is of a thousand GPUs, and a plan expects little of one.
             ALTER TABLE samples_all ALTER COLUMN gpu_id SET (n_distinct = 1000);
             ANALYZE",
        )
        .await;
    let day = "/api/v1/telemetry?cluster_id=beta&start=2025-07-19T00:00:00Z&end=2025-07-20T00:00:00Z";
    for (chosen, step, count) in [("", "20s", 8_640), ("&gpu_id=1", "10s", 8_640)] {
        for _ in 0..8 {
            let items = world.items(&format!("{day}{chosen}&step={step}&order=asc&limit=10000")).await;
            assert_eq!(items.len(), count, "{chosen} by {step}");
            assert_eq!(items[count - 1]["timestamp"].as_str().map(|at| &at[..11]), Some("2025-07-19T"));
        }
    }
}
