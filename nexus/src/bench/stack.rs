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
    log: PathBuf,
}

/// What a process and its children have used since they began.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spent {
    /// The most memory the largest of them has had in RAM.
    pub(super) peak_mib: f64,
    pub(super) cpu_seconds: f64,
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
        // Otherwise a server that is to be removed gets little memory: here it has what the local stack's has.
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
        self.ended("streamer").await.map(drop)
    }

    /// Waits for the newest process of a role to end well; what it said, and what it had used shortly before its end.
    pub(super) async fn ended(&mut self, role: &'static str) -> anyhow::Result<(String, Spent)> {
        let place = self.components.iter().rposition(|component| component.role == role);
        let mut component = self.components.remove(place.with_context(|| format!("no {role} runs"))?);
        let (mut last, mut looks) = (Spent::default(), tokio::time::interval(Duration::from_millis(50)));
        let status = loop {
            tokio::select! {
                status = component.child.wait() => break status?,
                _ = looks.tick() => last = component.child.id().and_then(spent).unwrap_or(last),
            }
        };
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

    /// What the newest process of a role has used.
    pub(super) fn usage(&self, role: &str) -> Option<Usage> {
        let component = self.components.iter().rev().find(|component| component.role == role)?;
        usage(component.child.id()?)
    }

    /// What all processes of a role have used together; `etcd` and `postgres` are roles too.
    pub(super) fn spent(&self, role: &str) -> Spent {
        let of_role = self.components.iter().filter(|component| component.role == role);
        let pids: Vec<u32> = match role {
            "etcd" => vec![self.etcd.pid()],
            "postgres" => vec![self.postgres.pid()],
            _ => of_role.filter_map(|component| component.child.id()).collect(),
        };
        pids.into_iter().filter_map(spent).fold(Spent::default(), |all, one| Spent {
            peak_mib: all.peak_mib.max(one.peak_mib),
            cpu_seconds: all.cpu_seconds + one.cpu_seconds,
        })
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

/// Of a process, the children it has waited for, and those that run.
fn spent(pid: u32) -> Option<Spent> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = peak.trim().trim_end_matches(" kB").parse().ok()?;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let ticks = stat.rsplit_once(") ")?.1.split(' ').skip(11).take(4).filter_map(|field| field.parse::<f64>().ok());
    let own = Spent { peak_mib: (kib / 102.4).round() / 10.0, cpu_seconds: ticks.sum::<f64>() / 100.0 };
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|child| spent(child.parse().ok()?));
    Some(children.fold(own, |all, child| Spent {
        peak_mib: all.peak_mib.max(child.peak_mib),
        cpu_seconds: all.cpu_seconds + child.cpu_seconds,
    }))
}
