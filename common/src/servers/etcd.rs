//! An etcd of one member, or one member of a larger one.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::Signal;
use sha2::{Digest, Sha256};

use super::account::Account;
use super::binaries::find;
use super::guard::Guard;
use super::process::{Plan, Process};
use super::{Error, OnDrop, Papers, detached, leftover, port, tls};
use crate::config::EtcdAccess;
use crate::etcd::Client;

/// What kind of etcd to start.
#[derive(Debug, Clone)]
pub struct EtcdOptions {
    /// Everything it writes goes here; made when missing, used again when there.
    pub folder: PathBuf,
    /// Port for clients; 0 takes a free one.
    pub client_port: u16,
    /// Size of the database file at which it raises NOSPACE.
    pub quota_backend_bytes: u64,
    /// Operations one transaction may hold.
    pub max_txn_ops: u32,
    /// Whether what it answers for survives the machine's fall; `false` only where the data may be lost.
    pub durable: bool,
    /// What becomes of it when its value is dropped.
    pub on_drop: OnDrop,
    /// The cluster it is a member of; `None`: it is alone.
    pub membership: Option<Membership>,
    /// Speak TLS, to clients and members alike, and ask clients for a certificate; `None`: plain.
    pub papers: Option<Papers>,
    /// Further flags, e.g. `--auto-compaction-mode=revision`; the last one of a name counts.
    pub flags: Vec<String>,
}

impl EtcdOptions {
    /// A server that keeps its data in `folder`, on a free port.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        EtcdOptions {
            folder: folder.into(),
            client_port: 0,
            // etcd's own, said because /health and NOSPACE are about it; the file stays below a quarter of it.
            quota_backend_bytes: 2 << 30,
            // A batch is one transaction, an operation for each of its messages: etcd's own 128 would make batches small.
            max_txn_ops: 1024,
            durable: true,
            on_drop: OnDrop::Stop,
            membership: None,
            papers: None,
            flags: Vec::new(),
        }
    }

    /// What the other members know a member with these options by: always the same for its folder.
    pub fn name(&self) -> String {
        unique_name(&std::path::absolute(&self.folder).unwrap_or_else(|_| self.folder.clone()))
    }
}

/// A member's place among others. Members are started at once: none answers before most of them run.
#[derive(Debug, Clone)]
pub struct Membership {
    /// Port for the other members.
    pub peer_port: u16,
    /// All members, as `--initial-cluster` wants them: `name=http://127.0.0.1:port`, with commas between.
    pub cluster: String,
}

/// A running etcd; ends when dropped.
#[derive(Debug)]
pub struct Etcd {
    process: Process,
    client_port: u16,
    arguments: Vec<String>,
    name: String,
    /// How it is asked whether it answers.
    access: EtcdAccess,
}

/// Flags as variables: a version that does not know one warns instead of refusing.
///
/// `ETCD_EXPERIMENTAL_COMPACTION_BATCH_LIMIT`: compacting forgets so many revisions, and pauses. With the default of 1,000 it
/// forgets fewer than rows of a message each leave at full speed, two a row, and file and memory grow for as long as they come.
///
/// `GOGC`: etcd keeps its newest log entries in memory, whole batches of ours; with Go's default of 100 a fifth of its time
/// goes into looking through them for garbage.
static ENVIRONMENT: [(&str, &str); 5] = [
    ("ETCD_LOGGER", "zap"),
    ("ETCD_LOG_LEVEL", "warn"),
    ("ETCD_EXPERIMENTAL_COMPACTION_BATCH_LIMIT", "4000"),
    ("GOGC", "200"),
    // The last one: for a server that may forget all when the machine fails.
    ("ETCD_UNSAFE_NO_FSYNC", "true"),
];

impl Etcd {
    /// Starts a server and waits until it answers.
    ///
    /// # Errors
    /// A missing program, a taken port, a folder that cannot be used, a server that ends: see [`Error`].
    pub async fn start(options: &EtcdOptions) -> Result<Etcd, Error> {
        let program = find("etcd")?;
        let folder = std::path::absolute(&options.folder).map_err(Error::io("finding the folder for etcd"))?;
        let guard = Guard::of(options.on_drop, &folder)?;
        let doing = || format!("making {}", folder.display());
        // Only the data is private: PostgreSQL's user has to pass through the folders above.
        fs::create_dir_all(&folder).map_err(Error::io(doing()))?;
        let private = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder.join("data"));
        private.map_err(Error::io(doing()))?;
        let mark = folder.join("data").display().to_string();
        detached::forget(&folder);
        leftover::stop(&pid_file(&folder), &mark, Signal::SIGTERM).await?;
        if options.client_port != 0 && port::taken(options.client_port) {
            return Err(Error::PortTaken { port: options.client_port });
        }
        let name = unique_name(&folder);
        let access = match &options.papers {
            Some(papers) => {
                tls::lay(papers, &folder, &Account::ourselves())?;
                tls::access(&folder)
            }
            None => EtcdAccess::default(),
        };
        let plan = Plan {
            name: "etcd",
            program,
            environment: &ENVIRONMENT[..ENVIRONMENT.len() - usize::from(options.durable)],
            account: Account::ourselves(),
            log: folder.join("etcd.log"),
            folder,
            mark,
            gently: Signal::SIGTERM,
            guarded: if options.on_drop == OnDrop::Remove { Signal::SIGKILL } else { Signal::SIGTERM },
        };
        let mut etcd = Etcd { process: Process::new(plan, guard), client_port: 0, arguments: Vec::new(), name, access };
        // A free port can be taken by somebody else between the look and the use.
        let mut tries = if options.client_port == 0 { 5 } else { 1 };
        loop {
            tries -= 1;
            etcd.client_port = if options.client_port == 0 { port::free()? } else { options.client_port };
            etcd.arguments = arguments(options, etcd.process.folder(), &etcd.name, etcd.client_port)?;
            match etcd.launch().await {
                Err(Error::NotReady { .. }) if tries > 0 && !etcd.process.is_running() => {}
                Err(error) => return Err(error),
                Ok(()) => break,
            }
        }
        if options.on_drop == OnDrop::Leave {
            detached::note(etcd.process.folder(), etcd.client_port)?;
        }
        Ok(etcd)
    }

    /// The port of a server that was started in `folder` to stay, while it runs.
    pub fn detached(folder: &Path) -> Option<u16> {
        let folder = std::path::absolute(folder).ok()?;
        detached::port(&folder, &pid_file(&folder), &folder.join("data"))
    }

    /// Stops whatever server runs on `folder`, if one does. The folder stays.
    ///
    /// # Errors
    /// Where it does not end.
    pub async fn stop_detached(folder: &Path) -> Result<(), Error> {
        let folder = std::path::absolute(folder).map_err(Error::io("finding the folder of etcd"))?;
        detached::forget(&folder);
        leftover::stop(&pid_file(&folder), &folder.join("data").display().to_string(), Signal::SIGTERM).await
    }

    /// The clients' port.
    pub fn port(&self) -> u16 {
        self.client_port
    }

    /// For `ETCD_ENDPOINTS`: `127.0.0.1:port`.
    pub fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.client_port)
    }

    /// Gives it other papers. The certificate is shown from the next connection on; whom it lets in changes with
    /// [`Etcd::restart`].
    ///
    /// # Errors
    /// Where they cannot be written.
    pub fn show(&self, papers: &Papers) -> Result<(), Error> {
        tls::lay(papers, self.process.folder(), &Account::ourselves())
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Where it logs.
    pub fn log(&self) -> &Path {
        self.process.log()
    }

    /// Waits until the server ends by itself; `None` when it was not running.
    ///
    /// # Errors
    /// Where the system cannot tell.
    pub async fn exited(&mut self) -> Result<Option<ExitStatus>, Error> {
        self.process.wait().await
    }

    /// Stops it in good order, by force after 10 s.
    ///
    /// # Errors
    /// Where the system cannot tell whether it ended.
    pub async fn stop(&mut self) -> Result<(), Error> {
        self.process.stop(Duration::from_secs(10)).await
    }

    /// Ends it as a crash would.
    ///
    /// # Errors
    /// Where the system cannot tell whether it ended.
    pub async fn kill(&mut self) -> Result<(), Error> {
        self.process.kill().await
    }

    /// Freezes it: connections stay, nothing answers.
    pub fn pause(&self) {
        self.process.pause();
    }

    /// Undoes [`Etcd::pause`].
    pub fn resume(&self) {
        self.process.resume();
    }

    /// Starts it again on the same data and port, stopping it first where it runs.
    ///
    /// # Errors
    /// As [`Etcd::start`].
    pub async fn restart(&mut self) -> Result<(), Error> {
        self.stop().await?;
        self.launch().await
    }

    /// Starts it again with these flags behind those that it has; of a name that is given twice the last one counts.
    ///
    /// # Errors
    /// As [`Etcd::start`].
    pub async fn restart_with(&mut self, flags: &[&str]) -> Result<(), Error> {
        self.arguments.extend(flags.iter().map(|&flag| flag.to_owned()));
        self.restart().await
    }

    /// What the other members know it by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All members as it was told them, `--initial-cluster`'s way: `name=http://127.0.0.1:port`, with commas between.
    pub fn cluster(&self) -> &str {
        self.arguments.iter().find_map(|flag| flag.strip_prefix("--initial-cluster=")).unwrap_or_default()
    }

    /// Where it keeps its data.
    pub fn data(&self) -> PathBuf {
        self.process.folder().join("data")
    }

    async fn launch(&mut self) -> Result<(), Error> {
        self.process.spawn(&self.arguments)?;
        let pid_file = pid_file(self.process.folder());
        fs::write(&pid_file, self.pid().to_string()).map_err(Error::io(format!("writing {}", pid_file.display())))?;
        let (endpoint, name, access) = (self.endpoint(), self.name.clone(), self.access.clone());
        self.process.until(async || answers(&endpoint, &access, &name).await.unwrap_or(false)).await
    }
}

fn pid_file(folder: &Path) -> PathBuf {
    folder.join("etcd.pid")
}

/// The same for a folder at every start, and no other's: it tells this server from one that took its port.
fn unique_name(folder: &Path) -> String {
    let digest = Sha256::digest(folder.as_os_str().as_encoded_bytes());
    format!("nexus-{}", digest[..6].iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

fn arguments(options: &EtcdOptions, folder: &Path, name: &str, client_port: u16) -> Result<Vec<String>, Error> {
    let peer_port = options.membership.as_ref().map_or_else(port::free, |membership| Ok(membership.peer_port))?;
    let scheme = if options.papers.is_some() { "https" } else { "http" };
    let (client, peer) = (format!("{scheme}://127.0.0.1:{client_port}"), format!("{scheme}://127.0.0.1:{peer_port}"));
    let cluster = options.membership.as_ref().map_or_else(|| format!("{name}={peer}"), |all| all.cluster.clone());
    let mut arguments = vec![
        format!("--data-dir={}", folder.join("data").display()),
        format!("--name={name}"),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster={cluster}"),
        format!("--max-txn-ops={}", options.max_txn_ops),
        format!("--quota-backend-bytes={}", options.quota_backend_bytes),
        // Upkeep compacts by itself; this is for the hours without a collector.
        "--auto-compaction-mode=periodic".to_owned(),
        "--auto-compaction-retention=1m".to_owned(),
        // So many log entries (and always 5,000 more) stay in memory: a batch may be a mebibyte.
        "--snapshot-count=1000".to_owned(),
        // Every read of the queue copies what was written since its database's last commit: 2,000 writes instead of 10,000.
        // The interval (100 ms otherwise) does the same for what comes slowly. Nothing is less durable: the log was synced before.
        "--backend-batch-limit=2000".to_owned(),
        "--backend-batch-interval=20ms".to_owned(),
    ];
    if options.on_drop == OnDrop::Remove && options.membership.is_none() {
        // A lone member needs no patience: it leads 0.1 s after its start instead of up to 1 s.
        arguments.extend(["--heartbeat-interval=10".to_owned(), "--election-timeout=100".to_owned()]);
    }
    if options.papers.is_some() {
        let [ca, cert, key] = tls::place(folder).map(|path| path.display().to_string());
        for side in ["", "peer-"] {
            arguments.extend([
                format!("--{side}trusted-ca-file={ca}"),
                format!("--{side}cert-file={cert}"),
                format!("--{side}key-file={key}"),
                format!("--{side}client-cert-auth"),
            ]);
        }
    }
    arguments.extend(options.flags.iter().cloned());
    Ok(arguments)
}

/// Whether a member of this name serves linearizable reads here.
async fn answers(endpoint: &str, access: &EtcdAccess, name: &str) -> Option<bool> {
    let asked = async {
        let client = Client::with(&[endpoint.to_owned()], access).ok()?;
        client.has_member(name).await.ok()
    };
    tokio::time::timeout(Duration::from_secs(2), asked).await.ok()?
}
