//! A pipeline that is backed up: PostgreSQL archives its log, the scripts lie beside, and whoever destroys it restores it by them.

use std::fs;
use std::future::pending;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use nexus_common::servers::PostgresOptions;
use nexus_common::testing::{eventually, folder};
use nix::unistd::{User, geteuid};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;
use tokio_postgres::NoTls;
use tokio_postgres::types::FromSqlOwned;

use crate::asking::Answer;
use crate::rows::{expected, file};
use crate::world::{PATIENCE, World};

pub(crate) struct Plant {
    pub(crate) world: World,
    pub(crate) backups: PathBuf,
    scripts: PathBuf,
    _folder: TempDir,
}

/// How a script ended, and what it said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: i32,
    pub(crate) text: String,
}

/// The user PostgreSQL runs as, where that is another one than ours.
pub(crate) fn account() -> Option<User> {
    let find = |name| User::from_name(name).ok().flatten();
    geteuid().is_root().then(|| find("postgres").or_else(|| find("nobody")))?
}

/// A folder that PostgreSQL's user owns.
pub(crate) fn owned(path: &Path) {
    fs::create_dir(path).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
    if let Some(user) = account() {
        chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
    }
}

/// The scripts where PostgreSQL's user can reach them: the repository may lie where he cannot.
pub(crate) fn scripts_in(folder: &Path) -> PathBuf {
    let (from, to) = (Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/backup"), folder.join("scripts"));
    fs::create_dir(&to).unwrap();
    for script in fs::read_dir(from).unwrap() {
        let script = script.unwrap();
        fs::copy(script.path(), to.join(script.file_name())).unwrap();
        fs::set_permissions(to.join(script.file_name()), fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::set_permissions(&to, fs::Permissions::from_mode(0o755)).unwrap();
    to
}

/// Runs a script to its end.
pub(crate) async fn run(script: &Path, by: Option<User>, arguments: &[&str], environment: &[(&str, &str)]) -> Said {
    let mut command = Command::new(script);
    command.args(arguments).current_dir("/").env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.envs(environment.iter().copied()).kill_on_drop(true);
    if let Some(user) = by {
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    let output = command.output().await.unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    println!("    $ {} {}\n{text}", script.file_name().unwrap().display(), arguments.join(" "));
    Said { status: output.status.code().unwrap_or(-1), text }
}

impl Plant {
    pub(crate) async fn new() -> Plant {
        Plant::with(async |change| World::with_postgres(change).await).await
    }

    /// With an etcd of three members.
    pub(crate) async fn on_three_members() -> Plant {
        Plant::with(async |change| World::on_three_members_with_postgres(change).await).await
    }

    async fn with(make: impl AsyncFnOnce(Box<dyn FnOnce(&mut PostgresOptions)>) -> World) -> Plant {
        let folder = folder();
        let (backups, scripts) = (folder.path().join("backups"), scripts_in(folder.path()));
        owned(&backups);
        let archive = format!("BACKUP_DIR={} {}/wal.sh \"%p\" \"%f\"", backups.display(), scripts.display());
        let archives: Box<dyn FnOnce(&mut PostgresOptions)> = Box::new(move |options| {
            let settings = [("archive_mode", "on"), ("archive_command", archive.as_str()), ("archive_timeout", "1s")];
            options.settings.extend(settings.map(|(name, value)| (name.to_owned(), value.to_owned())));
        });
        let world = make(archives).await;
        let plant = Plant { world, backups, scripts, _folder: folder };
        plant.superuser::<String>("CREATE ROLE nexus_backup LOGIN REPLICATION PASSWORD 'b''ackup'").await;
        plant
    }

    /// As superuser; the one value that comes of it, where there is any.
    async fn superuser<T: FromSqlOwned>(&self, sql: &str) -> Option<T> {
        let (client, connection) = self.world.postgres.superuser_config().connect(NoTls).await.unwrap();
        tokio::select! {
            rows = client.query(sql, &[]) => rows.unwrap().first().map(|row| row.get(0)),
            ended = connection => panic!("{ended:?}"),
        }
    }

    /// The source, grown to so many rows.
    pub(crate) fn file(&self, rows: u64) -> String {
        self.world.file("a.csv", file(rows)).to_str().unwrap().to_owned()
    }

    /// Three times 2,000 rows: stored before etcd's snapshot, stored behind it, and only queued.
    pub(crate) async fn stores_and_queues_behind_a_snapshot(&mut self) {
        let collector = self.world.collector();
        self.streams(2_000).await;
        self.world.is_drained().await;
        self.back_up_etcd().await;
        self.streams(4_000).await;
        self.world.is_drained().await;
        collector.stop().await;
        self.streams(6_000).await;
    }

    /// The source has so many rows; those that are new are published.
    pub(crate) async fn streams(&self, rows: u64) {
        let path = self.file(rows);
        self.world.start("streamer", &[("CSV_FILE", &path)]).succeeds().await;
    }

    /// Everything is started again, and after a while every row of the file is stored as the file has it. Gives the books.
    pub(crate) async fn goes_on(&self, rows: u64) -> Value {
        let collector = self.world.collector();
        self.streams(rows).await;
        self.world.is_drained().await;
        let (books, balanced) = self.audit(&["--file", &self.file(rows), "--deep"]).await;
        assert!(balanced, "{books}");
        assert_eq!(books["total"]["residue"], 0);
        assert_eq!(books["file"]["rows"], rows);
        assert!(self.world.samples().await == expected(0, rows), "the values differ");
        collector.stop().await;
        books
    }

    /// The books, and whether they balance.
    pub(crate) async fn audit(&self, arguments: &[&str]) -> (Value, bool) {
        let answer = self.world.nexus(&[&["audit", "--json"], arguments].concat()).await;
        assert!([0, 1].contains(&answer.status), "{} {}", answer.out, answer.err);
        (answer.json(), answer.status == 0)
    }

    /// A command of `nexus`, and what it says, shown to whoever reads along.
    pub(crate) async fn shows(&self, arguments: &[&str]) -> Answer {
        let answer = self.world.nexus(arguments).await;
        println!("    $ nexus {}\n{}{}", arguments.join(" "), answer.out, answer.err);
        answer
    }

    /// A snapshot of etcd; time has gone past its name.
    pub(crate) async fn back_up_etcd(&self) -> PathBuf {
        let endpoint = self.world.etcd.endpoint();
        let said = self.script("etcd.sh", None, &[], &[("ETCD_ENDPOINTS", &endpoint)]).await;
        assert_eq!(said.status, 0, "{}", said.text);
        self.newest("etcd", ".db").await
    }

    /// A base backup of PostgreSQL; time has gone past its name.
    pub(crate) async fn back_up_postgres(&self) -> PathBuf {
        let port = self.world.postgres.port().to_string();
        let server =
            [("DB_HOST", "127.0.0.1"), ("DB_PORT", &port), ("DB_USER", "nexus_backup"), ("DB_PASSWORD", "b'ackup")];
        let said = self.script("postgres.sh", account(), &[], &server).await;
        assert_eq!(said.status, 0, "{}", said.text);
        self.newest("postgres", "").await
    }

    pub(crate) async fn script(
        &self,
        name: &str,
        by: Option<User>,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Said {
        let backups = [("BACKUP_DIR", self.backups.to_str().unwrap())];
        run(&self.scripts.join(name), by, arguments, &[&backups, environment].concat()).await
    }

    /// The newest backup in a folder, when its moment is over: backups are named up to a second ahead.
    async fn newest(&self, kind: &str, ending: &str) -> PathBuf {
        let entries = fs::read_dir(self.backups.join(kind)).unwrap().map(|entry| entry.unwrap().path());
        let is_backup = |path: &PathBuf| path.to_str().unwrap().ends_with(&format!("Z{ending}"));
        let newest = entries.filter(is_backup).max().unwrap();
        let name = newest.file_name().unwrap().to_str().unwrap();
        let moment = name.split(['-', '.']).nth(1).unwrap();
        let [date, time] = [&moment[..8], &moment[9..15]];
        let over = format!("SELECT now() > to_timestamp('{date}{time}', 'YYYYMMDDHH24MISS')");
        eventually("time goes on", PATIENCE, async || self.world.ask(&over).await == Some(true)).await;
        newest
    }

    /// A moment of PostgreSQL's clock: what is stored already was stored before it, what comes is later.
    pub(crate) async fn moment(&self) -> String {
        const FORMAT: &str = "to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')";
        let moment: String = self.world.ask(&format!("SELECT {FORMAT}")).await.unwrap();
        let over = format!("SELECT now() > '{moment}'");
        eventually("time goes on", PATIENCE, async || self.world.ask(&over).await == Some(true)).await;
        moment
    }

    /// Everything that is stored is in the archive.
    pub(crate) async fn archives(&self) {
        let segment: String = self.superuser("SELECT pg_walfile_name(pg_switch_wal())").await.unwrap();
        let archived = self.backups.join(format!("wal/{segment}.gz"));
        eventually(format!("{} is there", archived.display()), PATIENCE, async || archived.exists()).await;
    }

    /// Waits until rows are stored whose part of the log no archive has: the segment they are in is still written to.
    pub(crate) async fn stores_more_than_it_archives(&self) {
        let segment = async || self.world.ask::<String>("SELECT pg_walfile_name(pg_current_wal_lsn())").await;
        let mut before = (segment().await, self.world.accounted().await);
        eventually("rows flow", PATIENCE, async || {
            let (stored, written) = (self.world.accounted().await, segment().await);
            let more = stored > before.1 && written == before.0;
            before = (written, self.world.accounted().await);
            more
        })
        .await;
    }

    /// From now on nothing is archived.
    pub(crate) async fn break_the_archive(&self) {
        fs::write(self.scripts.join("wal.sh"), "#!/bin/sh\nexit 1\n").unwrap();
        self.superuser::<String>("CREATE TABLE something ()").await;
        self.superuser::<String>("SELECT pg_switch_wal()::text").await;
    }

    /// etcd and its data are gone, all members.
    pub(crate) async fn destroy_etcd(&mut self) {
        for member in self.world.members() {
            member.kill().await.unwrap();
            fs::remove_dir_all(member.data()).unwrap();
        }
    }

    /// By the script, each member by itself from the same snapshot; when all have their data they run.
    pub(crate) async fn restore_etcd(&mut self, arguments: &[&str]) {
        for which in 0..self.world.members().len() {
            let member = self.member(which);
            let (data, name, cluster) = (member.data(), member.name().to_owned(), member.cluster().to_owned());
            let place = ["--data-dir", data.to_str().unwrap(), "--name", &name];
            let among = ["--peer-url", peer_url(&cluster, &name), "--cluster", &cluster];
            let said = self.script("restore-etcd.sh", None, &[&place[..], &among, arguments].concat(), &[]).await;
            assert_eq!(said.status, 0, "{}", said.text);
        }
        // None answers before most of them run.
        let started = join_all(self.world.members().into_iter().map(|member| member.restart())).await;
        started.into_iter().for_each(Result::unwrap);
    }

    /// PostgreSQL and its data are gone.
    pub(crate) async fn destroy_postgres(&mut self) {
        self.world.postgres.kill().await.unwrap();
        fs::remove_dir_all(self.postgres_data()).unwrap();
        owned(&self.postgres_data());
    }

    /// By the script; then it runs, and takes writes. Gives the moment of the last transaction that it has.
    pub(crate) async fn restore_postgres(&mut self, arguments: &[&str]) -> SystemTime {
        self.fill_postgres(arguments).await;
        self.postgres_takes_writes().await;
        self.superuser("SELECT pg_last_xact_replay_timestamp()").await.unwrap()
    }

    /// By the script; then it is started until it has come up or has given up. Gives what its log says of that.
    pub(crate) async fn tries_to_restore_postgres(&mut self) -> String {
        self.fill_postgres(&[]).await;
        let path = self.world.postgres.log().to_owned();
        let before = fs::read(&path).unwrap().len();
        let log = || String::from_utf8_lossy(&fs::read(&path).unwrap()[before..]).into_owned();
        let decided = ["archive recovery complete", "could not restore file"];
        tokio::select! {
            // It is started again and again while it ends at once.
            _ = async { (self.world.postgres.restart().await, pending::<()>().await) } => {}
            () = eventually("recovery has ended", PATIENCE, async || decided.iter().any(|end| log().contains(end))) => {}
        }
        log()
    }

    pub(crate) async fn postgres_takes_writes(&mut self) {
        self.world.postgres.restart().await.unwrap();
        let recovered = "SELECT NOT pg_is_in_recovery()";
        eventually("PostgreSQL takes writes", PATIENCE, async || self.world.ask(recovered).await == Some(true)).await;
    }

    async fn fill_postgres(&self, arguments: &[&str]) {
        let data = self.postgres_data();
        let place = ["--data-dir", data.to_str().unwrap()];
        let said = self.script("restore-postgres.sh", account(), &[&place, arguments].concat(), &[]).await;
        assert_eq!(said.status, 0, "{}", said.text);
    }

    /// The last segment that the archive has.
    pub(crate) fn newest_segment(&self) -> PathBuf {
        let names = fs::read_dir(self.backups.join("wal")).unwrap().map(|entry| entry.unwrap().path());
        names.filter(|path| path.file_name().unwrap().len() == "000000010000000000000007.gz".len()).max().unwrap()
    }

    fn postgres_data(&self) -> PathBuf {
        self.world.postgres.log().with_file_name("data")
    }
}

/// Where this member of a cluster is reached by the others.
pub(crate) fn peer_url<'a>(cluster: &'a str, name: &str) -> &'a str {
    cluster.split(',').find_map(|member| member.strip_prefix(name)?.strip_prefix('=')).unwrap()
}

/// A moment as the scripts take it.
pub(crate) fn text(moment: SystemTime) -> String {
    let since: Duration = moment.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    format!("@{}.{:06}", since.as_secs(), since.subsec_micros())
}
