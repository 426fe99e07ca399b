//! A component as a process of its own.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nexus_common::testing::eventually;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    pub(crate) fn start(arguments: &[&str], environment: &[(&str, String)], log: PathBuf, input: Stdio) -> Process {
        let file = std::fs::File::create(&log).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_nexus"))
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(environment.iter().map(|(name, value)| (*name, value.as_str())))
            .stdin(input)
            .stdout(Stdio::null())
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Process { child, log }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = self.child.id().expect("it runs");
        kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
    }

    /// `kill -9`, and gone.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Waits until it has killed itself at a failpoint.
    pub(crate) async fn dies_at(mut self, place: &str) {
        let status = self.ended().await;
        assert_eq!(status.signal(), Some(Signal::SIGKILL as i32), "{place} was not reached: {status}: {}", self.log());
    }

    /// Waits until it has frozen itself at a failpoint.
    pub(crate) async fn freezes(&self) {
        let stat = format!("/proc/{}/stat", self.child.id().expect("it runs"));
        eventually(format!("{stat} says that it is frozen"), Duration::from_secs(60), async || {
            let stat = std::fs::read_to_string(&stat).unwrap();
            // pid (name) state …
            stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
        })
        .await;
    }

    /// Waits until it has frozen itself at a failpoint, and lets it go on from there.
    pub(crate) async fn go_on(&self) {
        self.freezes().await;
        self.signal(Signal::SIGCONT);
    }

    /// SIGTERM; the component drains and ends well.
    pub(crate) async fn stop(mut self) {
        // Before it has said a word it may not listen to signals yet.
        eventually("it has started", Duration::from_secs(60), async || !self.log().is_empty()).await;
        self.signal(Signal::SIGTERM);
        let status = self.ended().await;
        assert!(status.success(), "{status}: {}", self.log());
    }

    /// Waits for it to end by itself.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        match tokio::time::timeout(Duration::from_secs(90), self.child.wait()).await {
            Ok(status) => status.unwrap(),
            Err(_) => panic!("it does not end: {}", self.log()),
        }
    }

    /// How it ended, where it has.
    pub(crate) fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    pub(crate) async fn succeeds(&mut self) {
        let status = self.ended().await;
        assert!(status.success(), "{status}: {}", self.log());
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }
}
