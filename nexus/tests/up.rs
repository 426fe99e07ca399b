//! `nexus up`: one command starts everything, keeps it up, and leaves nothing running, however it ends.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use nexus_common::servers::free_port;
use nexus_common::testing::{self, eventually};
use tokio_postgres::NoTls;

/// Starting two servers that sync to disk, on a busy machine.
const START: Duration = Duration::from_secs(90);

/// Draining everything.
const STOP: Duration = Duration::from_secs(60);

/// A stack of this test's own.
struct Stack {
    folder: tempfile::TempDir,
    ports: [u16; 3],
    up: Option<Child>,
}

impl Stack {
    fn new() -> Self {
        let ports = [(); 3].map(|()| free_port().unwrap());
        Stack { folder: testing::folder(), ports, up: None }
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join("nexus")
    }

    fn command(&self) -> Command {
        let [etcd, postgres, gateway] = self.ports.map(|port| port.to_string());
        let mut command = Command::new(env!("CARGO_BIN_EXE_nexus"));
        command.arg("up").current_dir(self.folder.path()).env("NEXUS_DIR", self.dir());
        command.envs([("ETCD_PORT", etcd), ("DB_PORT", postgres), ("PORT", gateway)]);
        command.envs([("STREAM_INTERVAL", "100ms"), ("LOOP_MODE", "true"), ("METRICS_ADDR", "127.0.0.1:0")]);
        for given in ["ETCD_ENDPOINTS", "DB_HOST", "CSV_FILE", "COLLECTORS", "STREAMERS"] {
            command.env_remove(given);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    async fn start(&mut self, change: impl FnOnce(&mut Command) -> &mut Command) {
        let mut command = self.command();
        command.stdout(fs::File::create(self.folder.path().join("out")).unwrap()).stderr(Stdio::null());
        change(&mut command);
        self.up = Some(command.spawn().unwrap());
    }

    /// What it said so far, with what the components logged.
    fn said(&self) -> String {
        let logs = fs::read_dir(self.dir().join("log")).into_iter().flatten().flatten().map(|entry| entry.path());
        let files = [self.folder.path().join("out")].into_iter().chain(logs);
        files
            .map(|file| format!("\n== {}\n{}", file.display(), fs::read_to_string(&file).unwrap_or_default()))
            .collect()
    }

    fn signal(&self, signal: &str) {
        let pid = self.up.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Rows that batches brought into the database.
    async fn stored(&self) -> Option<i64> {
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(self.ports[1]).user("telemetry").password("password").dbname("telemetry");
        let (client, connection) = config.connect(NoTls).await.ok()?;
        let asked = client.query_one("SELECT COALESCE(sum(stored), 0)::bigint FROM ledger", &[]);
        tokio::select! { row = asked => row.ok()?.try_get(0).ok(), _ = connection => None }
    }

    async fn more_is_stored(&self, than: i64) {
        eventually(format!("more than {than} rows are stored"), START, async || {
            self.stored().await.is_some_and(|stored| stored > than)
        })
        .await;
    }

    /// The processes of this stack: by command line, environment or working folder.
    fn processes(&self) -> Vec<(u32, String)> {
        let dir = self.dir().display().to_string();
        let of = |pid: u32| {
            let read = |file: &str| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            let line = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
            let environment = String::from_utf8_lossy(&read("environ")).into_owned();
            let place = fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
            let ours = line.contains(&dir) || environment.contains(&dir) || place.starts_with(&dir);
            (ours && !line.is_empty() && pid != std::process::id()).then_some((pid, line))
        };
        let entries = fs::read_dir("/proc").unwrap().flatten();
        entries.filter_map(|entry| of(entry.file_name().to_str()?.parse().ok()?)).collect()
    }

    fn pid_of(&self, part: &str) -> Option<u32> {
        self.processes().into_iter().find(|(_, line)| line.contains(part)).map(|(pid, _)| pid)
    }

    async fn all_gone(&self) {
        eventually("every process of the stack is gone", STOP, async || self.processes().is_empty()).await;
    }

    async fn exit_status(&mut self) -> Option<i32> {
        let mut up = self.up.take().unwrap();
        eventually("nexus up has ended", STOP, async || up.try_wait().unwrap().is_some()).await;
        up.wait().unwrap().code()
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.said());
        }
        if let Some(up) = &mut self.up {
            let _ = up.kill();
            let _ = up.wait();
        }
    }
}

fn one_line(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1), "{said}");
    said
}

#[tokio::test]
async fn everything_starts_flows_stops_and_is_found_again() {
    let mut stack = Stack::new();
    // Streamers divide a file by the mebibyte.
    let file = stack.folder.path().join("rows.csv");
    let generate = ["generate", "--hosts", "8", "--seconds", "120", "--out"];
    assert!(
        Command::new(env!("CARGO_BIN_EXE_nexus"))
            .args(generate)
            .arg(&file)
            .stderr(Stdio::null())
            .status()
            .unwrap()
            .success()
    );
    let two = ["--collectors", "2", "--streamers", "2"];
    stack.start(|command| command.args(two).env("CSV_FILE", &file)).await;
    stack.more_is_stored(0).await;
    for part in ["nexus gateway", "nexus collector", "nexus streamer"] {
        assert!(stack.pid_of(part).is_some(), "{part}: {}", stack.said());
    }
    let logs: Vec<PathBuf> =
        fs::read_dir(stack.dir().join("log")).unwrap().flatten().map(|entry| entry.path()).collect();
    assert_eq!(logs.len(), 5, "{logs:?}");
    stack.signal("-TERM");
    assert_eq!(stack.exit_status().await, Some(0), "{}", stack.said());
    assert_eq!(stack.processes(), []);

    // A second start finds the data of the first.
    stack.start(|command| command.args(["--streamers", "0"])).await;
    stack.more_is_stored(0).await;
    stack.signal("-INT");
    assert_eq!(stack.exit_status().await, Some(0), "{}", stack.said());
    assert_eq!(stack.processes(), []);
}

#[tokio::test]
async fn what_crashes_is_started_again() {
    let mut stack = Stack::new();
    stack.start(|command| command).await;
    stack.more_is_stored(0).await;
    for part in ["nexus collector", "nexus streamer", "nexus gateway", "etcd --data-dir", "bin/postgres -D"] {
        let before = stack.pid_of(part).unwrap_or_else(|| panic!("{part} does not run{}", stack.said()));
        assert!(Command::new("kill").args(["-KILL", &before.to_string()]).status().unwrap().success());
        eventually(format!("{part} runs again"), START, async || stack.pid_of(part).is_some_and(|pid| pid != before))
            .await;
    }
    let stored = stack.stored().await.unwrap_or_default();
    stack.more_is_stored(stored).await;
    stack.signal("-TERM");
    assert_eq!(stack.exit_status().await, Some(0), "{}", stack.said());
    assert_eq!(stack.processes(), []);
}

#[tokio::test]
async fn a_killed_nexus_up_takes_everything_with_it() {
    let mut stack = Stack::new();
    stack.start(|command| command).await;
    stack.more_is_stored(0).await;
    stack.signal("-KILL");
    stack.exit_status().await;
    stack.all_gone().await;
}

#[tokio::test]
async fn a_streamer_that_is_done_leaves_the_rest_serving() {
    let mut stack = Stack::new();
    stack.start(|command| command.env("LOOP_MODE", "false").env("STREAM_INTERVAL", "0s")).await;
    eventually("the sample is stored", START, async || stack.stored().await == Some(1_860)).await;
    eventually("the streamer's end is said", START, async || stack.said().contains("has published everything")).await;
    assert!(stack.pid_of("nexus gateway").is_some() && stack.pid_of("nexus streamer").is_none());
    stack.signal("-TERM");
    assert_eq!(stack.exit_status().await, Some(0), "{}", stack.said());
}

#[tokio::test]
async fn a_wrong_value_of_a_component_is_said_and_ends_everything() {
    let stack = Stack::new();
    let output = stack.command().env("BATCH_SIZE", "many").output().unwrap();
    assert!(one_line(&output).contains("--batch-size"), "{output:?}");
    assert!(!stack.dir().exists(), "something was started");
    // What only the component itself can find out.
    let output = stack.command().env("CSV_FILE", "/nowhere.csv").output().unwrap();
    assert!(one_line(&output).contains("/nowhere.csv"), "{output:?}");
    assert_eq!(stack.processes(), []);
}

#[tokio::test]
async fn a_taken_port_is_one_line_that_names_the_variable() {
    let stack = Stack::new();
    for (port, variable) in stack.ports.into_iter().zip(["ETCD_PORT", "DB_PORT", "PORT"]) {
        let _taken = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
        let output = stack.command().output().unwrap();
        let said = one_line(&output);
        assert!(said.contains(&format!(" {variable}=")) && said.contains(&port.to_string()), "{said}");
        // Debian starts one when it is installed: the way out stands in the line.
        assert_eq!(said.contains("systemctl disable --now etcd"), variable == "ETCD_PORT", "{said}");
        assert!(!stack.dir().join("etcd").exists() && !stack.dir().join("postgres").exists());
    }
}

#[tokio::test]
async fn servers_that_are_given_are_used_and_left_alone() {
    let (etcd, postgres) = (testing::etcd().await, testing::postgres().await);
    let mut stack = Stack::new();
    let endpoint = etcd.endpoint();
    stack.start(|command| command.env("ETCD_ENDPOINTS", endpoint).envs(postgres.environment())).await;
    stack.ports[1] = postgres.port();
    stack.more_is_stored(0).await;
    stack.signal("-TERM");
    assert_eq!(stack.exit_status().await, Some(0), "{}", stack.said());
    assert!(!Path::new(&stack.dir().join("etcd/data")).exists() && !stack.dir().join("postgres").exists());
    assert!(stack.stored().await.is_some(), "the given server was stopped");
}
