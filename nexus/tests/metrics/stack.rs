//! One of each component on servers of a test's own.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use nexus_common::servers::free_port;
use nexus_common::testing::eventually;

use crate::process::Process;
use crate::rows::{file, lines};
use crate::world::{PATIENCE, World, until_ready};

pub(crate) struct Stack {
    pub(crate) world: World,
    pub(crate) file: PathBuf,
    pub(crate) streamer: Process,
    pub(crate) collector: Process,
    pub(crate) gateway: Process,
    /// Where each tells of itself, by role.
    pub(crate) addresses: BTreeMap<&'static str, String>,
}

impl Stack {
    /// With a streamer that follows a file of so many rows.
    pub(crate) async fn start(rows: u64) -> Stack {
        Stack::with(rows, &[]).await
    }

    /// The same, with these variables for all of them.
    pub(crate) async fn with(rows: u64, environment: &[(&str, &str)]) -> Stack {
        Stack::on(World::new().await, rows, environment).await
    }

    /// The same, on these servers.
    pub(crate) async fn on(world: World, rows: u64, environment: &[(&str, &str)]) -> Stack {
        let path = world.file("rows.csv", file(rows));
        let port = free_port().unwrap().to_string();
        let with = |own: &[(&'static str, &str)]| -> Vec<(String, String)> {
            let all = own.iter().copied().chain(environment.iter().copied());
            all.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
        };
        let start = |role: &str, own: &[(&'static str, &str)]| {
            let environment = with(own);
            let environment: Vec<_> = environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            world.start(role, &environment)
        };
        let gateway = [("PORT", port.as_str()), ("BIND_ADDRESS", "127.0.0.1"), ("AUDIT_INTERVAL", "100ms")];
        let gateway = start("gateway", &gateway);
        let collector = start("collector", &[]);
        until_ready(&port).await;
        // What is told before somebody listens is heard by nobody.
        eventually("the gateway follows the feed", PATIENCE, async || {
            let health = reqwest::get(format!("http://127.0.0.1:{port}/health")).await.unwrap();
            health.json::<serde_json::Value>().await.unwrap()["live_feed"] == "up"
        })
        .await;
        let streamer = start("streamer", &[("CSV_FILE", path.to_str().unwrap()), ("FOLLOW", "true")]);
        let addresses = BTreeMap::from([
            ("streamer", address_of(&streamer).await),
            ("collector", address_of(&collector).await),
            ("gateway", format!("127.0.0.1:{port}")),
        ]);
        Stack { world, file: path, streamer, collector, gateway, addresses }
    }

    /// Appends rows `from..to`, and waits for nothing.
    pub(crate) fn append(&self, from: u64, to: u64) {
        let mut file = std::fs::File::options().append(true).open(&self.file).unwrap();
        file.write_all(lines(from, to).as_bytes()).unwrap();
    }

    /// Status and body of what a component answers.
    pub(crate) async fn get(&self, role: &str, path: &str) -> (u16, String) {
        let answer = reqwest::get(format!("http://{}{path}", self.addresses[role])).await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// What a component tells Prometheus.
    pub(crate) async fn scrape(&self, role: &str) -> String {
        let (status, text) = self.get(role, "/metrics").await;
        assert_eq!(status, 200, "{role}: {text}");
        text
    }

    /// The value of one series of a component, by name and labels besides the cluster.
    pub(crate) async fn value(&self, role: &str, series: &str) -> Option<f64> {
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let comma = if labels == "}" { "" } else { "," };
        let line = format!("{name}{{cluster=\"local-cluster\"{comma}{labels} ");
        self.scrape(role).await.lines().find_map(|told| told.strip_prefix(&line)?.parse().ok())
    }

    pub(crate) async fn until(&self, role: &str, series: &str, value: f64) {
        let what = format!("{series} of the {role} is {value}");
        eventually(what, PATIENCE, async || self.value(role, series).await == Some(value)).await;
    }

    pub(crate) async fn stop(self) {
        self.streamer.stop().await;
        self.collector.stop().await;
        self.gateway.stop().await;
    }
}

/// Where a component serves metrics that may choose its port: as its log says.
pub(crate) async fn address_of(process: &Process) -> String {
    let told = || {
        let log = process.log();
        let line = log.lines().find(|line| line.contains("metrics are served"))?;
        let from = line.find("127.0.0.1:")?;
        let end = line[from..].find(|c: char| c != '.' && c != ':' && !c.is_ascii_digit());
        Some(line[from..].split_at(end.unwrap_or(line.len() - from)).0.to_owned())
    };
    eventually("it says where metrics are served", Duration::from_secs(60), async || told().is_some()).await;
    told().unwrap()
}
