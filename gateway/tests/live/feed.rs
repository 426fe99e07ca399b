//! What a client gets that keeps up.

use std::collections::BTreeMap;

use serde_json::json;

use crate::client::samples;
use crate::world::{World, sample};

#[tokio::test]
async fn every_frame_comes_as_it_was_stored() {
    let world = World::new().await;
    let gateway = world.gateway().await;
    let mut client = gateway.all("").await;
    let both = vec![
        sample("h1", "0", &[("power_watts", 71.5), ("memory_used_mib", 81_007.0), ("job_slots", 3.0)]),
        sample("h1", "1", &[("gpu_utilization", 0.1)]),
    ];
    let revision = world.tell("alpha", both).await;
    let frame = client.next().await;
    let position = frame["position"].as_str().unwrap();
    assert_eq!(
        position.split_once('.').map(|(store, rest)| (store.len(), rest.to_owned())),
        Some((16, revision.to_string()))
    );
    let sample = |gpu: &str, data| {
        json!({"host_id": "h1", "gpu_id": gpu, "uuid": format!("GPU-h1-{gpu}"), "timestamp": "2026-01-05T08:00:00Z",
               "data": data})
    };
    let samples = [
        sample("0", json!({"memory_used_mib": 81007, "power_watts": 71.5, "job_slots": 3})),
        sample("1", json!({"gpu_utilization": 0.1})),
    ];
    assert_eq!(
        frame,
        json!({"type": "telemetry", "position": position, "revision": revision, "cluster_id": "alpha", "samples": samples})
    );
}

#[tokio::test]
async fn a_gateway_sees_all_clusters_and_events() {
    let world = World::new().await;
    let gateway = world.gateway().await;
    let mut client = gateway.connect("?gpu_id=0&metrics=power_watts").await;
    assert_eq!(client.next().await["type"], "position", "where there is nothing yet, that is said");
    world.tell("other/cluster", vec![sample("h", "0", &[("power_watts", 1.0)])]).await;
    assert_eq!(client.frame().await["cluster_id"], "other/cluster");
    let event = |id: i64, gpu: &str| {
        json!({"id": id, "host_id": "h", "gpu_id": gpu, "uuid": null, "at": 1_767_600_000_000_000_i64, "kind": "xid",
               "condition": "sick", "severity": "critical", "since": 1_767_600_000_000_000_i64, "code": 79,
               "detail": "XID 79"})
    };
    let feed = json!({"v": 1, "batch": "", "samples": [], "events": [event(1, "1"), event(2, "0")]});
    world.put("alpha", feed.to_string()).await;
    let frame = client.frame().await;
    let expected = json!([{
        "id": 2, "cluster_id": "alpha", "host_id": "h", "gpu_id": "0", "uuid": null, "timestamp": "2026-01-05T08:00:00Z",
        "kind": "xid", "condition": "sick", "severity": "critical", "since": "2026-01-05T08:00:00Z", "code": 79,
        "detail": "XID 79",
    }]);
    assert_eq!((&frame["type"], &frame["events"]), (&json!("events"), &expected));
}

#[tokio::test]
async fn a_filter_lets_through_what_was_asked_for() {
    let world = World::new().await;
    let gateway = world.gateway().await;
    let mut by_place = gateway.all("host_id=h1&gpu_id=1").await;
    let mut by_uuid = gateway.all("gpu_id=GPU-h2-0").await;
    let mut by_metric = gateway.all("cluster_id=alpha&metrics=DCGM_FI_DEV_GPU_TEMP,job_slots").await;
    let mut elsewhere = gateway.all("cluster_id=beta").await;
    let data = [("power_watts", 70.0), ("temperature_celsius", 40.0)];
    world.tell("alpha", vec![sample("h1", "0", &data), sample("h1", "1", &data), sample("h2", "0", &data)]).await;
    let whole = "power_watts=70 temperature_celsius=40";
    assert_eq!(samples(&by_place.next().await), [format!("h1/1: {whole}")]);
    assert_eq!(samples(&by_uuid.next().await), [format!("h2/0: {whole}")]);
    assert_eq!(
        samples(&by_metric.next().await),
        ["h1/0", "h1/1", "h2/0"].map(|gpu| format!("{gpu}: temperature_celsius=40"))
    );
    elsewhere.is_quiet().await;
    world.tell("beta", vec![sample("h1", "0", &[("job_slots", 1.0)])]).await;
    assert_eq!(samples(&elsewhere.next().await), ["h1/0: job_slots=1"]);
    by_metric.is_quiet().await;
}

#[tokio::test]
async fn whoever_wants_little_is_told_how_far_it_has_come() {
    let world = World::new().await;
    let gateway = world.gateway().await;
    let mut client = gateway.all("host_id=nobody").await;
    let revision = world.power("h", "0", 1.0).await;
    let message = client.next().await;
    assert_eq!(message["type"], "position");
    assert!(message["position"].as_str().unwrap().ends_with(&format!(".{revision}")), "{message}");
}

#[tokio::test]
async fn an_interval_merges_what_comes_within_it() {
    let world = World::new().await;
    let gateway = world.gateway().await;
    let began = tokio::time::Instant::now();
    let mut client = gateway.connect("?interval=2s").await;
    assert_eq!(client.next().await["type"], "position");
    world.power("h", "0", 0.0).await;
    assert_eq!(samples(&client.frame().await), ["h/0: power_watts=0"], "the first comes at once");
    let mut last = 0;
    for watts in 1..=20 {
        world.tell("alpha", vec![sample("h", "0", &[("power_watts", f64::from(watts))])]).await;
        last = world.tell("alpha", vec![sample("h", "1", &[("xid", f64::from(watts))])]).await;
    }
    let (mut frames, mut newest) = (0, BTreeMap::new());
    while newest.get("revision") != Some(&json!(last)) {
        let frame = client.frame().await;
        assert_eq!(frame["skipped"], json!(null), "nothing was too slow");
        for sample in frame["samples"].as_array().unwrap() {
            newest.insert(sample["gpu_id"].to_string(), sample["data"].clone());
        }
        newest.insert("revision".to_owned(), frame["revision"].clone());
        frames += 1;
    }
    assert_eq!((&newest["\"0\""], &newest["\"1\""]), (&json!({"power_watts": 20}), &json!({"xid": 20})));
    // One of the forty was told in each interval: in how many depends on the machine.
    assert!(frames <= 1 + began.elapsed().as_secs() / 2, "{frames} in {:?}", began.elapsed());
}
