//! A stack of its own: servers in a temporary folder, components as processes.

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use nexus_common::servers::{Etcd, EtcdOptions, OnDrop, Postgres, PostgresOptions};
use serde::Serialize;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};
use tokio_postgres::NoTls;

use super::figures::Spread;

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
}

/// What a process has used.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Usage {
    /// Memory in RAM now.
    pub(super) rss_mib: f64,
    /// Processor time since it started.
    pub(super) cpu_seconds: f64,
    /// Threads now.
    pub(super) threads: u32,
    /// Open files and connections now.
    pub(super) files: u32,
}

impl Stack {
    /// The servers, with fsync. PostgreSQL notes when each transaction was committed.
    pub(super) async fn start(dir: Option<&Path>) -> anyhow::Result<Stack> {
        let dir = dir.map_or_else(std::env::temp_dir, Path::to_owned);
        let folder = TempDir::with_prefix_in("nexus-bench-", &dir);
        let folder = folder.with_context(|| format!("making a folder for the servers in {}", dir.display()))?;
        let etcd = EtcdOptions { on_drop: OnDrop::Remove, ..EtcdOptions::new(folder.path().join("etcd")) };
        let noted = vec![("track_commit_timestamp".to_owned(), "on".to_owned())];
        let postgres = PostgresOptions {
            on_drop: OnDrop::Remove,
            settings: noted,
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
            ])
            .envs(variables.iter().map(|(name, value)| (*name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting the {role}"))?;
        self.components.push(Component { role, child });
        Ok(())
    }

    /// Starts a gateway and waits until it is ready.
    pub(super) async fn gateway(&mut self) -> anyhow::Result<SocketAddr> {
        // Free a moment ago; whoever takes it in between makes the start fail, loudly.
        let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let variables = [("PORT", address.port().to_string()), ("BIND_ADDRESS", "127.0.0.1".to_owned())];
        self.spawn("gateway", &variables)?;
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
        let Some(streamer) = self.components.last_mut() else { bail!("no streamer") };
        let status = streamer.child.wait().await?;
        self.components.pop();
        if status.success() { Ok(()) } else { bail!("the streamer ended with {status}") }
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

    /// What the newest process of a role has used.
    pub(super) fn usage(&self, role: &str) -> Option<Usage> {
        let component = self.components.iter().rev().find(|component| component.role == role)?;
        usage(component.child.id()?)
    }

    /// Where etcd is.
    pub(super) fn etcd_endpoint(&self) -> String {
        self.etcd.endpoint()
    }

    /// Whether `nexus audit` says that the books balance.
    pub(super) async fn balances(&self) -> anyhow::Result<bool> {
        let audit = Command::new(std::env::current_exe()?)
            .arg("audit")
            .env_clear()
            .env("ETCD_ENDPOINTS", self.etcd.endpoint())
            .envs([("DB_HOST", "127.0.0.1".to_owned()), ("DB_PORT", self.postgres.port().to_string())])
            .stdout(Stdio::null())
            .status()
            .await?;
        Ok(audit.success())
    }

    /// Asks PostgreSQL.
    pub(super) async fn ask(&self, sql: &str) -> anyhow::Result<Vec<tokio_postgres::Row>> {
        let (client, connection) = self.postgres.owner_config().connect(NoTls).await?;
        tokio::select! {
            rows = client.query(sql, &[]) => Ok(rows?),
            ended = connection => bail!("the connection ended: {ended:?}"),
        }
    }
}

/// From `/proc`; nothing where there is none. Pages are 4 KiB and ticks a hundredth of a second on every Linux that
/// etcd and PostgreSQL are packaged for.
fn usage(pid: u32) -> Option<Usage> {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: f64 = statm.split(' ').nth(1)?.parse().ok()?;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    let mut ticks = || fields.next().and_then(|field| field.parse::<f64>().ok());
    let (user, system) = (ticks()?, ticks()?);
    let entries = |folder: &str| {
        let entries = std::fs::read_dir(format!("/proc/{pid}/{folder}")).ok()?;
        u32::try_from(entries.count()).ok()
    };
    Some(Usage {
        rss_mib: (pages * 4.0 / 102.4).round() / 10.0,
        cpu_seconds: (user + system) / 100.0,
        threads: entries("task")?,
        files: entries("fd")?,
    })
}
