//! What Prometheus is told of the feed and its clients.

use nexus_common::testing::eventually;

use crate::world::{Gateway, PATIENCE, World};

async fn tells(gateway: &Gateway, series: &str, value: i64) {
    let url = format!("http://{}/metrics", gateway.address);
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    let comma = if labels == "}" { "" } else { "," };
    let line = format!("{name}{{cluster=\"alpha\"{comma}{labels} {value}");
    eventually(line.clone(), PATIENCE, async || {
        let text = reqwest::get(&url).await.unwrap().text().await.unwrap();
        text.lines().any(|told| told == line)
    })
    .await;
}

#[tokio::test]
async fn clients_and_what_they_get_are_counted() {
    let world = World::new().await;
    let gateway = world.gateway().await;
    let mut clients = [gateway.all("").await, gateway.all("").await];
    tells(&gateway, "nexus_gateway_live_clients{protocol=\"websocket\"}", 2).await;
    tells(&gateway, "nexus_gateway_live_clients{protocol=\"events\"}", 0).await;
    let revision = world.power("h1", "0", 71.5).await;
    for client in &mut clients {
        assert_eq!(client.next().await["revision"], revision);
    }
    tells(&gateway, "nexus_gateway_live_frames_sent_total", 2).await;
    tells(&gateway, "nexus_gateway_live_skipped_frames_total", 0).await;
    tells(&gateway, "nexus_gateway_feed_revision", revision).await;
    tells(&gateway, "nexus_gateway_feed_up", 1).await;
    tells(&gateway, "nexus_gateway_ring_frames", 1).await;
    // No batch has this name, so nobody knows its age.
    tells(&gateway, "nexus_gateway_feed_age_seconds_count", 0).await;
    // A position that was never there.
    let mut late = gateway.connect("?mode=all&since=00000000000000ab.1").await;
    assert_eq!(late.next().await["type"], "gap");
    tells(&gateway, "nexus_gateway_live_gaps_total", 1).await;
    drop(clients);
    tells(&gateway, "nexus_gateway_live_clients{protocol=\"websocket\"}", 1).await;
    world.line.cut();
    tells(&gateway, "nexus_gateway_feed_up", 0).await;
    tells(&gateway, "nexus_etcd_watch_up{watch=\"feed\"}", 0).await;
}
