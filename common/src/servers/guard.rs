//! The guard: what ends processes whose owner is gone.
//!
//! A destructor does not run when a process is killed, and statics are never dropped. So each server has a guard, a
//! shell of a few lines that reads from a pipe whose other end only the owner holds. The system closes that end however
//! the owner ends; the guard then ends the process, waits for it, and removes the folder if it was a temporary one. The
//! ordinary drop goes the same way, so that there is one way to clean up, not two.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use super::{Error, OnDrop};

/// Arguments: folder to remove ("" for none). Lines on standard input: `watch PID SIGNAL MARK` and `forget PID`.
///
/// A pid is only believed while the mark stands in its command line: ids are used again. A zombie has no command
/// line, so it counts as gone. `ipcrm` takes the one page of shared memory that a killed PostgreSQL leaves behind.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
remove=$1
watched=
alive() {
    if [ -r /proc/self/cmdline ]; then tr '\0' ' ' 2>/dev/null <"/proc/$1/cmdline" | grep -qF -e "$2"
    else ps -p "$1" -o args= 2>/dev/null | grep -qF -e "$2"; fi
}
while read -r word pid signal mark; do
    case $word in
        watch) watched="$pid $signal $mark
$watched" ;;
        forget) watched=$(printf '%s\n' "$watched" | grep -v "^$pid ")
            [ -z "$watched" ] || watched="$watched
" ;;
    esac
done
printf '%s' "$watched" | while read -r pid signal mark; do
    alive "$pid" "$mark" || continue
    kill -CONT "$pid"; kill "-$signal" "$pid"
    tries=0
    while alive "$pid" "$mark"; do
        tries=$((tries + 1))
        [ $tries -lt 400 ] || kill -KILL "$pid"
        [ $tries -lt 500 ] || break
        sleep 0.05
    done
done
[ -n "$remove" ] || exit 0
for pidfile in "$remove"/*/postmaster.pid; do
    [ -f "$pidfile" ] && id=$(sed -n '7s/.* //p' "$pidfile") && [ -n "$id" ] && ipcrm -m "$id"
done
tries=0
while ! rm -rf -- "$remove" && [ $tries -lt 100 ]; do tries=$((tries + 1)); sleep 0.05; done
"#;

/// Ends what it watches when it is dropped, and when its owner dies.
#[derive(Debug)]
pub struct Guard {
    shell: Child,
    orders: Option<ChildStdin>,
}

impl Guard {
    /// The guard for a server in `folder`, where it is to have one.
    pub(super) fn of(on_drop: OnDrop, folder: &Path) -> Result<Option<Guard>, Error> {
        match on_drop {
            OnDrop::Stop => Guard::start(None).map(Some),
            OnDrop::Remove => Guard::start(Some(folder)).map(Some),
            OnDrop::Leave => Ok(None),
        }
    }

    /// A guard that watches nothing yet; `remove` is a folder that goes when it acts.
    ///
    /// # Errors
    /// Where no shell can be started.
    pub fn start(remove: Option<&Path>) -> Result<Guard, Error> {
        let mut shell = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "nexus-guard"])
            .arg(remove.unwrap_or(Path::new("")))
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(Error::io("starting a guard process"))?;
        let orders = shell.stdin.take();
        Ok(Guard { shell, orders })
    }

    /// From now on this process ends with the owner, by `signal` (`TERM`, `INT`, …) and after 20 s by KILL. `mark` is a
    /// part of its command line that no other process has. The last one watched is the first one ended.
    ///
    /// # Errors
    /// Where the guard is gone.
    pub fn watch(&mut self, pid: u32, signal: &str, mark: &str) -> Result<(), Error> {
        self.order(&format!("watch {pid} {signal} {mark}\n"))
    }

    /// This process has ended and was waited for.
    pub fn forget(&mut self, pid: u32) {
        // A guard that is gone has nothing to forget.
        let _ = self.order(&format!("forget {pid}\n"));
    }

    fn order(&mut self, line: &str) -> Result<(), Error> {
        let doing = "telling the guard process";
        let gone = || std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        self.orders
            .as_mut()
            .ok_or_else(gone)
            .and_then(|orders| orders.write_all(line.as_bytes()))
            .map_err(Error::io(doing))
    }
}

impl Drop for Guard {
    /// Waits until everything watched has ended: a fraction of a second for a server of a test. This blocks the thread,
    /// as a destructor must; who has time stops the server first.
    fn drop(&mut self) {
        self.orders = None;
        let _ = self.shell.wait();
    }
}
