//! One component as a child process: started, started again, stopped.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use nexus_common::retry::Retry;
use nexus_common::servers::Guard;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use super::screen::Screen;

/// How long a component may take to drain: longer than its own DRAIN_TIMEOUT.
const GRACE: Duration = Duration::from_secs(30);

/// Having run so long, the next crash is a first one.
const STEADY: Duration = Duration::from_secs(60);

/// What to run, and where it logs.
#[derive(Debug)]
pub(super) struct Component {
    pub(super) name: String,
    pub(super) log: PathBuf,
    role: &'static str,
    environment: Vec<(&'static str, String)>,
}

/// Why a component is not started again.
#[derive(Debug)]
pub(super) enum Ended {
    /// A streamer that has read everything.
    Finished,
    /// It was asked to.
    Stopped,
    /// It cannot work as it is configured, and says why.
    Misconfigured(String),
}

impl Component {
    /// The `index`-th of `count` components of a role.
    pub(super) fn new(
        role: &'static str,
        index: u16,
        count: u16,
        environment: &[(&'static str, String)],
        logs: &Path,
    ) -> Component {
        let name = if count > 1 { format!("{role}-{}", index + 1) } else { role.to_owned() };
        let mut environment = environment.to_vec();
        if role == "streamer" && count > 1 {
            environment.push(("STRIPE", format!("{index}/{count}")));
        }
        Component { log: logs.join(format!("{name}.log")), name, role, environment }
    }

    /// Runs it until `stop`, starting it again whenever it crashes.
    pub(super) async fn keep(&self, guard: &Mutex<Guard>, screen: &Screen, stop: &CancellationToken) -> Ended {
        if let Err(error) = fs::rename(&self.log, self.log.with_extension("log.1"))
            && error.kind() != std::io::ErrorKind::NotFound
        {
            screen.say(&format!("{}: {error}", self.log.display()));
        }
        let mut retry = Retry::new(Duration::from_secs(1), Duration::from_secs(30));
        loop {
            let started = Instant::now();
            let what = match self.once(guard, stop).await {
                Ok(None) => return Ended::Stopped,
                Ok(Some(status)) if status.success() && self.role == "streamer" => {
                    screen.say(&format!("{} has published everything; the rest keeps serving", self.name));
                    return Ended::Finished;
                }
                Ok(Some(status)) if status.code() == Some(2) => {
                    return Ended::Misconfigured(format!("{}: {}", self.name, self.last_words()));
                }
                Ok(Some(status)) => format!("ended ({status}): {}", self.last_words()),
                Err(error) => format!("did not start: {error:#}"),
            };
            if started.elapsed() > STEADY {
                retry.reset();
            }
            let wait = retry.next_wait();
            screen.say(&format!("{} {what}; starting it again in {:.1} s", self.name, wait.as_secs_f64()));
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stop.cancelled() => return Ended::Stopped,
            }
        }
    }

    /// Runs it once. `None`: it was stopped.
    async fn once(&self, guard: &Mutex<Guard>, stop: &CancellationToken) -> anyhow::Result<Option<ExitStatus>> {
        if stop.is_cancelled() {
            return Ok(None);
        }
        let program = std::env::current_exe().context("finding our own program")?;
        let log = File::options().create(true).append(true).open(&self.log);
        let log = log.with_context(|| format!("opening {}", self.log.display()))?;
        let mut command = Command::new(&program);
        command.arg(self.role).envs(self.environment.iter().map(|(name, value)| (name, value)));
        // A group of its own: a terminal's Ctrl-C reaches us only, and we stop the parts in order.
        command.stdout(log.try_clone()?).stderr(log).process_group(0);
        if self.role != "streamer" {
            command.stdin(Stdio::null());
        }
        let mut child = command.spawn().with_context(|| format!("starting {}", program.display()))?;
        let pid = child.id().unwrap_or_default();
        let mark = format!("{} {}", program.display(), self.role);
        lock(guard).watch(pid, "TERM", &mark)?;
        let status = tokio::select! {
            status = child.wait() => status.map(Some),
            () = stop.cancelled() => drain(&mut child, pid).await.map(|_| None),
        };
        lock(guard).forget(pid);
        Ok(status?)
    }

    /// The last line it wrote that a person can read.
    fn last_words(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text[text.len().saturating_sub(8192)..]).into_owned();
        let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty());
        let line = line.map(|line| line.trim_start_matches("nexus: ").chars().take(500).collect());
        line.unwrap_or_else(|| format!("see {}", self.log.display()))
    }
}

/// The guard's pipe is written to, which is short; never held across an await.
fn lock(guard: &Mutex<Guard>) -> std::sync::MutexGuard<'_, Guard> {
    guard.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn drain(child: &mut Child, pid: u32) -> std::io::Result<ExitStatus> {
    // Not waited for yet, so the id is still this child's.
    if let Ok(pid) = i32::try_from(pid) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
    match tokio::time::timeout(GRACE, child.wait()).await {
        Ok(status) => status,
        Err(_) => {
            child.start_kill()?;
            child.wait().await
        }
    }
}
