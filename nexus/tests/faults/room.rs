//! Servers without room: etcd at its quota, PostgreSQL with a full disk or told to write nothing.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use nexus_common::testing::eventually;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::rows::{expected, file, lines, part};
use crate::world::{PATIENCE, World};

/// A streamer that does not know the quota fills etcd, dies and is started again; only then come collectors.
#[tokio::test]
async fn etcd_is_full_before_any_collector_and_the_streamer_starts_anew() {
    const ROWS: u64 = 60_000;
    let world = World::with_etcd(|options| options.quota_backend_bytes = 16 << 20).await;
    let path = world.file("a.csv", file(ROWS));
    let environment = [("CSV_FILE", path.to_str().unwrap())];
    let first = world.start("streamer", &environment);
    let client = world.client().await;
    let full = async || client.out_of_space().await.unwrap_or(false);
    eventually("etcd is full", PATIENCE, full).await;
    eventually("the streamer waits", PATIENCE, async || first.log().contains("waiting to publish")).await;
    first.kill().await;
    let mut second = world.start("streamer", &environment);
    eventually("it waits too", PATIENCE, async || second.log().contains("cannot open the lane yet")).await;
    let upkeep = [("ETCD_UPKEEP", "true"), ("ETCD_QUOTA_BYTES", "16777216")];
    let collectors = [world.start("collector", &upkeep), world.start("collector", &upkeep)];
    second.succeeds().await;
    world.holds_exactly(&expected(0, ROWS)).await;
    eventually("etcd is well again", PATIENCE, async || !full().await).await;
    for collector in collectors {
        collector.stop().await;
    }
}

/// The streamer was told more than the server takes: it finds out, several batches under way. Then there are batches that the
/// server took and whose acknowledgements it does not take in one piece; the collector dies between the pieces of one.
#[tokio::test]
async fn etcd_takes_fewer_operations_than_the_streamer_was_told() {
    const ROWS: u64 = 3_000;
    let world = World::with_etcd(|options| options.max_txn_ops = 128).await;
    let path = world.file("a.csv", file(ROWS));
    let environment = [("CSV_FILE", path.to_str().unwrap()), ("BATCH_SIZE", "1000"), ("MAX_TXN_OPS", "1024")];
    let mut streamer = world.start("streamer", &environment);
    streamer.succeeds().await;
    assert!(streamer.log().contains("smaller batches"), "{}", streamer.log());
    let failpoint = "ack.begin=2*off->return(kill)";
    world.faulty("collector", failpoint, &[("WORKERS", "1")]).dies_at(failpoint).await;
    world.end_sessions().await;
    let collector = world.collector();
    world.holds_exactly(&expected(0, ROWS)).await;
    collector.stop().await;
}

/// Upkeep makes room on the members that are there; the one that is not has to be defragmented when it comes back.
#[tokio::test]
async fn etcd_is_full_while_one_of_three_members_is_down() {
    const ROWS: u64 = 60_000;
    let mut world = World::on_three_members_with(|options| options.quota_backend_bytes = 16 << 20).await;
    let path = world.file("a.csv", file(ROWS));
    let mut streamer = world.start("streamer", &[("CSV_FILE", path.to_str().unwrap())]);
    let client = world.client().await;
    let full = async || client.out_of_space().await.unwrap_or(false);
    eventually("etcd is full", PATIENCE, full).await;
    world.members()[1].kill().await.unwrap();
    let collector = world.start("collector", &[("ETCD_UPKEEP", "true"), ("ETCD_QUOTA_BYTES", "16777216")]);
    streamer.succeeds().await;
    world.holds_exactly(&expected(0, ROWS)).await;
    world.members()[1].restart().await.unwrap();
    eventually("etcd is well again", PATIENCE, async || !full().await).await;
    collector.stop().await;
}

#[tokio::test]
async fn the_disk_of_postgres_is_full() {
    const ROWS: u64 = 60_000;
    let world = World::new().await;
    let path = world.file("a.csv", file(ROWS));
    let disk = Disk::small(&world).await;
    let collector = world.collector();
    if disk.is_none() {
        some_are_stored(&world).await;
        refuse(&world).await;
        world.file("a.csv", file(ROWS));
    }
    let mut streamer = world.start("streamer", &[("CSV_FILE", path.to_str().unwrap())]);
    eventually("it is full", PATIENCE, async || collector.log().contains("No space left on device")).await;
    assert!(world.accounted().await < ROWS as i64);
    match disk {
        Some(mut disk) => {
            println!("a file system of 5 MiB was full");
            disk.enlarge().await;
            streamer.succeeds().await;
            world.holds_exactly(&expected(0, ROWS)).await;
            collector.stop().await;
        }
        None => {
            println!("no file system may be mounted here: the server was told to say that its disk is full");
            execute(&world, "DROP TRIGGER full_disk ON ledger").await;
            streamer.succeeds().await;
            world.holds_exactly(&expected(0, ROWS)).await;
            collector.stop().await;
        }
    }
}

#[tokio::test]
async fn postgres_takes_no_writes_for_a_while() {
    const ROWS: u64 = 6_000;
    let world = World::new().await;
    let collector = world.collector();
    some_are_stored(&world).await;
    execute(&world, "ALTER SYSTEM SET default_transaction_read_only = on").await;
    execute(&world, "SELECT pg_reload_conf()").await;
    let path = world.file("a.csv", file(ROWS));
    let mut streamer = world.slow_streamer(path.to_str().unwrap());
    eventually("it is refused", PATIENCE, async || collector.log().contains("read-only transaction")).await;
    // One that starts now waits as well.
    let second = world.collector();
    eventually("a second one waits", PATIENCE, async || second.log().contains("waiting for the database")).await;
    execute(&world, "SET default_transaction_read_only = off; ALTER SYSTEM RESET default_transaction_read_only").await;
    execute(&world, "SELECT pg_reload_conf()").await;
    streamer.succeeds().await;
    world.holds_exactly(&expected(0, ROWS)).await;
    collector.stop().await;
    second.stop().await;
}

/// The file's first rows are stored, before the server takes no more.
async fn some_are_stored(world: &World) {
    let path = world.file("a.csv", file(500));
    world.start("streamer", &[("CSV_FILE", path.to_str().unwrap())]).succeeds().await;
    world.until_accounted(500).await;
}

/// As superuser.
async fn execute(world: &World, statements: &str) {
    let (client, connection) = world.postgres.superuser_config().connect(tokio_postgres::NoTls).await.unwrap();
    let statements: Vec<_> = statements.split("; ").collect();
    let work = async {
        for statement in statements {
            client.batch_execute(statement).await.unwrap();
        }
    };
    tokio::select! { () = work => (), _ = connection => panic!("PostgreSQL closed the connection") }
}

/// Every batch is answered as by a full disk.
async fn refuse(world: &World) {
    let function = "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION \
         'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$";
    for statement in [function, "CREATE TRIGGER full_disk BEFORE INSERT ON ledger EXECUTE FUNCTION full_disk()"] {
        let (client, connection) = world.postgres.superuser_config().connect(tokio_postgres::NoTls).await.unwrap();
        tokio::select! { done = client.batch_execute(statement) => done.unwrap(), _ = connection => panic!("closed") }
    }
}

/// A small file system that everything the database makes from now on lies in. A shell holds it and takes it away when
/// the test is gone, however it ends.
struct Disk {
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    _shell: Child,
}

impl Disk {
    /// `None` where this user may not mount.
    async fn small(world: &World) -> Option<Disk> {
        const SCRIPT: &str = r#"
            trap '' HUP INT TERM
            mkdir "$1" && mount -t tmpfs -o size=5m,mode=711 tmpfs "$1" && mkdir -m 700 "$1/space" || exit 1
            trap 'umount -l "$1"' EXIT
            chown --reference="$2" "$1/space"
            echo small
            while read -r size; do mount -o "remount,size=$size" "$1" && echo "$size"; done"#;
        let data: PathBuf = world.postgres.log().with_file_name("data");
        let place = data.with_file_name("disk");
        let mut shell = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "disk"])
            .args([&place, &data])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        let (orders, answers) = (shell.stdin.take().unwrap(), shell.stdout.take().unwrap());
        let mut answers = BufReader::new(answers).lines();
        answers.next_line().await.unwrap()?;
        let space: &Path = &place.join("space");
        execute(world, &format!("CREATE TABLESPACE small LOCATION '{}'", space.display())).await;
        execute(
            world,
            "GRANT CREATE ON TABLESPACE small TO telemetry; ALTER DATABASE telemetry SET default_tablespace = small",
        )
        .await;
        Some(Disk { orders, answers, _shell: shell })
    }

    async fn enlarge(&mut self) {
        self.orders.write_all(b"512m\n").await.unwrap();
        assert_eq!(self.answers.next_line().await.unwrap().as_deref(), Some("512m"));
    }
}

/// One row is larger than etcd takes, and so would be the dead letter that keeps all of it. Those sent behind it are stored, in
/// batches that grow again.
#[tokio::test]
async fn etcd_takes_no_row_so_large() {
    const LABEL: usize = 30_000;
    let world = World::with_etcd(|options| options.flags.push("--max-request-bytes=16384".to_owned())).await;
    let large = lines(1_000, 1_001);
    let large = format!("{}\"note=\"\"{}\"\"\"\n", large.trim_end(), "x".repeat(LABEL));
    let path = world.file("a.csv", part(0, 150) + &large + &lines(150, 649));
    let collector = world.collector();
    let mut streamer = world.start("streamer", &[("CSV_FILE", path.to_str().unwrap()), ("BATCH_SIZE", "50")]);
    streamer.succeeds().await;
    world.until_accounted(650).await;
    world.is_drained().await;
    assert_eq!(world.sums().await, [650, 649, 1, 0]);
    assert!(world.samples().await == expected(0, 649));
    let behind = world.rows("SELECT count(*) FROM ledger WHERE first_line > 152").await.unwrap();
    assert!(behind[0].get::<_, i64>(0) < 200, "500 rows in {} batches", behind[0].get::<_, i64>(0));
    let letters = world.rows("SELECT reason, line, length(raw)::bigint, raw_bytes FROM dead_letters").await.unwrap();
    let [letter] = &letters[..] else { panic!("{} dead letters", letters.len()) };
    assert!(letter.get::<_, String>(0).contains("too large for etcd"), "{letter:?}");
    assert_eq!(letter.get::<_, i64>(1), 152, "behind the header and 150 rows");
    let (kept, whole) = (letter.get::<_, i64>(2), letter.get::<_, i64>(3));
    assert!((1..16_384).contains(&kept) && whole > LABEL as i64, "{kept} bytes of {whole}");
    world.lanes_are_whole().await;
    collector.stop().await;
}
