//! An etcd with feeds in it, and gateways that tell of them.

use std::net::SocketAddr;
use std::time::Duration;

use nexus_common::db;
use nexus_common::etcd::{Client, Txn, TxnOp};
use nexus_common::queue::{Feed, FeedSample, Keys};
use nexus_common::testing::{Proxy, TestEtcd, etcd, eventually};
use nexus_gateway::Config;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::client::Client as Listener;
use crate::config::config;

/// How long what has to come may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct World {
    pub(crate) etcd: TestEtcd,
    pub(crate) client: Client,
    /// What lies between the gateways and etcd.
    pub(crate) line: Proxy,
}

/// A gateway without a PostgreSQL: the feed needs none.
pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    pub(crate) running: JoinSet<anyhow::Result<()>>,
    pub(crate) stop: CancellationToken,
}

impl World {
    pub(crate) async fn new() -> World {
        let etcd = etcd().await;
        let client = Client::connect(&etcd.endpoints()).await.unwrap();
        let line = Proxy::to(etcd.endpoint()).await;
        World { etcd, client, line }
    }

    pub(crate) async fn gateway(&self) -> Gateway {
        self.gateway_with(|_| ()).await
    }

    /// A gateway that waits long for a client that takes nothing, and keeps frames as long: a slow machine is no dead peer.
    pub(crate) async fn gateway_with(&self, change: impl FnOnce(&mut Config)) -> Gateway {
        // Nobody listens there, and nothing heals it.
        let nowhere = db::Config { host: "127.0.0.1".to_owned(), port: 1, ..db::Config::default() };
        let mut config = config(vec![self.line.endpoint()], nowhere);
        config.bounds.ping_interval = Duration::from_secs(600);
        config.bounds.ring_time = Duration::from_secs(600);
        change(&mut config);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let mut running = JoinSet::new();
        running.spawn(nexus_gateway::run(config, listener, stop.clone()));
        Gateway { address, running, stop }
    }

    /// What an acknowledgement puts: these samples. Returns the revision.
    pub(crate) async fn tell(&self, cluster: &str, samples: Vec<FeedSample>) -> i64 {
        self.put(cluster, Feed::encode("batch", samples, 0)).await
    }

    /// One sample of `alpha`: power in watts.
    pub(crate) async fn power(&self, host: &str, gpu: &str, watts: f64) -> i64 {
        self.tell("alpha", vec![sample(host, gpu, &[("power_watts", watts)])]).await
    }

    pub(crate) async fn put(&self, cluster: &str, value: impl Into<Vec<u8>>) -> i64 {
        put(&self.client, cluster, value.into()).await
    }
}

pub(crate) async fn put(client: &Client, cluster: &str, value: Vec<u8>) -> i64 {
    let put = TxnOp::put(Keys::new("/telemetry/queue", cluster).feed(), value, None);
    client.txn(Txn::new().and_then([put])).await.unwrap().revision
}

impl Gateway {
    /// A client that gets every frame from now on; its first message, a position, is taken.
    pub(crate) async fn all(&self, query: &str) -> Listener {
        let mut client = self.connect(&format!("?mode=all&{query}")).await;
        assert_eq!(client.next().await["type"], "position");
        client
    }

    pub(crate) async fn connect(&self, query: &str) -> Listener {
        Listener::connect(self.address, query).await.unwrap_or_else(|problem| panic!("{problem}"))
    }

    /// Waits until the gateway's watch stands, or is broken: `up` or `down`.
    pub(crate) async fn until_fed(&self, state: &str) {
        let health = format!("http://{}/health", self.address);
        eventually(format!("the watch is {state}"), PATIENCE, async || {
            let Ok(answer) = reqwest::get(&health).await else { return false };
            answer.json::<serde_json::Value>().await.is_ok_and(|health| health["live_feed"] == state)
        })
        .await;
    }

    /// A status and the body of a plain request.
    pub(crate) async fn get(&self, path: &str) -> (u16, serde_json::Value) {
        let answer = reqwest::get(format!("http://{}{path}", self.address)).await.unwrap();
        assert_eq!(answer.headers()["content-type"], "application/problem+json", "{path}");
        (answer.status().as_u16(), answer.json().await.unwrap())
    }
}

pub(crate) fn sample(host: &str, gpu: &str, data: &[(&str, f64)]) -> FeedSample {
    FeedSample {
        host_id: host.to_owned(),
        gpu_id: gpu.to_owned(),
        uuid: Some(format!("GPU-{host}-{gpu}")),
        timestamp_us: 1_767_600_000_000_000,
        data: data.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
    }
}
