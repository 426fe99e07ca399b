//! The scripts for roles of least privilege, on real servers: what each role may, and what it may not.

use std::process::Stdio;

use nexus_common::testing::eventually;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio_postgres::NoTls;

use crate::rows::{expected, file};
use crate::world::{PATIENCE, World, until_ready};

const POSTGRES: &str = include_str!("../../../scripts/roles-postgres.sql");
const PASSWORD: &str = "of-this-test";

impl World {
    /// What PostgreSQL answers a role; the code of a refusal.
    async fn as_role(&self, role: &str, sql: &str) -> Result<(), String> {
        let mut config = self.postgres.owner_config();
        config.user(role).password(PASSWORD);
        let (client, connection) = config.connect(NoTls).await.unwrap();
        tokio::select! {
            done = client.batch_execute(sql) => {
                done.map_err(|error| error.code().map_or_else(|| error.to_string(), |code| code.code().to_owned()))
            }
            ended = connection => panic!("{ended:?}"),
        }
    }

    pub(crate) async fn as_superuser(&self, sql: &str) {
        let (client, connection) = self.postgres.superuser_config().connect(NoTls).await.unwrap();
        tokio::select! {
            done = client.batch_execute(sql) => done.unwrap(),
            ended = connection => panic!("{ended:?}"),
        }
    }

    pub(crate) async fn give_roles(&self) {
        // Twice: running it again is harmless.
        for _ in 0..2 {
            self.as_superuser(POSTGRES).await;
        }
        for role in ["migrate", "collector", "gateway", "operator"] {
            self.as_superuser(&format!("ALTER ROLE nexus_{role} PASSWORD '{PASSWORD}'")).await;
        }
        // The test's own eyes.
        self.as_superuser(&format!("GRANT nexus_migrate TO {}", self.postgres.options().user)).await;
    }
}

fn of(role: &'static str) -> Vec<(&'static str, &'static str)> {
    vec![("DB_USER", role), ("DB_PASSWORD", PASSWORD), ("DB_MIGRATE", "false")]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_component_works_under_its_postgresql_role_and_may_no_more() {
    let world = World::new().await;
    nexus_common::db::migrate(&world.postgres.config()).await.unwrap();
    world.give_roles().await;

    // The pipeline under its roles: partitions are made, rollups and conditions too, rows are refused and redriven.
    let often = [("CONDITIONS_INTERVAL", "200ms"), ("ROLLUP_SETTLE", "200ms")];
    let collector = world.start("collector", &[&of("nexus_collector")[..], &often].concat());
    let keys = world.folder.path().join("keys").to_str().unwrap().to_owned();
    let made = world.nexus(&["keys", "new", "--name", "olga", "--role", "operator", "--file", &keys]).await;
    let key = made.out.trim().to_owned();
    let port = nexus_common::servers::free_port().unwrap().to_string();
    let mut gateway = of("nexus_gateway");
    gateway.extend([
        ("PORT", port.as_str()),
        ("API_KEYS_FILE", keys.as_str()),
        ("ENABLE_OPERATOR_ROUTES", "true"),
        ("OPERATOR_DB_USER", "nexus_operator"),
        ("OPERATOR_DB_PASSWORD", PASSWORD),
    ]);
    let gateway = world.start("gateway", &gateway);
    until_ready(&port).await;
    let refuse = "ALTER TABLE samples ADD CONSTRAINT not_evil CHECK (energy_millijoules::bigint % 10 <> 3)";
    assert_eq!(world.as_role("nexus_migrate", refuse).await, Ok(()));
    let path = world.file("a.csv", file(500));
    world.publish(&path, &[]).await;
    world.until_accounted(500).await;
    assert_eq!(world.as_role("nexus_migrate", "ALTER TABLE samples DROP CONSTRAINT not_evil").await, Ok(()));
    let client = reqwest::Client::new();
    let post = async |path: &str, body: &str| {
        let request = client.post(format!("http://127.0.0.1:{port}/api/v1/dead-letters/{path}"));
        let request =
            request.header("content-type", "application/json").header("authorization", format!("Bearer {key}"));
        let answer = request.body(body.to_owned()).send().await.unwrap();
        let (status, body) = (answer.status(), answer.text().await.unwrap());
        assert_eq!(status, 200, "{path}: {body}");
    };
    post("redrive", r#"{"which": {"all": true}}"#).await;
    world.until_accounted(550).await;
    world.values_are(&expected(0, 500)).await;
    post("purge", r#"{"which": {"all": true}, "expect": 50}"#).await;
    let rolled = "SELECT count(*) > 0 FROM rollup_hours";
    eventually("hours are rolled up", PATIENCE, async || world.ask(rolled).await == Some(true)).await;
    // The commands as well, under the operator's role.
    let audit = world.nexus_with(&["audit"], &of("nexus_operator")).await;
    assert_eq!(audit.status, 0, "{} {}", audit.out, audit.err);
    let listed = world.nexus_with(&["dlq", "list"], &of("nexus_operator")).await;
    assert!(listed.status == 0 && listed.out.contains("purged"), "{} {}", listed.out, listed.err);
    assert!(!collector.log().contains("permission denied"), "{}", collector.log());
    assert!(!gateway.log().contains("permission denied"), "{}", gateway.log());

    // And no more than that.
    const DENIED: &str = "42501";
    for (role, sql) in [
        ("nexus_gateway", "BEGIN READ WRITE; INSERT INTO clusters (name) VALUES ('x')"),
        ("nexus_gateway", "BEGIN READ WRITE; DELETE FROM samples"),
        ("nexus_gateway", "BEGIN READ WRITE; CREATE TABLE x (y int)"),
        ("nexus_operator", "DELETE FROM dead_letters"),
        ("nexus_operator", "UPDATE dead_letters SET reason = ''"),
        ("nexus_operator", "DELETE FROM operator_actions"),
        ("nexus_operator", "UPDATE operator_actions SET actor = 'somebody else'"),
        ("nexus_operator", "DELETE FROM samples"),
        ("nexus_operator", "CREATE TABLE x (y int)"),
        ("nexus_collector", "SELECT FROM operator_actions"),
        ("nexus_collector", "UPDATE dead_letters SET raw = ''"),
        ("nexus_collector", "DELETE FROM dead_letters"),
        ("nexus_collector", "DELETE FROM events"),
        ("nexus_collector", "INSERT INTO returns (cluster_id, kind, row_count) VALUES (1, 'redrive', 1)"),
        ("nexus_collector", "DROP TABLE gpus"),
    ] {
        assert_eq!(world.as_role(role, sql).await, Err(DENIED.to_owned()), "{role}: {sql}");
    }

    // An upgrade under the role that owns the schema: also of partitions that the collector made, and of tables to come.
    let mut owner = world.postgres.config();
    (owner.user, owner.password) = ("nexus_migrate".to_owned(), PASSWORD.to_owned().into());
    assert_eq!(nexus_common::db::migrate(&owner).await.unwrap(), 0);
    let upgrade = "ALTER TABLE samples ADD COLUMN to_come double precision; CREATE TABLE to_come (x int)";
    assert_eq!(world.as_role("nexus_migrate", upgrade).await, Ok(()));
    assert_eq!(world.as_role("nexus_gateway", "SELECT FROM to_come").await, Ok(()));
    assert_eq!(world.as_role("nexus_collector", "INSERT INTO to_come VALUES (1)").await, Ok(()));
    collector.stop().await;
    gateway.stop().await;
}

/// etcdctl against a world's etcd.
async fn etcdctl(world: &World, user: Option<&str>, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new("etcdctl");
    command.args(arguments).env("ETCDCTL_API", "3").env("ETCDCTL_ENDPOINTS", world.etcd.endpoint());
    if let Some(user) = user {
        command.env("ETCDCTL_USER", format!("{user}:{PASSWORD}"));
    }
    let output = command.output().await.unwrap();
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(out.into_owned()) } else { Err(error.into_owned()) }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_component_has_its_keys_in_etcd_and_no_others() {
    let world = World::new().await;
    let root = env!("CARGO_MANIFEST_DIR").trim_end_matches("/nexus");
    for _ in 0..2 {
        let script = Command::new("bash")
            .arg(format!("{root}/scripts/roles-etcd.sh"))
            .env("ETCDCTL_ENDPOINTS", world.etcd.endpoint())
            .env("NEXUS_STREAMER_PASSWORD", PASSWORD)
            .env("NEXUS_COLLECTOR_PASSWORD", PASSWORD)
            .env("NEXUS_GATEWAY_PASSWORD", PASSWORD)
            .env("NEXUS_OPERATOR_PASSWORD", PASSWORD)
            .output()
            .await
            .unwrap();
        assert!(script.status.success(), "{}", String::from_utf8_lossy(&script.stderr));
    }
    etcdctl(&world, None, &["role", "add", "root"]).await.unwrap();
    let mut add = Command::new("etcdctl");
    add.args(["user", "add", "root", "--interactive=false"]).env("ETCDCTL_API", "3");
    add.env("ETCDCTL_ENDPOINTS", world.etcd.endpoint()).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut add = add.spawn().unwrap();
    add.stdin.take().unwrap().write_all(format!("{PASSWORD}\n").as_bytes()).await.unwrap();
    assert!(add.wait().await.unwrap().success());
    etcdctl(&world, None, &["user", "grant-role", "root", "root"]).await.unwrap();
    etcdctl(&world, None, &["auth", "enable"]).await.unwrap();

    let c = "/telemetry";
    for (family, streamer, collector, gateway, operator) in [
        ("queue/c/1", "rw", "rw", "r", "rw"),
        ("batch/c/1", "rw", "rw", "r", "rw"),
        ("lane/c/1", "rw", "r", "r", "rw"),
        ("claim/c/1", "", "rw", "r", "r"),
        ("attempt/c/1", "", "rw", "r", "r"),
        ("feed/c", "", "rw", "r", "r"),
        ("member/c/streamer/1", "rw", "rw", "rw", "rw"),
        ("store", "", "", "rw", "rw"),
        ("other", "", "", "", ""),
    ] {
        for (user, may) in [
            ("nexus-streamer", streamer),
            ("nexus-collector", collector),
            ("nexus-gateway", gateway),
            ("nexus-operator", operator),
        ] {
            let key = format!("{c}/{family}");
            let put = etcdctl(&world, Some(user), &["put", &key, "x"]).await;
            let got = etcdctl(&world, Some(user), &["get", &key]).await;
            let deleted = etcdctl(&world, Some(user), &["del", &key]).await;
            for (what, answer, allowed) in
                [("put", put, may.contains('w')), ("get", got, may.contains('r')), ("del", deleted, may.contains('w'))]
            {
                match answer {
                    Ok(_) => assert!(allowed, "{user} may {what} {key}"),
                    Err(error) => {
                        assert!(!allowed && error.contains("permission denied"), "{user} {what} {key}: {error}");
                    }
                }
            }
        }
    }
    for user in ["nexus-streamer", "nexus-collector", "nexus-gateway", "nexus-operator"] {
        // What a component asks to see whether etcd answers, and the lease that its session needs.
        assert!(etcdctl(&world, Some(user), &["get", "health"]).await.is_ok(), "{user}");
        assert!(etcdctl(&world, Some(user), &["lease", "grant", "60"]).await.is_ok(), "{user}");
        assert!(etcdctl(&world, Some(user), &["user", "list"]).await.is_err(), "{user}");
        assert!(etcdctl(&world, Some(user), &["get", "/", "--prefix"]).await.is_err(), "{user}");
    }
    assert!(etcdctl(&world, None, &["get", "/telemetry/queue/c/1"]).await.is_err(), "nobody");
}
