//! A PostgreSQL with one role and one database.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio_postgres::{Client, NoTls};

use super::account::Account;
use super::binaries::find_postgres;
use super::guard::Guard;
use super::initdb::{SUPERUSER, initialise, superuser_password};
use super::process::{Plan, Process};
use super::tree::give;
use super::{Error, OnDrop, Papers, detached, leftover, port, tls};

/// What kind of PostgreSQL to start.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// Everything it writes goes here; made when missing, used again when there.
    pub folder: PathBuf,
    /// Port; 0 takes a free one.
    pub port: u16,
    /// The database, made when missing.
    pub database: String,
    /// Its owner, made when missing.
    pub user: String,
    /// The owner's password, from now on.
    pub password: String,
    /// Whether what it commits survives the machine's fall; `false` only where the data may be lost.
    pub durable: bool,
    /// What becomes of it when its value is dropped.
    pub on_drop: OnDrop,
    /// Speak TLS, and let the owner in over TLS alone, with a certificate beside the password; `None`: plain.
    pub papers: Option<Papers>,
    /// Further settings, name and value; the last one of a name counts.
    pub settings: Vec<(String, String)>,
}

impl PostgresOptions {
    /// A server that keeps its data in `folder`, on a free port, with the names the components expect.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        PostgresOptions {
            folder: folder.into(),
            port: 0,
            database: "telemetry".to_owned(),
            user: "telemetry".to_owned(),
            password: "password".to_owned(),
            durable: true,
            on_drop: OnDrop::Stop,
            papers: None,
            settings: Vec::new(),
        }
    }
}

/// A running PostgreSQL; ends when dropped.
#[derive(Debug)]
pub struct Postgres {
    process: Process,
    options: PostgresOptions,
    port: u16,
    data: PathBuf,
    superuser_password: String,
}

impl Postgres {
    /// Starts a server, making its data first where there is none, and waits until it answers.
    ///
    /// # Errors
    /// A missing program, a taken port, a folder that cannot be used, a server that ends: see [`Error`].
    pub async fn start(options: &PostgresOptions) -> Result<Postgres, Error> {
        let account = Account::for_postgres()?;
        let wanted = std::path::absolute(&options.folder).map_err(Error::io("finding the folder for PostgreSQL"))?;
        let folder = account.home_for(&wanted)?;
        let guard = Guard::of(options.on_drop, &folder)?;
        let data = folder.join("data");
        let mark = data.display().to_string();
        detached::forget(&folder);
        leftover::stop(&data.join("postmaster.pid"), &mark, Signal::SIGINT).await?;
        if options.port != 0 && port::taken(options.port) {
            return Err(Error::PortTaken { port: options.port });
        }
        let superuser_password = superuser_password(&folder, &account)?;
        let fresh = !data.join("PG_VERSION").exists();
        if fresh {
            initialise(&folder, &account).await?;
        }
        if let Some(papers) = &options.papers {
            guarded_by(papers, &folder, &account)?;
        }
        let plan = Plan {
            name: "PostgreSQL",
            program: find_postgres(fs::read_to_string(data.join("PG_VERSION")).ok().as_deref())?,
            environment: &[("LC_ALL", "C"), ("TZ", "UTC")],
            account,
            log: folder.join("postgres.log"),
            folder,
            mark,
            gently: Signal::SIGINT,
            guarded: if options.on_drop == OnDrop::Remove { Signal::SIGQUIT } else { Signal::SIGINT },
        };
        let process = Process::new(plan, guard);
        let mut postgres = Postgres { process, options: options.clone(), port: options.port, data, superuser_password };
        if fresh && options.port != 0 {
            postgres.prepare_aside().await?;
        }
        postgres.launch_on_a_port().await?;
        postgres.prepare().await?;
        if options.on_drop == OnDrop::Leave {
            detached::note(postgres.process.folder(), postgres.port)?;
        }
        Ok(postgres)
    }

    /// The port of a server that was started in `folder` to stay, while it runs.
    pub fn detached(folder: &Path) -> Option<u16> {
        let folder = really(folder).ok()?;
        detached::port(&folder, &folder.join("data/postmaster.pid"), &folder.join("data"))
    }

    /// Stops whatever server runs on `folder`, if one does. The folder stays.
    ///
    /// # Errors
    /// Where it does not end.
    pub async fn stop_detached(folder: &Path) -> Result<(), Error> {
        let folder = really(folder)?;
        let data = folder.join("data");
        detached::forget(&folder);
        leftover::stop(&data.join("postmaster.pid"), &data.display().to_string(), Signal::SIGINT).await
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it was started with.
    pub fn options(&self) -> &PostgresOptions {
        &self.options
    }

    /// The process id of the postmaster.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Where it logs.
    pub fn log(&self) -> &Path {
        self.process.log()
    }

    /// How to connect to the database as its owner.
    pub fn owner_config(&self) -> tokio_postgres::Config {
        self.config_for(&self.options.user, &self.options.password, &self.options.database)
    }

    /// How to connect to the database as superuser: for tests that look behind the curtain.
    pub fn superuser_config(&self) -> tokio_postgres::Config {
        self.config_for(SUPERUSER, &self.superuser_password, &self.options.database)
    }

    /// Gives it other papers, which it shows and asks for from the next connection on.
    ///
    /// # Errors
    /// Where they cannot be written.
    pub fn show(&self, papers: &Papers) -> Result<(), Error> {
        tls::lay(papers, self.process.folder(), &Account::for_postgres()?)?;
        self.process.reload();
        Ok(())
    }

    /// Waits until the server ends by itself; `None` when it was not running.
    ///
    /// # Errors
    /// Where the system cannot tell.
    pub async fn exited(&mut self) -> Result<Option<ExitStatus>, Error> {
        self.process.wait().await
    }

    /// Stops it in good order (open transactions are rolled back), by force after 20 s.
    ///
    /// # Errors
    /// Where the system cannot tell whether it ended.
    pub async fn stop(&mut self) -> Result<(), Error> {
        self.process.stop(Duration::from_secs(20)).await
    }

    /// Ends it and every backend as a crash would.
    ///
    /// # Errors
    /// Where the system cannot tell whether it ended.
    pub async fn kill(&mut self) -> Result<(), Error> {
        self.process.kill().await
    }

    /// Freezes it and every backend: connections stay, nothing answers.
    pub fn pause(&self) {
        self.process.pause();
    }

    /// Undoes [`Postgres::pause`].
    pub fn resume(&self) {
        self.process.resume();
    }

    /// Starts it again on the same data and port, stopping it first where it runs.
    ///
    /// # Errors
    /// As [`Postgres::start`].
    pub async fn restart(&mut self) -> Result<(), Error> {
        self.stop().await?;
        // Killed backends hold the old shared memory for a moment, and the new server refuses until they are gone.
        for _ in 0..50 {
            match self.launch().await {
                Err(Error::NotReady { .. }) if !self.process.is_running() => {}
                other => return other,
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.launch().await
    }

    async fn launch_on_a_port(&mut self) -> Result<(), Error> {
        match self.options.port {
            0 => self.launch_anywhere().await,
            _ => self.launch().await,
        }
    }

    async fn launch_anywhere(&mut self) -> Result<(), Error> {
        // A free port can be taken by somebody else between the look and the use.
        for _ in 0..4 {
            self.port = port::free()?;
            match self.launch().await {
                Err(Error::NotReady { .. }) if !self.process.is_running() => {}
                other => return other,
            }
        }
        self.launch().await
    }

    async fn launch(&mut self) -> Result<(), Error> {
        self.process.spawn(&arguments(&self.options, &self.data, self.port))?;
        let (config, data) = (self.config_for(SUPERUSER, &self.superuser_password, "postgres"), &self.data);
        self.process.until(async || answers(&config, data).await).await
    }

    /// [`Postgres::prepare`] where nobody looks: who waits for the port that was asked for would come between the server's
    /// first answer and the database, and hear that there is none, which is not waited for.
    async fn prepare_aside(&mut self) -> Result<(), Error> {
        self.launch_anywhere().await?;
        self.prepare().await?;
        self.stop().await?;
        self.port = self.options.port;
        Ok(())
    }

    /// The role and the database, as the options name them.
    async fn prepare(&self) -> Result<(), Error> {
        let options = &self.options;
        let superuser = self.config_for(SUPERUSER, &self.superuser_password, "postgres");
        let prepared = with_client(&superuser, async |client| {
            let exists = client.query_opt("SELECT 1 FROM pg_roles WHERE rolname = $1", &[&options.user]).await?;
            let verb = if exists.is_some() { "ALTER" } else { "CREATE" };
            let (user, password) = (identifier(&options.user), literal(&options.password));
            client.batch_execute(&format!("{verb} ROLE {user} LOGIN PASSWORD {password}")).await?;
            let exists = client.query_opt("SELECT 1 FROM pg_database WHERE datname = $1", &[&options.database]).await?;
            if exists.is_none() {
                client
                    .batch_execute(&format!("CREATE DATABASE {} OWNER {user}", identifier(&options.database)))
                    .await?;
            }
            Ok(())
        });
        prepared.await.map_err(|error| Error::Setup(format!("making the role and the database: {error}")))
    }

    fn config_for(&self, user: &str, password: &str, database: &str) -> tokio_postgres::Config {
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(self.port).user(user).password(password).dbname(database);
        config.connect_timeout(Duration::from_secs(5));
        config
    }
}

/// Where the server of this folder has its files.
fn really(folder: &Path) -> Result<PathBuf, Error> {
    let wanted = std::path::absolute(folder).map_err(Error::io("finding the folder of PostgreSQL"))?;
    Ok(Account::for_postgres()?.reachable(&wanted).unwrap_or(wanted))
}

fn arguments(options: &PostgresOptions, data: &Path, port: u16) -> Vec<String> {
    let mut settings: Vec<(&str, &str)> = vec![
        ("listen_addresses", "127.0.0.1"),
        ("unix_socket_directories", ""),
        // Several collectors and gateways, each with a pool of its own, and whoever looks in.
        ("max_connections", "200"),
        ("timezone", "UTC"),
        ("log_timezone", "UTC"),
        // Questions take milliseconds; compiling one takes longer.
        ("jit", "off"),
        // A line each time that asks for nothing.
        ("log_checkpoints", "off"),
        // Behind a checkpoint every page is written to the log whole at its first change: the fewer, the less is written. What
        // it costs is a longer start after a crash, here some seconds.
        ("max_wal_size", "4GB"),
        ("checkpoint_timeout", "15min"),
        // What is written lies in today's partition, and fits; a server of a test has next to nothing.
        ("shared_buffers", if options.on_drop == OnDrop::Remove { "32MB" } else { "256MB" }),
    ];
    let folder = data.parent().unwrap_or(data);
    let files = [tls::place(folder).to_vec(), vec![folder.join(RULES)]].concat();
    let files: Vec<String> = files.iter().map(|path| path.display().to_string()).collect();
    if options.papers.is_some() {
        let names = ["ssl_ca_file", "ssl_cert_file", "ssl_key_file", "hba_file"];
        settings.push(("ssl", "on"));
        settings.extend(names.into_iter().zip(files.iter().map(String::as_str)));
    }
    if !options.durable {
        settings.extend([("fsync", "off"), ("full_page_writes", "off")]);
    }
    if options.on_drop == OnDrop::Remove {
        // Files of the data folder instead of /dev/shm: they go with the folder.
        settings.push(("dynamic_shared_memory_type", "mmap"));
    }
    settings.extend(options.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let mut arguments = vec!["-D".to_owned(), data.display().to_string(), "-p".to_owned(), port.to_string()];
    arguments.extend(settings.iter().flat_map(|(name, value)| ["-c".to_owned(), format!("{name}={value}")]));
    arguments
}

/// Who is let in where there are papers: we ourselves as ever, everybody else over TLS, with a certificate and a password.
const RULES: &str = "rules.conf";

fn guarded_by(papers: &Papers, folder: &Path, account: &Account) -> Result<(), Error> {
    tls::lay(papers, folder, account)?;
    let rules = folder.join(RULES);
    let text = format!(
        "host all {SUPERUSER} 127.0.0.1/32 scram-sha-256\nhostssl all all 127.0.0.1/32 scram-sha-256 clientcert=verify-ca\n"
    );
    let doing = || format!("writing {}", rules.display());
    fs::write(&rules, text).map_err(Error::io(doing()))?;
    give(&rules, account).map_err(Error::io(doing()))
}

/// Whether the server on exactly this data folder answers.
async fn answers(config: &tokio_postgres::Config, data: &Path) -> bool {
    let asked = with_client(config, async |client| client.query_one("SHOW data_directory", &[]).await);
    match tokio::time::timeout(Duration::from_secs(2), asked).await {
        Ok(Ok(row)) => row.try_get::<_, String>(0).is_ok_and(|found| Path::new(&found) == data),
        _ => false,
    }
}

async fn with_client<T>(
    config: &tokio_postgres::Config,
    work: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>,
) -> Result<T, tokio_postgres::Error> {
    let (client, connection) = config.connect(NoTls).await?;
    tokio::pin!(connection);
    tokio::select! {
        done = work(&client) => done,
        // A connection that was closed without an error makes the work report one of its own.
        Err(error) = &mut connection => Err(error),
    }
}

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
