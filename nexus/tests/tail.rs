//! `nexus tail` as a process, against gateways and an etcd of its own.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use clap::{Args, Command as Program, FromArgMatches};
use nexus_common::etcd::{Client, Txn, TxnOp};
use nexus_common::queue::{Feed, FeedSample, Keys};
use nexus_common::testing::{Proxy, TestEtcd, etcd, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(60);

struct World {
    _etcd: TestEtcd,
    client: Client,
    endpoints: Vec<String>,
    gateways: JoinSet<anyhow::Result<()>>,
    /// What the command is told instead of a gateway.
    line: Proxy,
}

impl World {
    async fn new() -> World {
        let etcd = etcd().await;
        let endpoints = etcd.endpoints();
        let client = Client::connect(&endpoints).await.unwrap();
        let line = Proxy::to("127.0.0.1:1").await;
        let mut world = World { _etcd: etcd, client, endpoints, gateways: JoinSet::new(), line };
        let gateway = world.gateway().await;
        world.line.lead_to(gateway);
        world
    }

    /// A gateway that works, though no PostgreSQL is there; its address.
    async fn gateway(&mut self) -> String {
        let program = nexus_gateway::Config::augment_args(Program::new("gateway"));
        let arguments = ["gateway", "--db-port", "1", "--etcd-endpoints", &self.endpoints.join(",")];
        let config = nexus_gateway::Config::from_arg_matches(&program.get_matches_from(arguments)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        self.gateways.spawn(nexus_gateway::run(config, listener, CancellationToken::new()));
        // What is told from here on it has.
        let health = format!("http://{address}/health");
        eventually("the gateway's watch stands", PATIENCE, async || {
            let Ok(answer) = reqwest::get(&health).await else { return false };
            answer.json::<Value>().await.is_ok_and(|health| health["live_feed"] == "up")
        })
        .await;
        address
    }

    async fn tell(&self, host: &str, watts: f64) -> i64 {
        let sample = FeedSample {
            host_id: host.to_owned(),
            gpu_id: "0".to_owned(),
            uuid: None,
            timestamp_us: 1_767_600_000_000_000,
            data: [("power_watts".to_owned(), watts), ("xid".to_owned(), 0.0)].into(),
        };
        let value = Feed::encode("b", vec![sample], 0);
        let put = TxnOp::put(Keys::new("/telemetry/queue", "c1").feed(), value, None);
        self.client.txn(Txn::new().and_then([put])).await.unwrap().revision
    }

    /// The command, once it shows what comes: told to until it does.
    async fn tail(&self, arguments: &[&str]) -> Tail {
        let mut child = tail(&["--gateway", &format!("http://{}", self.line.endpoint())])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while timeout(Duration::from_millis(200), lines.next_line()).await.is_err() {
            assert!(tokio::time::Instant::now() < deadline, "it shows nothing");
            self.tell("first", 1.0).await;
        }
        let mut tail = Tail { child, lines };
        let revision = self.tell("last", 2.0).await;
        let sign = if arguments.contains(&"--json") { format!("\"revision\":{revision},") } else { "last".to_owned() };
        while !tail.next().await.contains(&sign) {}
        tail
    }
}

struct Tail {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Tail {
    async fn next(&mut self) -> String {
        timeout(PATIENCE, self.lines.next_line()).await.expect("nothing comes").unwrap().unwrap()
    }

    /// Ctrl-C; its status, and what it said on standard error.
    async fn interrupted(mut self) -> (ExitStatus, String) {
        let pid = self.child.id().unwrap();
        kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGINT).unwrap();
        let mut said = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        timeout(PATIENCE, stderr.read_to_string(&mut said)).await.unwrap().unwrap();
        (timeout(PATIENCE, self.child.wait()).await.unwrap().unwrap(), said)
    }
}

fn tail(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nexus"));
    command.arg("tail").args(arguments).env_remove("NEXUS_GATEWAY").stderr(Stdio::piped()).kill_on_drop(true);
    command
}

#[tokio::test]
async fn each_sample_is_a_line() {
    let world = World::new().await;
    let mut tail = world.tail(&["--metric", "power_draw"]).await;
    world.tell("h1", 71.5).await;
    assert_eq!(tail.next().await, "2026-01-05T08:00:00Z  c1  h1/0  power_watts 71.5 W");
    let (status, said) = tail.interrupted().await;
    assert_eq!((status.code(), said.as_str()), (Some(0), ""));
}

#[tokio::test]
async fn it_comes_back_at_another_gateway_and_misses_nothing() {
    let mut world = World::new().await;
    let other = world.gateway().await;
    let mut tail = world.tail(&["--all", "--json"]).await;
    let mut told = Vec::new();
    for round in 0..4 {
        for watts in 0..20 {
            if watts == 10 && round == 1 {
                world.line.cut();
                world.line.lead_to(&*other);
            }
            if watts == 15 {
                world.line.heal();
            }
            told.push(world.tell("h", f64::from(watts)).await);
        }
    }
    for revision in told {
        let line = tail.next().await;
        assert!(line.contains(&format!("\"revision\":{revision},")), "{revision}: {line}");
    }
    let (status, said) = tail.interrupted().await;
    assert_eq!(status.code(), Some(0));
    assert!(said.contains("trying again") && said.contains("connected to") && !said.contains("gap"), "{said}");
}

#[tokio::test]
async fn it_ends_when_nobody_reads_it() {
    let world = World::new().await;
    let Tail { mut child, lines } = world.tail(&[]).await;
    drop(lines);
    world.tell("h", 1.0).await;
    let status = timeout(PATIENCE, child.wait()).await.unwrap().unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).await.unwrap();
    assert_eq!((status.code(), said.as_str()), (Some(0), ""));
}

#[tokio::test]
async fn a_gap_is_said_beside_the_data() {
    let world = World::new().await;
    let tail = world.tail(&["--all", "--since", "0123456789abcdef.7"]).await;
    let (status, said) = tail.interrupted().await;
    assert_eq!(status.code(), Some(0));
    assert!(
        said.starts_with("nexus: gap: what came after 0123456789abcdef.7") && said.contains("another store"),
        "{said}"
    );
}

#[tokio::test]
async fn what_cannot_work_is_one_line_and_status_two() {
    let world = World::new().await;
    let gateway = format!("http://{}", world.line.endpoint());
    let etcd = format!("http://{}", world.endpoints[0]);
    for (arguments, words) in [
        (&["--gateway", "gw:8080"][..], "--gateway"),
        (
            &["--gateway", "https://gw", "--gateway-ca-file", "/no/ca.pem"],
            "NEXUS_GATEWAY_CA_FILE=/no/ca.pem: No such file",
        ),
        (&["--gateway", &gateway, "--since", "yesterday"], "since is no position"),
        (&["--gateway", &etcd], "no gateway answers there"),
    ] {
        let output = timeout(PATIENCE, tail(arguments).output()).await.unwrap().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
}
