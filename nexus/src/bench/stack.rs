//! A stack of its own: servers in a temporary folder, components as processes.

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use nexus_common::etcd::Client;
use nexus_common::queue::Keys;
use nexus_common::servers::{Etcd, EtcdOptions, OnDrop, Postgres, PostgresOptions};
use nexus_gateway::config::Bounds;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};
use tokio_postgres::NoTls;

use super::figures::Spread;
use super::process::{self, Spent, Usage};

/// How long a component may take until it serves.
const PATIENCE: Duration = Duration::from_secs(60);

/// Servers and components; all of it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Stack {
    // Components first: fields are dropped in this order.
    components: Vec<Component>,
    etcd: Etcd,
    postgres: Postgres,
    folder: TempDir,
}

/// One component.
#[derive(Debug)]
struct Component {
    role: &'static str,
    child: Child,
    log: PathBuf,
}

impl Stack {
    /// The servers, with fsync. PostgreSQL notes when each transaction was committed.
    pub(super) async fn start(dir: Option<&Path>) -> anyhow::Result<Stack> {
        Stack::start_to(dir, false).await
    }

    /// The same, to be profiled where that is wanted. Only then: an etcd with its profiler at hand notes every fifth wait for a lock,
    /// and with a million rows queued published half as many a second.
    pub(super) async fn start_to(dir: Option<&Path>, profile: bool) -> anyhow::Result<Stack> {
        let dir = dir.map_or_else(std::env::temp_dir, Path::to_owned);
        let folder = TempDir::with_prefix_in("nexus-bench-", &dir);
        let folder = folder.with_context(|| format!("making a folder for the servers in {}", dir.display()))?;
        // Otherwise a server that is to be removed is impatient and gets little memory: here it has what the local stack's has.
        let patient = ["--heartbeat-interval=100", "--election-timeout=1000"];
        let flags = patient.into_iter().chain(profile.then_some("--enable-pprof"));
        let etcd = EtcdOptions {
            on_drop: OnDrop::Remove,
            flags: flags.map(str::to_owned).collect(),
            ..EtcdOptions::new(folder.path().join("etcd"))
        };
        let noted = [("track_commit_timestamp", "on"), ("shared_buffers", "256MB")];
        let postgres = PostgresOptions {
            on_drop: OnDrop::Remove,
            settings: noted.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
            ..PostgresOptions::new(folder.path().join("postgres"))
        };
        let (etcd, postgres) = tokio::try_join!(Etcd::start(&etcd), Postgres::start(&postgres))?;
        Ok(Stack { components: Vec::new(), etcd, postgres, folder })
    }

    /// A file in the stack's own folder.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// How long this disk takes to make 4 KiB durable, with nothing else going on: what etcd and PostgreSQL wait for, each
    /// once for every batch that is told.
    pub(super) fn disk(&self) -> anyhow::Result<Spread> {
        let mut file = File::create(self.file("probe"))?;
        let mut micros = Vec::new();
        for _ in 0..500 {
            file.write_all(&[0; 4096])?;
            let began = Instant::now();
            file.sync_data()?;
            micros.push(i64::try_from(began.elapsed().as_micros())?);
        }
        Spread::of(micros).context("nothing was measured")
    }

    /// Starts a component with these variables on top of the usual ones.
    pub(super) fn spawn(&mut self, role: &'static str, variables: &[(&str, String)]) -> anyhow::Result<()> {
        let log = self.file(&format!("{role}-{}.log", self.components.len()));
        let file = File::create(&log).with_context(|| format!("writing {}", log.display()))?;
        let child = Command::new(std::env::current_exe()?)
            .arg(role)
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .envs([
                ("ETCD_ENDPOINTS", self.etcd.endpoint()),
                ("ETCD_UPKEEP", "true".to_owned()),
                ("MAX_TXN_OPS", "1024".to_owned()),
                ("DB_HOST", "127.0.0.1".to_owned()),
                ("DB_PORT", self.postgres.port().to_string()),
                ("LOG_LEVEL", "warn".to_owned()),
                // Several of a kind run at once.
                ("METRICS_ADDR", "127.0.0.1:0".to_owned()),
            ])
            .envs(variables.iter().map(|(name, value)| (*name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting the {role}"))?;
        self.components.push(Component { role, child, log });
        Ok(())
    }

    /// Starts a gateway and waits until it is ready.
    pub(super) async fn gateway(&mut self) -> anyhow::Result<SocketAddr> {
        self.gateway_with(&[]).await
    }

    /// The same, configured otherwise.
    pub(super) async fn gateway_with(&mut self, variables: &[(&str, String)]) -> anyhow::Result<SocketAddr> {
        // Free a moment ago; whoever takes it in between makes the start fail, loudly.
        let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let usual = [
            ("PORT", address.port().to_string()),
            ("BIND_ADDRESS", "127.0.0.1".to_owned()),
            ("MAX_HEAVY_QUERIES", Bounds::heavy_queries_beside_postgres().to_string()),
        ];
        self.spawn("gateway", &[&usual, variables].concat())?;
        let started = Instant::now();
        let ready = format!("http://{address}/ready");
        while !reqwest::get(&ready).await.is_ok_and(|answer| answer.status().is_success()) {
            self.look()?;
            if started.elapsed() > PATIENCE {
                bail!("the gateway is not ready after {PATIENCE:?}");
            }
            sleep(Duration::from_millis(50)).await;
        }
        Ok(address)
    }

    /// Streams a file once, to its end.
    pub(super) async fn stream(&mut self, variables: &[(&str, String)]) -> anyhow::Result<()> {
        self.spawn("streamer", &[&[("LOOP_MODE", "false".to_owned())], variables].concat())?;
        self.ended("streamer").await.map(drop)
    }

    /// Waits for the newest process of a role to end well; what it said and used. No other process may be waited for meanwhile.
    pub(super) async fn ended(&mut self, role: &'static str) -> anyhow::Result<(String, Spent)> {
        let place = self.components.iter().rposition(|component| component.role == role);
        let mut component = self.components.remove(place.with_context(|| format!("no {role} runs"))?);
        let (mut last, mut looks) = (Spent::default(), tokio::time::interval(Duration::from_millis(50)));
        let ended_before = process::of_ended_children();
        let status = loop {
            tokio::select! {
                status = component.child.wait() => break status?,
                _ = looks.tick() => last = component.child.id().and_then(process::spent).unwrap_or(last),
            }
        };
        // Its memory is the last that was seen, its time the whole: the kernel keeps that for us.
        last.cpu_seconds = process::of_ended_children() - ended_before;
        let said = std::fs::read_to_string(&component.log)?;
        if status.success() { Ok((said, last)) } else { bail!("the {role} ended with {status}: {said}") }
    }

    /// An error where a component has ended.
    pub(super) fn look(&mut self) -> anyhow::Result<()> {
        for component in &mut self.components {
            if let Some(status) = component.child.try_wait()? {
                bail!("the {} ended: {status}", component.role);
            }
        }
        Ok(())
    }

    /// Ends the oldest process of a role as a crash would; its id, as members and claims name it, is up to the caller.
    pub(super) async fn kill(&mut self, role: &str) -> anyhow::Result<()> {
        let place = self.components.iter().position(|component| component.role == role);
        let mut component = self.components.remove(place.with_context(|| format!("no {role} runs"))?);
        Ok(component.child.kill().await?)
    }

    /// Stops all processes of a role in good order.
    pub(super) async fn stop(&mut self, role: &'static str) -> anyhow::Result<()> {
        for component in self.components.iter().filter(|component| component.role == role) {
            if let Some(pid) = component.child.id() {
                kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGTERM)?;
            }
        }
        while self.components.iter().any(|component| component.role == role) {
            self.ended(role).await?;
        }
        Ok(())
    }

    /// What the newest process of a role has used.
    pub(super) fn usage(&self, role: &str) -> Option<Usage> {
        let component = self.components.iter().rev().find(|component| component.role == role)?;
        process::usage(component.child.id()?)
    }

    /// The processes of a role; `etcd` and `postgres` are roles too.
    pub(super) fn pids(&self, role: &str) -> Vec<u32> {
        let of_role = self.components.iter().filter(|component| component.role == role);
        match role {
            "etcd" => vec![self.etcd.pid()],
            "postgres" => vec![self.postgres.pid()],
            _ => of_role.filter_map(|component| component.child.id()).collect(),
        }
    }

    /// What all processes of a role have used together.
    pub(super) fn spent(&self, role: &str) -> Spent {
        Spent::of(&self.pids(role))
    }

    /// How to reach PostgreSQL.
    pub(super) fn postgres_config(&self) -> tokio_postgres::Config {
        self.postgres.owner_config()
    }

    /// Where etcd is.
    pub(super) fn etcd_endpoint(&self) -> String {
        self.etcd.endpoint()
    }

    /// A connection to etcd.
    pub(super) async fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::connect(&[self.etcd_endpoint()]).await?)
    }

    /// The servers themselves, to be ended and started again.
    pub(super) fn servers(&mut self) -> (&mut Etcd, &mut Postgres) {
        (&mut self.etcd, &mut self.postgres)
    }

    /// Starts so many collectors and waits until all of them are members.
    pub(super) async fn collectors(&mut self, count: u32) -> anyhow::Result<()> {
        self.collectors_with(count, &[]).await
    }

    /// The same with these variables.
    pub(super) async fn collectors_with(&mut self, count: u32, variables: &[(&str, String)]) -> anyhow::Result<()> {
        for _ in 0..count {
            self.spawn("collector", variables)?;
        }
        let running = self.components.iter().filter(|component| component.role == "collector").count();
        let (client, members, started) = (self.client().await?, keys().members("collector"), Instant::now());
        while client.count(&members).await? < i64::try_from(running)? {
            self.look()?;
            if started.elapsed() > PATIENCE {
                bail!("not every collector is a member after {PATIENCE:?}");
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// What `nexus audit` says; an error where the books do not balance.
    pub(super) async fn audit(&self) -> anyhow::Result<Value> {
        let audit = Command::new(std::env::current_exe()?)
            .args(["audit", "--json"])
            .env_clear()
            .env("ETCD_ENDPOINTS", self.etcd.endpoint())
            .envs([("DB_HOST", "127.0.0.1".to_owned()), ("DB_PORT", self.postgres.port().to_string())])
            .output()
            .await?;
        let said = String::from_utf8_lossy(&audit.stdout);
        if !audit.status.success() {
            bail!("the books do not balance: {said}{}", String::from_utf8_lossy(&audit.stderr));
        }
        Ok(serde_json::from_str(&said)?)
    }

    /// Which etcd and which PostgreSQL these are.
    pub(super) async fn versions(&self) -> anyhow::Result<(String, String)> {
        let told: Value = reqwest::get(format!("http://{}/version", self.etcd_endpoint())).await?.json().await?;
        let postgres = self.ask(include_str!("versions.sql")).await?;
        let etcd = told["etcdserver"].as_str().context("etcd tells no version")?.to_owned();
        Ok((etcd, postgres.first().context("no answer")?.get(0)))
    }

    /// Asks PostgreSQL.
    pub(super) async fn ask(&self, sql: &str) -> anyhow::Result<Vec<tokio_postgres::Row>> {
        let (client, connection) = self.postgres.owner_config().connect(NoTls).await?;
        tokio::select! {
            rows = client.query(sql, &[]) => Ok(rows?),
            ended = connection => bail!("the connection ended: {ended:?}"),
        }
    }

    /// Tells PostgreSQL: several statements are one transaction.
    pub(super) async fn tell(&self, sql: &str) -> anyhow::Result<()> {
        let (client, connection) = self.postgres.owner_config().connect(NoTls).await?;
        tokio::select! {
            done = client.batch_execute(sql) => Ok(done?),
            ended = connection => bail!("the connection ended: {ended:?}"),
        }
    }
}

/// The keys that all components of the stack use.
pub(super) fn keys() -> Keys {
    Keys::new("/telemetry/queue", "local-cluster")
}

/// Looks every so often until something holds.
///
/// # Errors
/// Where it does not within `patience`, or a look fails.
pub(super) async fn within(
    what: &str,
    every: Duration,
    patience: Duration,
    mut holds: impl AsyncFnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let started = Instant::now();
    while !holds().await? {
        if started.elapsed() > patience {
            bail!("{what} did not come within {patience:?}");
        }
        sleep(every).await;
    }
    Ok(())
}
