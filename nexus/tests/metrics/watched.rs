//! A real Prometheus scrapes all three components of a running stack.

use std::collections::BTreeSet;
use std::time::Duration;

use nexus_common::testing::eventually;
use serde_json::Value;

use crate::prometheus::{Prometheus, complaints};
use crate::rows::HEADER;
use crate::stack::Stack;

const ROWS: u64 = 1_000;

#[tokio::test]
async fn prometheus_knows_what_was_streamed_and_what_became_of_it() {
    let stack = Stack::start(ROWS).await;
    // A row that nobody understands, and who listens live.
    std::fs::write(stack.file.with_file_name("bad.csv"), format!("{HEADER}now,DCGM_FI_DEV_GPU_TEMP,0,,,,,,,,1,\n"))
        .unwrap();
    let bad = stack.file.with_file_name("bad.csv");
    stack.world.start("streamer", &[("CSV_FILE", bad.to_str().unwrap())]).succeeds().await;
    let live = reqwest::get(format!("http://{}/api/v1/stream", stack.addresses["gateway"])).await.unwrap();
    assert!(live.status().is_success());
    let (status, _) = stack.get("gateway", "/api/v1/telemetry?limit=none").await;
    assert_eq!(status, 400);

    let jobs: Vec<_> = stack.addresses.iter().map(|(role, address)| (*role, address.as_str())).collect();
    let prometheus = Prometheus::start(&jobs).await;
    prometheus.until("count(up == 1)", 3.0).await;
    let rows = ROWS as f64;
    for (query, value) in [
        ("nexus_streamer_rows_total", rows),
        ("nexus_collector_rows_total", rows),
        ("nexus_collector_dead_rows_total", 1.0),
        ("nexus_audit_rows{state=\"read\"}", rows + 1.0),
        ("nexus_audit_rows{state=\"stored\"}", rows),
        ("nexus_audit_rows{state=\"dead\"}", 1.0),
        ("nexus_audit_residue_rows", 0.0),
        ("nexus_collector_samples_total", rows),
        ("nexus_collector_expired_rows_total", 0.0),
        ("nexus_collector_held_batches", 0.0),
        ("nexus_queue_rows{job=\"collector\"}", 0.0),
        ("nexus_queue_rows{job=\"gateway\"}", 0.0),
        ("sum(nexus_queue_oldest_age_seconds)", 0.0),
        ("nexus_message_ttl_seconds", 3_600.0),
        ("nexus_streamer_queue_rows", 0.0),
        ("nexus_streamer_messages_total", rows),
        ("nexus_streamer_held{reason=\"queue\"}", 0.0),
        ("nexus_collectors", 1.0),
        ("nexus_collector_session_up", 1.0),
        ("nexus_collector_upkeep_leader", 1.0),
        ("nexus_collector_breaker_open", 0.0),
        ("nexus_gateway_feed_up", 1.0),
        ("nexus_gateway_live_clients{protocol=\"events\"}", 1.0),
        ("nexus_gateway_refused_total{reason=\"invalid_parameter\"}", 1.0),
        ("nexus_gateway_memory_gpus", 16.0),
        ("sum(nexus_ready)", 3.0),
        // etcd of each, PostgreSQL of two.
        ("sum(nexus_dependency_up)", 5.0),
        // The queue of the streamer; queue, claims and members of the collector; queue and feed of the gateway.
        ("sum(nexus_etcd_watch_up)", 6.0),
        ("count(process_resident_memory_bytes > 1e6)", 3.0),
        ("count(process_cpu_seconds_total > 0)", 3.0),
        ("count(process_start_time_seconds > time() - 3600)", 3.0),
        ("sum(nexus_log_events_total{level=\"error\"})", 0.0),
        // Every batch was published, claimed, stored, acknowledged: each is in its histogram once.
        ("nexus_streamer_publish_duration_seconds_count - nexus_streamer_batches_total", 0.0),
        ("nexus_collector_claim_duration_seconds_count - nexus_collector_claims_total", 0.0),
        ("nexus_collector_row_age_seconds_count - nexus_collector_batches_total", 0.0),
        ("nexus_collector_ack_duration_seconds_count - nexus_collector_batches_total", 0.0),
        ("nexus_collector_batch_rows_sum", rows + 1.0),
        ("nexus_collector_flight_rows_sum", rows + 1.0),
        // A connection for each pipeline, one for those who look at GPUs and roll up, one to spare.
        ("nexus_postgres_pool_max_connections{job=\"collector\"}", 6.0),
    ] {
        prometheus.until(query, value).await;
    }
    let told = prometheus.query("nexus_build_info").await;
    let components: BTreeSet<_> = told.iter().map(|(labels, _)| labels["component"].as_str().unwrap()).collect();
    assert_eq!(components, BTreeSet::from(["collector", "gateway", "streamer"]));
    assert!(told.iter().all(|(labels, _)| labels["cluster"] == "local-cluster"), "{told:?}");
    let routes = prometheus.query("nexus_gateway_request_duration_seconds_count{protocol=\"rest\"}").await;
    let is_asked = |(labels, _): &(Value, f64)| labels["route"] == "/api/v1/telemetry" && labels["status"] == "4xx";
    assert!(routes.iter().any(is_asked), "{routes:?}");
    // The age of what came live is seconds, not decades.
    eventually("the feed's age is told", Duration::from_secs(60), async || {
        prometheus.value("nexus_gateway_feed_age_seconds_bucket{le=\"900.0\"} > 0").await.is_some()
    })
    .await;
    assert_eq!(prometheus.query("{__name__=~\".*[0-9]{6}.*\"}").await, []);
    drop(live);

    for role in stack.addresses.keys() {
        let scrape = stack.scrape(role).await;
        assert_eq!(complaints(&scrape).await, "", "promtool on the {role}");
    }
    stack.stop().await;
}
