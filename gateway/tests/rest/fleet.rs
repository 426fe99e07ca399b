//! Clusters, hosts, GPUs and what is derived from them.

use serde_json::{Value, json};

use crate::world::World;

fn names(items: &[Value], field: &str) -> Vec<String> {
    items.iter().map(|item| item[field].as_str().unwrap_or_else(|| panic!("no {field}: {item}")).to_owned()).collect()
}

#[tokio::test]
async fn clusters_are_told_with_their_state() {
    let world = World::new().await;
    let clusters = world.items("/api/v1/clusters").await;
    assert_eq!(names(&clusters, "cluster_id"), ["alpha", "beta", "empty", "gamma"]);
    assert_eq!(names(&clusters, "cluster_name"), ["alpha", "beta", "empty", "gamma"]);
    assert_eq!(names(&clusters, "status"), ["degraded", "stale", "empty", "empty"]);
    assert_eq!((&clusters[0]["host_count"], &clusters[0]["gpu_count"]), (&json!(3), &json!(23)));
    assert_eq!(clusters[1]["last_seen"], "2025-07-18T20:09:50Z");
    assert_eq!((&clusters[2]["host_count"], &clusters[2]["last_seen"]), (&json!(0), &Value::Null));
    assert_eq!(world.json("/api/v1/clusters/beta").await, clusters[1]);
}

#[tokio::test]
async fn hosts_show_the_gpus_they_lack() {
    let world = World::new().await;
    let hosts = world.items("/api/v1/hosts").await;
    assert_eq!(names(&hosts, "host_id"), ["a-000", "a-001", "a-002", "b-000", "c-000"]);
    assert_eq!(names(&hosts, "status"), ["degraded", "ok", "ok", "stale", "empty"]);
    assert_eq!(hosts[0]["missing_gpus"], json!(["6"]));
    assert_eq!((&hosts[0]["gpu_count"], &hosts[0]["expected_gpu_count"]), (&json!(7), &json!(8)));
    assert_eq!((&hosts[1]["gpu_count"], &hosts[1]["missing_gpus"]), (&json!(8), &json!([])));
    assert_eq!(world.items("/api/v1/clusters/alpha/hosts").await, hosts[..3]);
    assert_eq!(world.items("/api/v1/hosts?cluster_id=beta").await, hosts[3..4]);
    assert!(world.items("/api/v1/hosts?cluster_id=nobody").await.is_empty());
    assert_eq!(world.items("/api/v1/clusters/empty/hosts").await, [] as [Value; 0]);
    assert_eq!(world.json("/api/v1/clusters/alpha/hosts/a-000").await, hosts[0]);
}

#[tokio::test]
async fn a_silent_gpu_degrades_its_host() {
    const SILENT: &str =
        "UPDATE gpu_latest SET ts = now() - interval '2 hours', power_watts_at = now() - interval '2 hours'
        WHERE gpu_id = (SELECT id FROM gpus WHERE uuid = 'GPU-a-002-3')";
    let world = World::told(SILENT, |_| ()).await;
    let host = world.json("/api/v1/clusters/alpha/hosts/a-002").await;
    assert_eq!((&host["status"], &host["missing_gpus"]), (&json!("degraded"), &json!(["3"])), "it goes on without");
    let gpu = world.json("/api/v1/clusters/alpha/hosts/a-002/gpus/3").await;
    assert_eq!(gpu["status"], "stale");
    let conditions = gpu["conditions"].as_array().unwrap();
    assert_eq!(names(conditions, "condition"), ["missing", "stale"]);
    assert_eq!(names(conditions, "since"), [gpu["last_seen"].as_str().unwrap(); 2], "since its last value");
    let stats = world.json("/api/v1/clusters/alpha/stats").await;
    assert_eq!((&stats["gpus"]["stale"], &stats["gpus"]["missing"]), (&json!(1), &json!(2)));
    assert_eq!((&stats["conditions"]["stale"], &stats["conditions"]["missing"]), (&json!(1), &json!(2)));
    let missing = world.items("/api/v1/gpus?condition=missing").await;
    assert_eq!(
        (names(&missing, "host_id"), names(&missing, "gpu_id")),
        (vec!["a-000".to_owned(), "a-002".to_owned()], vec!["6".to_owned(), "3".to_owned()])
    );
    assert_eq!(
        (&missing[0]["uuid"], &missing[0]["last_seen"], &missing[0]["status"]),
        (&Value::Null, &Value::Null, &json!("empty"))
    );
    assert_eq!(names(&world.items("/api/v1/gpus?condition=stale&cluster_id=alpha").await, "gpu_id"), ["3"]);
    assert!(world.items("/api/v1/gpus?condition=hot").await.is_empty());
    let page = world.json("/api/v1/gpus?condition=missing&limit=1").await;
    assert_eq!(page["items"][0], missing[0]);
    let next = format!("/api/v1/gpus?condition=missing&limit=1&cursor={}", page["next_cursor"].as_str().unwrap());
    let page = world.json(&next).await;
    assert_eq!((&page["items"][0], &page["next_cursor"]), (&missing[1], &Value::Null));
}

#[tokio::test]
async fn a_gpu_that_was_cut_into_instances_is_not_missed() {
    const CUT: &str = "
        UPDATE gpu_latest SET ts = now() - interval '2 hours', power_watts_at = now() - interval '2 hours'
            WHERE gpu_id = (SELECT id FROM gpus WHERE uuid = 'GPU-a-002-3');
        INSERT INTO gpus (host_id, cluster_id, gpu_index, uuid, model)
            SELECT host_id, cluster_id, '3:' || n, 'MIG-' || n, model FROM gpus, generate_series(1, 2) n
            WHERE uuid = 'GPU-a-002-3';
        INSERT INTO gpu_latest (gpu_id, ts) SELECT id, now() FROM gpus WHERE uuid LIKE 'MIG-%'";
    let world = World::told(CUT, |_| ()).await;
    let host = world.json("/api/v1/clusters/alpha/hosts/a-002").await;
    assert_eq!((&host["status"], &host["missing_gpus"]), (&json!("ok"), &json!([])));
    assert_eq!(world.json("/api/v1/clusters/alpha/hosts/a-002/gpus/3").await["conditions"], json!([]));
    assert!(world.items("/api/v1/gpus?condition=stale&cluster_id=alpha").await.is_empty());
    let stats = world.json("/api/v1/clusters/alpha/stats").await;
    assert_eq!((&stats["gpus"]["stale"], &stats["conditions"]["stale"]), (&json!(0), &json!(0)));
    assert_eq!(stats["hosts"]["ok"], 2);
}

#[tokio::test]
async fn an_empty_place_is_missing_since_it_was_noted() {
    const NOTED: &str = "
        INSERT INTO gpu_signs (host_id, gpu_index, kind, since, seen, value, announced)
            SELECT id, '6', 'missing', '2025-07-18T20:00:00Z', '2025-07-18T20:00:00Z', 0, true FROM hosts
            WHERE name = 'a-000'";
    let world = World::told(NOTED, |_| ()).await;
    let since = async || world.items("/api/v1/gpus?condition=missing").await[0]["conditions"][0]["since"].take();
    assert_eq!(since().await, "2025-07-18T20:00:00Z");
    world.sql("UPDATE gpu_latest SET ts = now()").await;
    assert_eq!(since().await, "2025-07-18T20:00:00Z", "whatever its host reports");
    world.sql("DELETE FROM gpu_signs").await;
    assert_ne!(since().await, "2025-07-18T20:00:00Z", "nothing is noted");
}

#[tokio::test]
async fn gpus_come_with_their_newest_values() {
    let world = World::new().await;
    let gpus = world.items("/api/v1/gpus").await;
    assert_eq!(gpus.len(), 27);
    assert_eq!(names(&gpus[25..], "gpu_id"), ["2", "10"], "indices sort as numbers");
    let gpu = &world.json("/api/v1/clusters/alpha/hosts/a-001/gpus/0").await;
    assert_eq!(gpu, &gpus[7]);
    assert_eq!(gpu["uuid"], "GPU-a-001-0");
    assert_eq!((&gpu["model"], &gpu["device"]), (&json!("NVIDIA H100"), &json!("nvidia0")));
    assert_eq!((&gpu["labels"], &gpu["status"]), (&json!({"pod": "train"}), &json!("ok")));
    let latest = gpu["latest"].as_object().unwrap();
    assert_eq!(latest.keys().collect::<Vec<_>>(), ["job_slots", "power_watts", "temperature_celsius"]);
    let power = &latest["power_watts"];
    assert_eq!((&power["value"], &power["unit"], &power["stale"]), (&json!(108), &json!("W"), &json!(false)));
    assert_eq!(power["timestamp"], gpu["last_seen"]);
    let temperature = &latest["temperature_celsius"];
    assert_eq!(
        (&temperature["value"], &temperature["stale"]),
        (&json!(60.5), &json!(true)),
        "each value has its own age"
    );
    assert_eq!(
        latest["job_slots"],
        json!({"value": 3, "unit": null, "timestamp": "2025-07-18T20:00:00Z", "stale": true})
    );

    assert_eq!(&world.json("/api/v1/clusters/alpha/hosts/a-001/gpus/GPU-a-001-0").await, gpu, "by UUID");
    assert_eq!(world.items("/api/v1/clusters/alpha/hosts/a-001/gpus").await, gpus[7..15]);
    assert_eq!(world.items("/api/v1/gpus?cluster_id=beta&gpu_id=1").await, gpus[24..25]);
    let silent = &gpus[26];
    assert_eq!(
        (&silent["status"], &silent["last_seen"], &silent["latest"]),
        (&json!("empty"), &Value::Null, &json!({}))
    );
}

#[tokio::test]
async fn of_gpus_that_followed_each_other_the_last_is_meant() {
    let world = World::new().await;
    world
        .sql(
            "INSERT INTO gpus (host_id, cluster_id, gpu_index, uuid, model)
                 SELECT host_id, cluster_id, '1', 'GPU-new', model FROM gpus WHERE uuid = 'GPU-b-1';
             INSERT INTO gpu_latest (gpu_id, ts) SELECT id, '2025-07-18T21:00:00Z' FROM gpus WHERE uuid = 'GPU-new'",
        )
        .await;
    assert_eq!(world.json("/api/v1/clusters/beta/hosts/b-000/gpus/1").await["uuid"], "GPU-new");
    assert_eq!(world.json("/api/v1/clusters/beta/hosts/b-000/gpus/GPU-b-1").await["uuid"], "GPU-b-1");
    assert_eq!(world.json("/api/v1/clusters/beta/hosts/b-000").await["gpu_count"], 2);
    assert_eq!(world.items("/api/v1/clusters/beta/hosts/b-000/gpus").await.len(), 3);
}

#[tokio::test]
async fn a_cluster_is_summed_up() {
    let world = World::new().await;
    let stats = world.json("/api/v1/clusters/alpha/stats").await;
    assert_eq!((&stats["cluster_id"], &stats["status"]), (&json!("alpha"), &json!("degraded")));
    assert_eq!(stats["hosts"], json!({"total": 3, "ok": 2, "degraded": 1, "stale": 0, "empty": 0}));
    assert_eq!(stats["gpus"], json!({"total": 23, "expected": 24, "missing": 1, "ok": 23, "stale": 0, "empty": 0}));
    assert_eq!(stats["freshness"]["newest"], stats["last_seen"]);
    assert_eq!(stats["freshness"]["stale_after_seconds"], 3600.0);
    assert!(stats["freshness"]["age_seconds"].as_f64().unwrap() < 600.0);
    let distributions = stats["distributions"].as_object().unwrap();
    assert_eq!(distributions.keys().collect::<Vec<_>>(), ["power_watts", "temperature_celsius"], "none is made up");
    let power = &distributions["power_watts"];
    assert_eq!((&power["unit"], &power["count"], &power["stale"]), (&json!("W"), &json!(23), &json!(0)));
    assert_eq!(["min", "avg", "max", "p95"].map(|of| power[of].as_f64().unwrap()), [101.0, 112.0, 123.0, 121.9]);
    assert_eq!(distributions["temperature_celsius"]["stale"], 23);

    let stats = world.json("/api/v1/clusters/empty/stats").await;
    assert_eq!((&stats["status"], &stats["distributions"]), (&json!("empty"), &json!({})));
    assert_eq!(stats["freshness"]["newest"], Value::Null);
}
