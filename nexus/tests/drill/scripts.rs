//! What the scripts refuse, and what they keep.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use nexus_common::testing::{Authority, etcd_with, eventually, folder};
use tempfile::TempDir;

use crate::plant::{Plant, Said, account, owned, run, scripts_in};
use crate::prometheus::complaints;
use crate::world::PATIENCE;

/// The scripts, and a folder for backups.
struct Bench {
    folder: TempDir,
    scripts: PathBuf,
}

impl Bench {
    fn new() -> Bench {
        let folder = folder();
        let scripts = scripts_in(folder.path());
        fs::create_dir(folder.path().join("backups")).unwrap();
        Bench { folder, scripts }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn run(&self, script: &str, arguments: &[&str]) -> Said {
        self.run_with(script, arguments, &[]).await
    }

    async fn run_with(&self, script: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Said {
        let backups = self.path("backups");
        let backups = [("BACKUP_DIR", backups.to_str().unwrap())];
        run(&self.scripts.join(script), None, arguments, &[&backups, environment].concat()).await
    }
}

#[test]
fn shellcheck_finds_nothing() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let names = ["lib.sh", "etcd.sh", "postgres.sh", "wal.sh", "restore-etcd.sh", "restore-postgres.sh"];
    let scripts = names.map(|name| format!("scripts/backup/{name}"));
    let output = Command::new("shellcheck").arg("-x").args(scripts).current_dir(root).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[tokio::test]
async fn a_segment_is_archived_once_and_never_replaced() {
    let bench = Bench::new();
    let name = "000000010000000000000007";
    let segment = bench.path(name);
    let segment = segment.to_str().unwrap();
    fs::write(segment, vec![7; 1 << 20]).unwrap();
    for _ in 0..2 {
        assert_eq!(bench.run("wal.sh", &[segment, name]).await.status, 0);
    }
    let fetched = bench.path("fetched");
    assert_eq!(bench.run("wal.sh", &["--fetch", name, fetched.to_str().unwrap()]).await.status, 0);
    assert_eq!(fs::read(&fetched).unwrap(), fs::read(segment).unwrap());
    // Another server's.
    fs::write(segment, vec![8; 1 << 20]).unwrap();
    let refused = bench.run("wal.sh", &[segment, name]).await;
    assert!(refused.status == 1 && refused.text.contains("REFUSED"), "{}", refused.text);
    assert_eq!(bench.run("wal.sh", &["--fetch", name, fetched.to_str().unwrap()]).await.status, 0);
    assert_eq!(fs::read(&fetched).unwrap(), vec![7; 1 << 20]);
    // What is not there is the end of the log, and no word about it.
    let end = bench.run("wal.sh", &["--fetch", "000000010000000000000008", fetched.to_str().unwrap()]).await;
    assert_eq!((end.status, end.text.as_str()), (1, ""));
    let nowhere = bench.run("wal.sh", &[segment, "../x"]).await;
    assert!(nowhere.status == 1 && nowhere.text.contains("no name of a segment"), "{}", nowhere.text);
    assert_eq!(fs::read_dir(bench.path("backups/wal")).unwrap().count(), 1, "something was left");
}

/// PostgreSQL takes whatever is not above 125 for the end of the log, and goes on as a server that has everything.
#[tokio::test]
async fn what_cannot_be_fetched_is_not_the_end_of_the_log() {
    let bench = Bench::new();
    let name = "000000010000000000000007";
    let (segment, fetched) = (bench.path(name), bench.path("fetched"));
    let fetch = async |name: &str| {
        let said = bench.run("wal.sh", &["--fetch", name, fetched.to_str().unwrap()]).await;
        assert!(said.status == 0 || !fetched.exists(), "half of it was left");
        said
    };
    let nowhere = fetch(name).await;
    assert!(nowhere.status == 200 && nowhere.text.contains("cannot look into"), "{nowhere:?}");

    // Bytes that do not repeat: gzip tells the same of a run of equal ones in several ways.
    let bytes: Vec<u8> = (0..1_u32 << 18).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    fs::write(&segment, &bytes).unwrap();
    assert_eq!(bench.run("wal.sh", &[segment.to_str().unwrap(), name]).await.status, 0);
    let archived = bench.path("backups/wal").join(format!("{name}.gz"));
    let whole = fs::read(&archived).unwrap();
    let broken = async |how: &str| {
        let said = fetch(name).await;
        assert!(said.status == 200 && said.text.contains("cannot be brought back whole"), "{how}: {said:?}");
        assert!(said.text.contains(name), "{how}: {said:?}");
    };
    flip(&archived);
    broken("a byte flipped").await;
    for length in [whole.len() - 1, whole.len() / 2, 0] {
        fs::write(&archived, &whole[..length]).unwrap();
        broken("truncated").await;
    }
    fs::remove_file(&archived).unwrap();
    symlink("nowhere", &archived).unwrap();
    broken("listed, and not to be had").await;
    fs::remove_file(&archived).unwrap();
    assert_eq!(fetch(name).await.status, 1, "really not there");
    fs::write(&archived, &whole).unwrap();
    assert_eq!(fetch(name).await.status, 0);
    assert!(fs::read(&fetched).unwrap() == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_ends_at_a_broken_segment_and_goes_on_when_it_is_whole() {
    let mut plant = Plant::new().await;
    plant.back_up_postgres().await;
    plant.archives().await;
    let archived = plant.newest_segment();
    let whole = fs::read(&archived).unwrap();
    fs::write(&archived, &whole[..whole.len() / 2]).unwrap();
    plant.destroy_postgres().await;
    let log = plant.tries_to_restore_postgres().await;
    let name = archived.file_stem().unwrap().to_str().unwrap();
    let told =
        format!("FATAL:  could not restore file \"{name}\" from archive: child process exited with exit code 200");
    assert!(log.contains(&told) && !log.contains("archive recovery complete"), "{log}");
    assert!(log.contains("cannot be brought back whole"), "{log}");
    // From another copy of the archive.
    fs::write(&archived, &whole).unwrap();
    plant.postgres_takes_writes().await;
}

/// By the components' own variables.
#[tokio::test]
async fn a_snapshot_is_taken_of_an_etcd_with_tls_and_users() {
    let (bench, authority) = (Bench::new(), Authority::new("ours"));
    let papers = authority.papers("etcd");
    let etcd = etcd_with(|options| options.papers = Some(papers)).await;
    fs::write(bench.path("ca.pem"), authority.pem()).unwrap();
    fs::write(bench.path("password"), "se:cret\n").unwrap();
    authority.issue("client").write(bench.folder.path(), "client");
    let file = |name: &str| bench.path(name).to_str().unwrap().to_owned();
    let (endpoint, files) = (etcd.endpoint(), ["ca.pem", "client.pem", "client.key", "password"].map(file));
    let [ca, cert, key, password] = files.each_ref().map(String::as_str);
    for arguments in [&["user", "add", "root:se:cret"][..], &["auth", "enable"]] {
        let mut etcdctl = Command::new("etcdctl");
        etcdctl.env("ETCDCTL_API", "3").args(["--endpoints", &format!("https://{endpoint}")]).args(arguments);
        let output = etcdctl.args(["--cacert", ca, "--cert", cert, "--key", key]).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }
    let tls =
        [("ETCD_ENDPOINTS", endpoint.as_str()), ("ETCD_CA_FILE", ca), ("ETCD_CERT_FILE", cert), ("ETCD_KEY_FILE", key)];
    let root = [&tls[..], &[("ETCD_USER", "root"), ("ETCD_PASSWORD_FILE", password)]].concat();
    let said = bench.run_with("etcd.sh", &[], &root).await;
    assert_eq!(said.status, 0, "{}", said.text);
    let data = file("data");
    assert_eq!(bench.run("restore-etcd.sh", &["--data-dir", &data]).await.status, 0);
    assert!(Path::new(&data).join("member/snap/db").exists());
    // A snapshot holds everything: nobody else gets one.
    let wrong = [&tls[..], &[("ETCD_USER", "root"), ("ETCD_PASSWORD", "guessed")]].concat();
    let said = bench.run_with("etcd.sh", &[], &wrong).await;
    assert!(said.status == 1 && !said.text.contains("guessed"), "{}", said.text);
    assert_eq!(bench.run_with("etcd.sh", &[], &tls).await.status, 1);
    assert_eq!(fs::read_dir(bench.path("backups/etcd")).unwrap().count(), 3, "a snapshot, its hash and the lock");
}

#[tokio::test]
async fn nothing_is_restored_over_data_or_from_what_is_damaged() {
    let plant = Plant::new().await;
    let snapshot = plant.back_up_etcd().await;
    let base = plant.back_up_postgres().await;
    let restore = async |script: &str, by, arguments: &[&str]| plant.script(script, by, arguments, &[]).await;

    // Both servers run on their data.
    let etcd = plant.world.etcd.log().with_file_name("data");
    let said = restore("restore-etcd.sh", None, &["--data-dir", etcd.to_str().unwrap()]).await;
    assert!(said.status == 1 && said.text.contains("is not empty"), "{}", said.text);
    let postgres = plant.world.postgres.log().with_file_name("data");
    let said = restore("restore-postgres.sh", account(), &["--data-dir", postgres.to_str().unwrap()]).await;
    assert!(said.status == 1 && said.text.contains("is not empty"), "{}", said.text);

    let empty = plant.backups.join("empty");
    let empty = ["--data-dir", empty.to_str().unwrap()];
    let said = restore("restore-etcd.sh", None, &[empty[0], empty[1], "--before", "2020-01-01T00:00:00Z"]).await;
    assert!(said.status == 3 && said.text.contains("start etcd empty"), "{}", said.text);
    let said = restore("restore-postgres.sh", account(), &[empty[0], empty[1], "--time", "2020-01-01T00:00:00Z"]).await;
    assert!(said.status == 1 && said.text.contains("no base backup"), "{}", said.text);
    let said = restore("restore-postgres.sh", account(), &[empty[0], empty[1], "--time", "soon"]).await;
    assert!(said.status == 2 && said.text.contains("is no time"), "{}", said.text);

    // Beside the server in use nothing may get into its archive.
    for (name, beside) in [("instead", &[][..]), ("beside", &["--beside"][..])] {
        let folder = plant.backups.join(name);
        let arguments = [&["--data-dir", folder.to_str().unwrap()], beside].concat();
        let said = restore("restore-postgres.sh", account(), &arguments).await;
        assert_eq!(said.status, 0, "{}", said.text);
        let settings = fs::read_to_string(folder.join("postgresql.auto.conf")).unwrap();
        assert_eq!(settings.contains("\narchive_mode = off\n"), !beside.is_empty(), "{settings}");
    }

    // A byte in the middle.
    flip(&snapshot);
    let said = restore("restore-etcd.sh", None, &empty).await;
    assert!(said.status == 1 && said.text.contains("is damaged"), "{}", said.text);
    flip(&base.join("base/1/pg_filenode.map"));
    let said = restore("restore-postgres.sh", account(), &empty).await;
    assert!(said.status == 1 && said.text.contains("is damaged"), "{}", said.text);
    assert!(!Path::new(empty[1]).exists(), "something was restored");
}

#[tokio::test]
async fn the_doctor_tells_an_archive_that_fails() {
    let plant = Plant::new().await;
    plant.archives().await;
    let verdict = async || {
        let report = plant.world.nexus(&["doctor", "--json"]).await.json();
        let check =
            report["checks"].as_array().unwrap().iter().find(|check| check["name"] == "postgres archive").unwrap();
        check["verdict"].as_str().unwrap().to_owned()
    };
    // The server counts what it has archived a moment after that.
    eventually("it is well", PATIENCE, async || verdict().await == "ok").await;
    plant.break_the_archive().await;
    eventually("it is told", PATIENCE, async || verdict().await == "fail").await;
}

fn flip(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(file, bytes).unwrap();
}

#[tokio::test]
async fn old_backups_go_and_with_them_the_log_that_only_they_need() {
    let plant = Plant::new().await;
    let port = plant.world.postgres.port().to_string();
    let server =
        [("DB_HOST", "127.0.0.1"), ("DB_PORT", port.as_str()), ("DB_USER", "nexus_backup"), ("DB_PASSWORD", "b'ackup")];
    let first = plant.back_up_postgres().await;
    plant.archives().await;
    let second = plant.back_up_postgres().await;
    let segments = || {
        let names = fs::read_dir(plant.backups.join("wal")).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).filter(|name| name.len() == 27).collect();
        names.sort();
        names
    };
    let begins = |base: &Path| {
        let label = fs::read_to_string(base.join("backup_label")).unwrap();
        label.split("(file ").nth(1).unwrap()[..24].to_owned() + ".gz"
    };
    let (needed, before) = (begins(&second), segments());
    assert!(before.first().unwrap() < &needed, "{before:?}");

    let said = plant.script("postgres.sh", account(), &[], &[&server[..], &[("BACKUP_KEEP", "2")]].concat()).await;
    assert_eq!(said.status, 0, "{}", said.text);
    assert!(!first.exists() && second.exists());
    let left = segments();
    assert!(left.first().unwrap() >= &needed, "{left:?} where {needed} is needed");
    let missing: Vec<_> = before.iter().filter(|name| **name >= needed && !left.contains(name)).collect();
    assert_eq!(missing, Vec::<&String>::new());

    // A backup that fails leaves those before alone.
    let wrong = plant
        .script("postgres.sh", account(), &[], &[&server[..3], &[("DB_PASSWORD", "x"), ("BACKUP_KEEP", "1")]].concat())
        .await;
    assert!(wrong.status == 1 && wrong.text.contains("no base backup of"), "{}", wrong.text);
    assert!(second.exists());
    let none = plant.script("etcd.sh", None, &[], &[("ETCD_ENDPOINTS", "127.0.0.1:9")]).await;
    assert!(none.status == 1 && none.text.contains("no member of etcd is healthy"), "{}", none.text);
}

/// A restore to a point in time leaves the backups behind it to an old timeline: by name the oldest, and far ahead in the log.
#[tokio::test]
async fn the_log_is_kept_from_the_first_place_where_a_kept_backup_begins() {
    let plant = Plant::new().await;
    let first = plant.back_up_postgres().await;
    plant.archives().await;
    let left = plant.backups.join("postgres/base-20200101T000000Z");
    owned(&left);
    let label = "START WAL LOCATION: 0/40000028 (file 000000010000000000000040)\n";
    fs::write(left.join("backup_label"), label).unwrap();
    let wal = plant.backups.join("wal");
    // Two of the new timeline, and what wal.sh leaves when it is killed: long ago, and just now.
    let names = ["000000020000000000000001.gz", "00000002000000000000003A.gz"];
    let halves = [".00000001000000000000003B.4711", ".00000002.history.4712", ".00000001000000000000003C.4713"];
    for name in [&names[..], &halves].concat() {
        fs::write(wal.join(name), "").unwrap();
    }
    for name in &halves[..2] {
        let long_ago = SystemTime::now() - Duration::from_secs(25 * 3600);
        File::options().write(true).open(wal.join(name)).unwrap().set_modified(long_ago).unwrap();
    }
    let label = fs::read_to_string(first.join("backup_label")).unwrap();
    let needed = label.split("(file ").nth(1).unwrap()[8..24].to_owned();
    let listed = || {
        let names = fs::read_dir(&wal).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.len() == 27).collect::<BTreeSet<_>>()
    };
    let before = listed();
    assert!(before.iter().any(|name| name[8..24] < *needed) && before.iter().any(|name| name[8..24] == *needed));

    plant.back_up_postgres().await;
    assert!(left.exists() && first.exists());
    let after = listed();
    let expected: BTreeSet<_> = before.iter().filter(|name| name[8..24] >= *needed).cloned().collect();
    assert!(after.is_superset(&expected), "{after:?} where {expected:?} are needed");
    assert!(after.iter().all(|name| name[8..24] >= *needed), "{after:?} where {needed} is the first that is needed");
    assert_eq!(halves.map(|name| wal.join(name).exists()), [false, false, true]);
}

/// What is told of backups for a node exporter: whole, in Prometheus' format, and only of one that succeeded.
#[tokio::test]
async fn a_backup_tells_when_it_was_whole_and_one_that_fails_says_nothing() {
    let plant = Plant::new().await;
    let told = plant.backups.with_file_name("told");
    owned(&told);
    let (endpoint, port) = (plant.world.etcd.endpoint(), plant.world.postgres.port().to_string());
    let there = [("BACKUP_METRICS_DIR", told.to_str().unwrap())];
    let etcd = [&there[..], &[("ETCD_ENDPOINTS", &endpoint)]].concat();
    let server =
        [("DB_HOST", "127.0.0.1"), ("DB_PORT", port.as_str()), ("DB_USER", "nexus_backup"), ("DB_PASSWORD", "b'ackup")];
    let postgres = [&there[..], &server].concat();
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let before = now();
    for (script, by, environment) in [("etcd.sh", None, &etcd), ("postgres.sh", account(), &postgres)] {
        let said = plant.script(script, by, &[], environment).await;
        assert_eq!(said.status, 0, "{}", said.text);
    }
    let after = now();

    let mut names: Vec<_> = fs::read_dir(&told).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["nexus_backup_etcd.prom", "nexus_backup_postgres.prom"]);
    for kind in ["etcd", "postgres"] {
        let path = told.join(format!("nexus_backup_{kind}.prom"));
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o644,
            "whoever exports it is another user"
        );
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(complaints(&text).await, "", "promtool on {text}");
        let figures: Vec<(&str, u64)> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split_once(' ').unwrap())
            .map(|(series, value)| {
                (series.strip_suffix(&format!("{{kind=\"{kind}\"}}")).unwrap(), value.parse().unwrap())
            })
            .collect();
        let [(whole, at), (size, bytes), (duration, took)] = figures[..] else { panic!("{text}") };
        assert_eq!(
            [whole, size, duration],
            ["nexus_backup_last_success_timestamp_seconds", "nexus_backup_size_bytes", "nexus_backup_duration_seconds"]
        );
        assert!((before..=after).contains(&at) && took <= after - before, "{before} {after}: {text}");
        assert!(bytes > 4096, "{text}");
    }

    // One that fails leaves what was told.
    let contents =
        || ["etcd", "postgres"].map(|kind| fs::read(told.join(format!("nexus_backup_{kind}.prom"))).unwrap());
    let was = contents();
    let nowhere = [&there[..], &[("ETCD_ENDPOINTS", "127.0.0.1:9")]].concat();
    assert_eq!(plant.script("etcd.sh", None, &[], &nowhere).await.status, 1);
    let wrong = [&there[..], &server[..3], &[("DB_PASSWORD", "x")]].concat();
    assert_eq!(plant.script("postgres.sh", account(), &[], &wrong).await.status, 1);
    assert!(contents() == was, "a backup that failed was told of");

    // A folder that is not there costs no backup, and somebody reads why nobody is told.
    let gone = [("BACKUP_METRICS_DIR", "/no/such/folder"), ("ETCD_ENDPOINTS", endpoint.as_str())];
    let said = plant.script("etcd.sh", None, &[], &gone).await;
    assert!(said.status == 0 && said.text.contains("the backup is whole, and nobody is told"), "{}", said.text);
}
