//! Without a server, or without a collector, what is missing is said, and the others go on telling.

use nexus_common::testing::eventually;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::stack::Stack;
use crate::world::PATIENCE;

#[tokio::test]
async fn without_postgresql_a_collector_is_not_ready_and_its_breaker_is_open() {
    let mut stack = Stack::start(100).await;
    stack.until("collector", "nexus_collector_rows_total", 100.0).await;
    let ready = (200, r#"{"status":"ready"}"#.to_owned());
    eventually("it is ready", PATIENCE, async || stack.get("collector", "/ready").await == ready).await;
    // It archives nothing, and says no more of it than that.
    let archived = async || {
        let scrape = stack.scrape("collector").await;
        scrape.lines().filter(|line| line.starts_with("nexus_postgres_archive_")).map(str::to_owned).collect::<Vec<_>>()
    };
    let off = "nexus_postgres_archive_enabled{cluster=\"local-cluster\"} 0";
    eventually("it is asked", PATIENCE, async || archived().await == [off]).await;
    stack.world.postgres.stop().await.unwrap();
    stack.append(100, 200);
    eventually("it is not ready", PATIENCE, async || stack.get("collector", "/ready").await.0 == 503).await;
    for (series, value) in [
        ("nexus_ready", 0.0),
        ("nexus_dependency_up{dependency=\"postgresql\"}", 0.0),
        ("nexus_dependency_up{dependency=\"etcd\"}", 1.0),
        ("nexus_collector_breaker_open", 1.0),
        ("nexus_collector_breaker_trips_total", 1.0),
        ("nexus_collector_session_up", 1.0),
        ("nexus_queue_rows", 100.0),
        ("nexus_collector_rows_total", 100.0),
    ] {
        stack.until("collector", series, value).await;
    }
    assert!(stack.value("collector", "nexus_collector_store_failures_total").await.unwrap() >= 1.0);
    eventually("what was known of its log is told no more", PATIENCE, async || {
        !stack.scrape("collector").await.contains("\nnexus_postgres_archive_")
    })
    .await;
    assert!(stack.value("collector", "nexus_queue_oldest_age_seconds").await.unwrap() > 0.0);
    let (status, health) = stack.get("collector", "/health").await;
    let health: Value = serde_json::from_str(&health).unwrap();
    assert_eq!((status, &health["dependencies"]["postgresql"]["status"]), (503, &"down".into()), "{health}");
    assert_eq!(stack.get("collector", "/live").await.0, 200);
    eventually("a streamer needs no PostgreSQL", PATIENCE, async || stack.get("streamer", "/ready").await.0 == 200)
        .await;

    stack.world.postgres.restart().await.unwrap();
    stack.until("collector", "nexus_collector_rows_total", 200.0).await;
    stack.until("collector", "nexus_collector_breaker_open", 0.0).await;
    eventually("it is ready again", PATIENCE, async || stack.get("collector", "/ready").await.0 == 200).await;
    stack.stop().await;
}

#[tokio::test]
async fn without_etcd_a_streamer_is_not_ready_and_goes_on_telling() {
    let mut stack = Stack::start(100).await;
    stack.until("streamer", "nexus_streamer_rows_total", 100.0).await;
    stack.until("streamer", "nexus_etcd_watch_up{watch=\"batch\"}", 1.0).await;
    stack.world.etcd.stop().await.unwrap();
    stack.append(100, 200);
    eventually("it is not ready", PATIENCE, async || stack.get("streamer", "/ready").await.0 == 503).await;
    stack.until("streamer", "nexus_etcd_watch_up{watch=\"batch\"}", 0.0).await;
    stack.until("streamer", "nexus_dependency_up{dependency=\"etcd\"}", 0.0).await;
    let retried = async || stack.value("streamer", "nexus_streamer_publish_retries_total").await > Some(0.0);
    eventually("publishing was tried again", PATIENCE, retried).await;
    assert!(stack.value("streamer", "nexus_etcd_request_failures_total{kind=\"unavailable\"}").await > Some(0.0));
    stack.world.etcd.restart().await.unwrap();
    stack.until("streamer", "nexus_streamer_rows_total", 200.0).await;
    stack.until("streamer", "nexus_etcd_watch_up{watch=\"batch\"}", 1.0).await;
    stack.until("collector", "nexus_collector_rows_total", 200.0).await;
    stack.stop().await;
}

/// Who stores tells how long the queue is: without him nobody would say that rows are about to expire.
#[tokio::test]
async fn without_a_collector_the_gateway_tells_what_waits() {
    let mut stack = Stack::start(100).await;
    stack.until("collector", "nexus_collector_rows_total", 100.0).await;
    stack.until("gateway", "nexus_queue_rows", 0.0).await;
    stack.collector.signal(Signal::SIGTERM);
    assert!(stack.collector.ended().await.success());
    stack.append(100, 200);
    stack.until("gateway", "nexus_gateway_collectors", 0.0).await;
    stack.until("gateway", "nexus_queue_rows", 100.0).await;
    let age = async || stack.value("gateway", "nexus_queue_oldest_age_seconds").await;
    let first = age().await;
    assert!(first > Some(0.0), "{first:?}");
    eventually("it grows older", PATIENCE, async || age().await > first).await;
    assert_eq!(stack.value("streamer", "nexus_message_ttl_seconds").await, Some(3_600.0));
    stack.streamer.stop().await;
    stack.gateway.stop().await;
}
