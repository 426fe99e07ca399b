//! What lies between the processes and their servers: cut, slow, half open.

use std::time::Duration;

use nexus_common::testing::{Proxy, eventually};

use crate::process::Process;
use crate::rows::{expected, file};
use crate::world::{PATIENCE, World};

const ROWS: u64 = 6_000;

/// A pipeline whose every connection goes through a proxy.
struct Wired {
    world: World,
    etcd: Proxy,
    postgres: Proxy,
    collector: Process,
    streamer: Process,
}

impl Wired {
    async fn new() -> Wired {
        Wired::with("").await
    }

    async fn with(failpoints: &str) -> Wired {
        let world = World::new().await;
        let path = world.file("a.csv", file(ROWS));
        let etcd = Proxy::to(world.etcd.endpoint()).await;
        let postgres = Proxy::to(format!("127.0.0.1:{}", world.postgres.port())).await;
        let (endpoint, port) = (etcd.endpoint(), postgres.port().to_string());
        let lines = [("ETCD_ENDPOINTS", endpoint.as_str()), ("DB_PORT", port.as_str())];
        let collector = world.faulty("collector", failpoints, &lines);
        // Several transactions a batch: the next is sent before the one before is answered.
        let slowly = [
            ("CSV_FILE", path.to_str().unwrap()),
            ("BATCH_SIZE", "50"),
            ("MAX_TXN_OPS", "24"),
            ("STREAM_INTERVAL", "5ms"),
            lines[0],
        ];
        let streamer = world.start("streamer", &slowly);
        let wired = Wired { world, etcd, postgres, collector, streamer };
        wired.flows().await;
        wired
    }

    /// Waits until more rows are stored, or all.
    async fn flows(&self) {
        let before = self.world.accounted().await;
        eventually("rows flow", PATIENCE, async || {
            let now = self.world.accounted().await;
            now > before || now == ROWS as i64
        })
        .await;
    }

    async fn ends_well(mut self) {
        self.streamer.succeeds().await;
        self.world.holds_exactly(&expected(0, ROWS)).await;
        self.collector.stop().await;
    }
}

#[tokio::test]
async fn lines_are_cut_again_and_again() {
    let wired = Wired::new().await;
    for _ in 0..3 {
        for line in [&wired.etcd, &wired.postgres] {
            line.cut();
            line.heal();
            wired.flows().await;
        }
    }
    wired.etcd.cut();
    wired.postgres.cut();
    wired.etcd.heal();
    wired.postgres.heal();
    wired.ends_well().await;
}

#[tokio::test]
async fn lines_are_slow() {
    let wired = Wired::new().await;
    wired.etcd.delay(Duration::from_millis(30));
    wired.postgres.delay(Duration::from_millis(30));
    wired.flows().await;
    wired.flows().await;
    wired.etcd.heal();
    wired.postgres.heal();
    wired.ends_well().await;
}

#[tokio::test]
async fn the_line_to_etcd_is_half_open() {
    let wired = Wired::new().await;
    wired.etcd.swallow();
    eventually("requests are swallowed", PATIENCE, async || wired.etcd.swallowed() > 1).await;
    wired.etcd.heal();
    wired.ends_well().await;
}

#[tokio::test]
async fn the_line_to_postgres_is_half_open() {
    // How long it waits for an answer is two minutes; here, five seconds.
    let wired = Wired::with("store.deadline=return(5000)").await;
    wired.postgres.swallow();
    eventually("requests are swallowed", PATIENCE, async || wired.postgres.swallowed() > 1).await;
    wired.postgres.heal();
    // Each try that finds it dead doubles the wait for the next.
    let all = async || wired.world.accounted().await == ROWS as i64;
    eventually("all rows are stored", Duration::from_secs(240), all).await;
    wired.ends_well().await;
}
