//! How long everything takes to start: each process from its start until it does its work, and `nexus up` from nothing until
//! the first row is stored.

use std::fmt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use nexus_common::servers::{OnDrop, Postgres, PostgresOptions, free_port};
use serde::Serialize;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::Instant;
use tokio_postgres::NoTls;

use super::figures::Several;
use super::say;
use super::stack::{Stack, keys, within};

/// How often is looked whether something is there.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How long `nexus up` may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// What was measured.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    mode: &'static str,
    starts: Vec<(&'static str, Several)>,
}

/// Starts everything so many times.
///
/// # Errors
/// Where something does not start.
pub(super) async fn measure(dir: Option<&Path>, times: u32) -> anyhow::Result<Figures> {
    let mut starts: Vec<(&'static str, Vec<f64>)> = Vec::new();
    for time in 1..=times {
        say(&format!("start {time} of {times}"));
        let one = components(dir).await?.into_iter().chain([up(dir).await?]);
        for (what, took) in one {
            match starts.iter_mut().find(|(known, _)| *known == what) {
                Some((_, all)) => all.push(took),
                None => starts.push((what, vec![took])),
            }
        }
    }
    let starts = starts.into_iter().filter_map(|(what, all)| Some((what, Several::of(all)?))).collect();
    Ok(Figures { mode: "start", starts })
}

/// Each component by itself, in milliseconds.
async fn components(dir: Option<&Path>) -> anyhow::Result<Vec<(&'static str, f64)>> {
    let mut stack = Stack::start(dir).await?;
    let mut starts = Vec::new();
    let mut note = |what, since: Instant| starts.push((what, since.elapsed().as_secs_f64() * 1e3));

    let begin = Instant::now();
    stack.collectors(1).await?;
    note("collector, with the schema to make, until it is a member", begin);
    stack.stop("collector").await?;
    let begin = Instant::now();
    stack.collectors(1).await?;
    note("collector until it is a member", begin);
    let begin = Instant::now();
    stack.gateway().await?;
    note("gateway until /ready", begin);

    let csv = stack.file("row.csv");
    std::fs::write(&csv, "timestamp,hostname,gpu_id,power_draw\n2026-01-05T08:00:00Z,host-1,0,100\n")?;
    let client = stack.client().await?;
    let (cursors, begin) = (keys().lanes(), Instant::now());
    stack.spawn("streamer", &[("CSV_FILE", csv.display().to_string()), ("LOOP_MODE", "false".to_owned())])?;
    within("the streamer's lane", LOOK_EVERY, PATIENCE, async || Ok(client.count(&cursors).await? > 0)).await?;
    note("streamer until its lane is open", begin);
    stack.ended("streamer").await?;

    let begin = Instant::now();
    let (etcd, postgres) = stack.servers();
    etcd.kill().await?;
    etcd.restart().await?;
    note("etcd until it answers, on what it had", begin);
    let begin = Instant::now();
    postgres.kill().await?;
    postgres.restart().await?;
    note("PostgreSQL until it answers, after a crash", begin);
    drop(stack);

    let folder = TempDir::with_prefix_in("nexus-bench-", dir.map_or_else(std::env::temp_dir, Path::to_owned))?;
    let begin = Instant::now();
    let options = PostgresOptions { on_drop: OnDrop::Remove, ..PostgresOptions::new(folder.path().join("postgres")) };
    let fresh = Postgres::start(&options).await?;
    note("PostgreSQL from nothing", begin);
    drop(fresh);
    Ok(starts)
}

/// `nexus up` in an empty folder until the first row is stored, in milliseconds.
async fn up(dir: Option<&Path>) -> anyhow::Result<(&'static str, f64)> {
    let folder = TempDir::with_prefix_in("nexus-bench-", dir.map_or_else(std::env::temp_dir, Path::to_owned))?;
    let [etcd, postgres, gateway] = [free_port()?, free_port()?, free_port()?];
    let begin = Instant::now();
    let mut up = Command::new(std::env::current_exe()?)
        .arg("up")
        .current_dir(folder.path())
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .env("NEXUS_DIR", folder.path().join("nexus"))
        .envs(
            [("ETCD_PORT", etcd), ("DB_PORT", postgres), ("PORT", gateway)]
                .map(|(name, port)| (name, port.to_string())),
        )
        .env("METRICS_ADDR", "127.0.0.1:0")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    within("nexus up's first row", LOOK_EVERY, PATIENCE, async || {
        if let Some(status) = up.try_wait()? {
            bail!("nexus up ended: {status}");
        }
        Ok(stored(postgres).await.unwrap_or(0) > 0)
    })
    .await?;
    let took = begin.elapsed().as_secs_f64() * 1e3;
    end(&mut up).await?;
    Ok(("nexus up, from an empty folder to the first stored row", took))
}

/// Rows in the ledger of a PostgreSQL that may not be there yet.
async fn stored(port: u16) -> anyhow::Result<i64> {
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(port).user("telemetry").password("password").dbname("telemetry");
    let (client, connection) = config.connect(NoTls).await?;
    tokio::select! {
        row = client.query_one(include_str!("ledger.sql"), &[]) => Ok(row?.get(0)),
        ended = connection => bail!("the connection ended: {ended:?}"),
    }
}

/// In good order, so that its servers end too.
async fn end(up: &mut Child) -> anyhow::Result<()> {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(up.id().context("it has ended")?)?);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM)?;
    tokio::time::timeout(PATIENCE, up.wait()).await.context("nexus up does not end")??;
    Ok(())
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<60} {:>10} {:>10} {:>10}", "", "median ms", "min ms", "max ms")?;
        for (what, Several { median, min, max, .. }) in &self.starts {
            write!(f, "\n{what:<60} {median:>10.0} {min:>10.0} {max:>10.0}")?;
        }
        Ok(())
    }
}
