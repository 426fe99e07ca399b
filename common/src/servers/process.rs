//! One server process: spawned, signalled, waited for, guarded.

use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use super::account::Account;
use super::guard::Guard;
use super::{Error, READY_WITHIN};

/// How a server is started, every time.
#[derive(Debug)]
pub(crate) struct Plan {
    /// For messages.
    pub(crate) name: &'static str,
    /// The program.
    pub(crate) program: PathBuf,
    /// Who it runs as.
    pub(crate) account: Account,
    /// Its whole environment.
    pub(crate) environment: &'static [(&'static str, &'static str)],
    /// Its working folder.
    pub(crate) folder: PathBuf,
    /// Where its output is appended.
    pub(crate) log: PathBuf,
    /// The part of its command line that is its alone.
    pub(crate) mark: String,
    /// What ends it in good order.
    pub(crate) gently: Signal,
    /// What the guard ends it with.
    pub(crate) guarded: Signal,
}

/// A started server; ends when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    plan: Plan,
    child: Option<Child>,
    pid: u32,
    guard: Option<Guard>,
}

impl Process {
    pub(crate) fn new(plan: Plan, guard: Option<Guard>) -> Process {
        Process { plan, child: None, pid: 0, guard }
    }

    /// Starts it, for the first time or again after it ended.
    pub(crate) fn spawn(&mut self, arguments: &[String]) -> Result<(), Error> {
        let plan = &self.plan;
        let doing = || format!("starting {}", plan.program.display());
        let log = open_log(&plan.log)?;
        let mut command = Command::new(&plan.program);
        command.args(arguments).current_dir(&plan.folder).process_group(0);
        // What the user's shell says of other servers (ETCD_*, PG*) is not meant for this one.
        command.env_clear().envs(plan.environment.iter().copied());
        command.stdin(Stdio::null()).stdout(log.try_clone().map_err(Error::io(doing()))?).stderr(log);
        if let Some((uid, gid)) = plan.account.switch() {
            command.uid(uid).gid(gid);
        }
        let child = command.spawn().map_err(Error::io(doing()))?;
        self.pid = child.id().unwrap_or_default();
        self.child = Some(child);
        let Some(guard) = &mut self.guard else { return Ok(()) };
        guard.watch(self.pid, plan.guarded.as_str().trim_start_matches("SIG"), &plan.mark)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn log(&self) -> &Path {
        &self.plan.log
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.plan.folder
    }

    pub(crate) fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Waits for the process to end by itself.
    pub(crate) async fn wait(&mut self) -> Result<Option<ExitStatus>, Error> {
        let Some(child) = &mut self.child else { return Ok(None) };
        let status = child.wait().await.map_err(Error::io(format!("waiting for {}", self.plan.name)))?;
        self.child = None;
        if let Some(guard) = &mut self.guard {
            guard.forget(self.pid);
        }
        Ok(Some(status))
    }

    /// Waits until `answers` says true; an early end of the process and the deadline are errors with the log's end.
    pub(crate) async fn until(&mut self, answers: impl AsyncFn() -> bool) -> Result<(), Error> {
        let ready = async {
            while !answers().await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let what = tokio::select! {
            biased;
            ended = self.wait() => match ended? {
                Some(status) => format!("ended while starting ({status})"),
                None => "was not started".to_owned(),
            },
            () = ready => return Ok(()),
            () = tokio::time::sleep(READY_WITHIN) => format!("does not answer after {} s", READY_WITHIN.as_secs()),
        };
        let tail = tail(&self.plan.log);
        Err(Error::NotReady { name: self.plan.name, what, log: self.plan.log.clone(), tail })
    }

    /// Asks it to end, insists after `grace`, and waits for the end.
    pub(crate) async fn stop(&mut self, grace: Duration) -> Result<(), Error> {
        if self.child.is_none() {
            return Ok(());
        }
        self.signal(Signal::SIGCONT);
        self.signal(self.plan.gently);
        if tokio::time::timeout(grace, self.wait()).await.is_err() {
            tracing::warn!("{} did not stop within {} s: killing it", self.plan.name, grace.as_secs());
            return self.kill().await;
        }
        Ok(())
    }

    /// Ends it and its children as a crash would, and waits for the end.
    pub(crate) async fn kill(&mut self) -> Result<(), Error> {
        if self.child.is_none() {
            return Ok(());
        }
        let children = children(self.pid);
        self.signal(Signal::SIGKILL);
        for child in children {
            let _ = kill(child, Signal::SIGKILL);
        }
        self.wait().await.map(drop)
    }

    /// Has it read its configuration again.
    pub(crate) fn reload(&self) {
        self.signal(Signal::SIGHUP);
    }

    /// Freezes it and its children: connections stay, nothing answers.
    pub(crate) fn pause(&self) {
        self.signal(Signal::SIGSTOP);
        for child in children(self.pid) {
            let _ = kill(child, Signal::SIGSTOP);
        }
    }

    /// Undoes [`Process::pause`].
    pub(crate) fn resume(&self) {
        for child in children(self.pid) {
            let _ = kill(child, Signal::SIGCONT);
        }
        self.signal(Signal::SIGCONT);
    }

    /// Only to a process that is still ours to wait for: its id cannot mean another one.
    fn signal(&self, signal: Signal) {
        if let (Some(_), Ok(pid)) = (&self.child, i32::try_from(self.pid)) {
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }
}

/// The processes whose parent is `pid`.
fn children(pid: u32) -> Vec<Pid> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(child) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // pid (name) state parent …: the name may hold anything, parentheses too.
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse::<u32>().ok());
        if parent == Some(pid) {
            found.push(Pid::from_raw(child));
        }
    }
    found
}

fn open_log(log: &Path) -> Result<File, Error> {
    let mut options = fs::OpenOptions::new();
    options.create(true).append(true).mode(0o640);
    options.open(log).map_err(Error::io(format!("opening {}", log.display())))
}

/// The last lines of a log, in one line.
pub(crate) fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text[text.len().saturating_sub(4096)..]).into_owned();
    let lines: Vec<&str> = text.lines().rev().take(3).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
}
