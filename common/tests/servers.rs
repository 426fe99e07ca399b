//! Servers of one's own start, answer, stop, come back with their data, and leave nothing behind.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nexus_common::servers::{Error, Etcd, EtcdOptions, OnDrop, Postgres, PostgresOptions, free_port};
use nexus_common::testing::{self, eventually};
use tokio_postgres::NoTls;
use tokio_postgres::error::SqlState;

const SOON: Duration = Duration::from_secs(60);

async fn put(etcd: &Etcd, key: &str, value: &str) {
    let mut client = etcd_client::Client::connect([etcd.endpoint()], None).await.unwrap();
    client.put(key, value, None).await.unwrap();
}

async fn get(etcd: &Etcd, key: &str) -> Option<String> {
    let mut client = etcd_client::Client::connect([etcd.endpoint()], None).await.unwrap();
    let answer = tokio::time::timeout(SOON, client.get(key, None)).await.unwrap().unwrap();
    Some(answer.kvs().first()?.value_str().unwrap().to_owned())
}

/// Runs one statement as the database's owner and returns its last row's first column.
async fn query(postgres: &Postgres, sql: &str) -> Result<Option<String>, tokio_postgres::Error> {
    let (client, connection) = postgres.owner_config().connect(NoTls).await?;
    let work = async {
        let rows = client.simple_query(sql).await?;
        let rows = rows.iter().filter_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        });
        Ok(rows.last())
    };
    tokio::select! { done = work => done, Err(error) = connection => Err(error) }
}

fn is_alive(pid: u32) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

fn parent_of(log: &Path) -> PathBuf {
    log.parent().unwrap().to_owned()
}

#[tokio::test]
async fn etcd_survives_a_kill_and_a_stop_with_its_data() {
    let mut etcd = testing::etcd().await;
    let (first, port) = (etcd.pid(), etcd.port());
    put(&etcd, "/a", "1").await;
    etcd.kill().await.unwrap();
    assert!(!is_alive(first));
    etcd.restart().await.unwrap();
    assert_eq!((etcd.port(), get(&etcd, "/a").await.as_deref()), (port, Some("1")));
    put(&etcd, "/a", "2").await;
    etcd.stop().await.unwrap();
    etcd.restart().await.unwrap();
    assert_eq!(get(&etcd, "/a").await.as_deref(), Some("2"));
}

#[tokio::test]
async fn a_paused_etcd_is_silent_and_comes_back() {
    let etcd = testing::etcd().await;
    put(&etcd, "/a", "1").await;
    etcd.pause();
    let mut asked = std::pin::pin!(get(&etcd, "/a"));
    let answered = tokio::time::timeout(Duration::from_secs(1), asked.as_mut()).await;
    assert!(answered.is_err(), "a frozen etcd answered");
    etcd.resume();
    assert_eq!(asked.await.as_deref(), Some("1"));
}

#[tokio::test]
async fn postgres_survives_a_kill_and_a_stop_with_its_data() {
    let mut postgres = testing::postgres().await;
    query(&postgres, "CREATE TABLE t (n int); INSERT INTO t VALUES (1)").await.unwrap();
    let (first, port) = (postgres.pid(), postgres.port());
    postgres.kill().await.unwrap();
    assert!(!is_alive(first));
    postgres.restart().await.unwrap();
    assert_eq!(postgres.port(), port);
    assert_eq!(query(&postgres, "SELECT n FROM t").await.unwrap().as_deref(), Some("1"));
    postgres.stop().await.unwrap();
    assert!(query(&postgres, "SELECT 1").await.is_err());
    postgres.restart().await.unwrap();
    assert_eq!(query(&postgres, "SELECT n FROM t").await.unwrap().as_deref(), Some("1"));
}

#[tokio::test]
async fn a_paused_postgres_is_silent_backends_too() {
    let postgres = testing::postgres().await;
    let (client, connection) = postgres.owner_config().connect(NoTls).await.unwrap();
    let work = async {
        client.simple_query("SELECT 1").await.unwrap();
        postgres.pause();
        let asked = tokio::time::timeout(Duration::from_millis(300), client.simple_query("SELECT 1")).await;
        assert!(asked.is_err(), "a frozen backend answered");
        postgres.resume();
        client.simple_query("SELECT 1").await.unwrap();
    };
    tokio::select! { () = work => (), ended = connection => panic!("{ended:?}") }
}

#[tokio::test]
async fn the_database_is_the_owners_and_starts_empty() {
    let postgres = testing::postgres().await;
    let owner = query(&postgres, "SELECT current_user || '@' || current_database()").await.unwrap();
    assert_eq!(owner.as_deref(), Some("telemetry@telemetry"));
    let tables = query(&postgres, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").await.unwrap();
    assert_eq!(tables.as_deref(), Some("0"));
    assert_eq!(query(&postgres, "SHOW is_superuser").await.unwrap().as_deref(), Some("off"));
    let mut stranger = postgres.owner_config();
    stranger.password("wrong");
    assert!(stranger.connect(NoTls).await.is_err(), "any password is accepted");
}

#[tokio::test]
async fn a_second_start_finds_the_data_of_the_first() {
    let folder = testing::folder();
    let mut options = PostgresOptions::new(folder.path().join("postgres"));
    options.durable = false;
    let mut postgres = Postgres::start(&options).await.unwrap();
    query(&postgres, "CREATE TABLE t (n int); INSERT INTO t VALUES (7)").await.unwrap();
    postgres.stop().await.unwrap();
    drop(postgres);
    options.password = "another".to_owned();
    let postgres = Postgres::start(&options).await.unwrap();
    assert_eq!(query(&postgres, "SELECT n FROM t").await.unwrap().as_deref(), Some("7"));

    let mut options = EtcdOptions::new(folder.path().join("etcd"));
    options.durable = false;
    let etcd = Etcd::start(&options).await.unwrap();
    put(&etcd, "/a", "1").await;
    let first = etcd.pid();
    drop(etcd);
    assert!(!is_alive(first), "dropped and still running");
    let etcd = Etcd::start(&options).await.unwrap();
    assert_eq!(get(&etcd, "/a").await.as_deref(), Some("1"));
}

/// A collector that waits for its database would end: no such role, no such database, are for a person to mend.
#[tokio::test]
async fn who_waits_on_the_port_of_a_new_server_finds_it_complete() {
    let folder = testing::folder();
    let mut options = PostgresOptions::new(folder.path().join("postgres"));
    (options.durable, options.port) = (false, free_port().unwrap());
    let mut owner = tokio_postgres::Config::new();
    owner.host("127.0.0.1").port(options.port).user(&options.user).password(&options.password);
    owner.dbname(&options.database);
    let first_answer = async {
        loop {
            match owner.connect(NoTls).await {
                // Not before the server takes connections, which says so of itself.
                Err(error) if error.code().is_none_or(|code| *code == SqlState::CANNOT_CONNECT_NOW) => {}
                answer => return answer.map(drop),
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let (postgres, answer) = tokio::join!(Postgres::start(&options), tokio::time::timeout(SOON, first_answer));
    answer.unwrap().unwrap();
    assert_eq!(query(&postgres.unwrap(), "SELECT 1").await.unwrap().as_deref(), Some("1"));
}

#[tokio::test]
async fn a_server_left_by_an_earlier_run_is_stopped_first() {
    let folder = testing::folder();
    let mut options = EtcdOptions::new(folder.path().join("etcd"));
    options.durable = false;
    let first = Etcd::start(&options).await.unwrap();
    put(&first, "/a", "1").await;
    let second = Etcd::start(&options).await.unwrap();
    assert!(!is_alive(first.pid()));
    assert_eq!(get(&second, "/a").await.as_deref(), Some("1"));

    let mut options = PostgresOptions::new(folder.path().join("postgres"));
    options.durable = false;
    let first = Postgres::start(&options).await.unwrap();
    let second = Postgres::start(&options).await.unwrap();
    assert!(!is_alive(first.pid()));
    assert_eq!(query(&second, "SELECT 1").await.unwrap().as_deref(), Some("1"));
}

#[tokio::test]
async fn a_detached_server_stays_until_it_is_stopped() {
    let folder = testing::folder();
    let (etcd_folder, postgres_folder) = (folder.path().join("etcd"), folder.path().join("postgres"));
    let mut options = EtcdOptions::new(&etcd_folder);
    options.on_drop = OnDrop::Leave;
    let etcd = Etcd::start(&options).await.unwrap();
    let (pid, port) = (etcd.pid(), etcd.port());
    drop(etcd);
    assert!(is_alive(pid));
    assert_eq!(Etcd::detached(&etcd_folder), Some(port));
    Etcd::stop_detached(&etcd_folder).await.unwrap();
    assert_eq!((is_alive(pid), Etcd::detached(&etcd_folder)), (false, None));

    let mut options = PostgresOptions::new(&postgres_folder);
    options.on_drop = OnDrop::Leave;
    let postgres = Postgres::start(&options).await.unwrap();
    let (pid, port) = (postgres.pid(), postgres.port());
    drop(postgres);
    assert_eq!(Postgres::detached(&postgres_folder), Some(port));
    Postgres::stop_detached(&postgres_folder).await.unwrap();
    assert_eq!((is_alive(pid), Postgres::detached(&postgres_folder)), (false, None));
}

#[tokio::test]
async fn a_taken_port_is_said_before_anything_is_started() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let folder = testing::folder();
    let mut options = EtcdOptions::new(folder.path().join("etcd"));
    options.client_port = port;
    assert!(matches!(Etcd::start(&options).await, Err(Error::PortTaken { port: found }) if found == port));
    let mut options = PostgresOptions::new(folder.path().join("postgres"));
    options.port = port;
    assert!(matches!(Postgres::start(&options).await, Err(Error::PortTaken { port: found }) if found == port));
}

#[tokio::test]
async fn a_server_that_cannot_start_says_why() {
    let folder = testing::folder();
    let mut options = PostgresOptions::new(folder.path().join("postgres"));
    options.settings.push(("shared_buffers".to_owned(), "a lot".to_owned()));
    let error = Postgres::start(&options).await.unwrap_err().to_string();
    assert!(error.contains("shared_buffers") && !error.contains('\n'), "{error}");
}

#[tokio::test]
async fn dropped_servers_leave_nothing_behind() {
    let (etcd, postgres) = (testing::etcd().await, testing::postgres().await);
    let pids = [etcd.pid(), postgres.pid()];
    let folders = [parent_of(etcd.log()), parent_of(postgres.log())];
    assert!(folders.iter().all(|folder| folder.exists()));
    drop((etcd, postgres));
    assert!(pids.iter().all(|pid| !is_alive(*pid)));
    assert!(folders.iter().all(|folder| !folder.exists()), "{folders:?}");
}

/// Set for the child alone.
const AS_CHILD: &str = "NEXUS_TEST_CHILD";

/// Not a test of its own: what [`a_killed_owner_leaves_nothing_behind`] starts as another process and kills.
#[tokio::test]
async fn child_that_waits_to_be_killed() {
    if std::env::var_os(AS_CHILD).is_none() {
        return;
    }
    let (etcd, postgres) = (testing::etcd().await, testing::postgres().await);
    for (pid, log) in [(etcd.pid(), etcd.log()), (postgres.pid(), postgres.log())] {
        println!("\nserver {pid} {}", parent_of(log).display());
    }
    println!("\nready");
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_killed_owner_leaves_nothing_behind() {
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_waits_to_be_killed", "--nocapture"])
        .env(AS_CHILD, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(owner.stdout.take().unwrap()).lines().map_while(Result::ok);
    let servers: Vec<(u32, PathBuf)> = lines
        .take_while(|line| line != "ready")
        .filter_map(|line| {
            let (pid, folder) = line.strip_prefix("server ")?.split_once(' ')?;
            Some((pid.parse().ok()?, folder.into()))
        })
        .collect();
    assert_eq!(servers.len(), 2);
    assert!(servers.iter().all(|(pid, folder)| is_alive(*pid) && folder.exists()));
    owner.kill().unwrap();
    owner.wait().unwrap();
    eventually("the servers and their folders are gone", SOON, async || {
        servers.iter().all(|(pid, folder)| !is_alive(*pid) && !folder.exists())
    })
    .await;
}
