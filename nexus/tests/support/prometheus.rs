//! Debian's Prometheus, on what a test tells it to scrape, and its promtool.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nexus_common::servers::free_port;
use nexus_common::testing::eventually;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Prometheus {
    address: String,
    folder: TempDir,
    _child: Child,
}

impl Prometheus {
    /// Scrapes these every other second: a job's name and its address each.
    pub(crate) async fn start(jobs: &[(&str, &str)]) -> Prometheus {
        Prometheus::with_rules(jobs, &[]).await
    }

    /// The same, and looks at these rules as often.
    pub(crate) async fn with_rules(jobs: &[(&str, &str)], rules: &[&Path]) -> Prometheus {
        let folder = tempfile::tempdir().unwrap();
        let mut config =
            "global: {scrape_interval: 2s, scrape_timeout: 2s, evaluation_interval: 2s}\nrule_files:\n".to_owned();
        for rule in rules {
            writeln!(config, "  - {}", rule.display()).unwrap();
        }
        config.push_str("scrape_configs:\n");
        for (job, address) in jobs {
            writeln!(config, "  - {{job_name: {job}, static_configs: [{{targets: ['{address}']}}]}}").unwrap();
        }
        let file = folder.path().join("prometheus.yml");
        std::fs::write(&file, config).unwrap();
        let address = format!("127.0.0.1:{}", free_port().unwrap());
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.path().join("log")).unwrap())
            .kill_on_drop(true)
            .spawn()
            .expect("prometheus is not there: make setup-dev installs it");
        let prometheus = Prometheus { address, folder, _child: child };
        let ready = format!("http://{}/-/ready", prometheus.address);
        eventually("prometheus is ready", PATIENCE, async || {
            reqwest::get(&ready).await.is_ok_and(|answer| answer.status().is_success())
        })
        .await;
        prometheus
    }

    /// What a query gives now: the labels of each series and its value.
    pub(crate) async fn query(&self, query: &str) -> Vec<(Value, f64)> {
        let asked = reqwest::Client::new().get(format!("http://{}/api/v1/query", self.address));
        let answer: Value = asked.query(&[("query", query)]).send().await.unwrap().json().await.unwrap();
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        let series = answer["data"]["result"].as_array().unwrap();
        let value = |one: &Value| one["value"][1].as_str().unwrap().parse().unwrap();
        series.iter().map(|one| (one["metric"].clone(), value(one))).collect()
    }

    /// The value of a query that gives one series.
    pub(crate) async fn value(&self, query: &str) -> Option<f64> {
        match self.query(query).await.as_slice() {
            [(_, value)] => Some(*value),
            _ => None,
        }
    }

    /// Waits until a query gives this value.
    pub(crate) async fn until(&self, query: &str, value: f64) {
        let what = format!("{query} is {value}");
        eventually(what, PATIENCE, async || self.value(query).await == Some(value)).await;
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }
}

/// What promtool complains of in a scrape; nothing where all is well.
pub(crate) async fn complaints(scrape: &str) -> String {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is not there: make setup-dev installs it");
    let mut input = promtool.stdin.take().unwrap();
    input.write_all(scrape.as_bytes()).await.unwrap();
    drop(input);
    let output = promtool.wait_with_output().await.unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert_eq!(output.status.success(), said.is_empty(), "{output:?}", output = String::from_utf8_lossy(&said));
    String::from_utf8(said).unwrap()
}
