//! Servers that an earlier run left behind in our folder.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Error;

/// Stops the process whose id is the first line of `pid_file`, if it still is a server on the folder `mark` names, and
/// waits for its end. Anything else that has the id by now is left alone.
pub(crate) async fn stop(pid_file: &Path, mark: &str, gently: Signal) -> Result<(), Error> {
    let Some(pid) = read_pid(pid_file).filter(|pid| is_running(*pid, mark)) else { return Ok(()) };
    tracing::info!(pid, "stopping the server that runs on {mark}");
    for (signal, tries) in [(Signal::SIGCONT, 0), (gently, 200), (Signal::SIGKILL, 100)] {
        // It may have ended between the look and the signal.
        let _ = kill(Pid::from_raw(pid), signal);
        for _ in 0..tries {
            if !is_running(pid, mark) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Err(Error::Setup(format!("process {pid}, left by an earlier run on {mark}, does not end")))
}

/// Whether a server on the folder `mark` names runs under the id in `pid_file`.
pub(crate) fn is_left(pid_file: &Path, mark: &str) -> bool {
    read_pid(pid_file).is_some_and(|pid| is_running(pid, mark))
}

fn read_pid(pid_file: &Path) -> Option<i32> {
    fs::read_to_string(pid_file).ok()?.lines().next()?.trim().parse().ok().filter(|pid| *pid > 1)
}

/// Whether the process lives and its command line holds `mark`. A zombie has no command line.
fn is_running(pid: i32, mark: &str) -> bool {
    let line = match fs::read(format!("/proc/{pid}/cmdline")) {
        Ok(line) => line,
        Err(_) if Path::new("/proc/self/cmdline").exists() => return false,
        Err(_) => match Command::new("ps").args(["-p", &pid.to_string(), "-o", "args="]).output() {
            Ok(output) => output.stdout,
            Err(_) => return false,
        },
    };
    String::from_utf8_lossy(&line).replace('\0', " ").contains(mark)
}
