//! What clients of the live feed cost that do not read it. By itself, because a process has one memory.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, dead_code)]

#[path = "../live/client.rs"]
mod client;
#[path = "../support/config.rs"]
mod config;
#[path = "../live/world.rs"]
mod world;

use crate::world::{World, sample};

/// One frame of about 100 KiB.
fn large(watts: f64) -> Vec<nexus_common::queue::FeedSample> {
    (0..1_000).map(|n| sample(&format!("host-{n:04}"), "0", &[("power_watts", watts)])).collect()
}

fn resident_bytes() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4_096
}

#[tokio::test]
async fn a_client_that_never_reads_costs_nothing_and_delays_nobody() {
    let world = World::new().await;
    let gateway = world.gateway_with(|config| config.bounds.ring_bytes = 4 << 20).await;
    // In both modes; what the system buffers for them is soon full.
    let stuck = ["?mode=all", "", "?gpu_id=0"];
    let mut clients = Vec::new();
    for query in stuck {
        clients.push(gateway.connect(query).await);
    }
    let mut client = gateway.all("").await;
    let mut before = 0;
    for n in 0..600 {
        if n == 100 {
            before = resident_bytes();
        }
        let revision = world.tell("alpha", large(f64::from(n))).await;
        assert_eq!(client.revision().await, revision);
    }
    // 50 MB of text were told meanwhile.
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 25 << 20, "{grown} bytes more");
}
