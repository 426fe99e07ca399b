//! Least privilege, all of it at once: real components as the users of `scripts/roles-etcd.sh` and the roles of
//! `scripts/roles-postgres.sql`, over TLS. What each may do is enough for a file's whole way, and no more.

use std::process::Stdio;

use nexus_common::db::{self, SslMode};
use nexus_common::identity::{Holder, Key, Role};
use nexus_common::servers::free_port;
use nexus_common::testing::eventually;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio_postgres::NoTls;

use crate::process::Process;
use crate::rows::{file, part};
use crate::stack::{PATIENCE, Stack, keeps_secrets};

const POSTGRES: &str = include_str!("../../../scripts/roles-postgres.sql");
const ETCD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/roles-etcd.sh");
const USERS: [&str; 4] = ["streamer", "collector", "gateway", "operator"];
const ROOT: &str = "root:the-root's";

/// Each has a password of its own in each server.
fn password(server: &str, user: &str) -> String {
    format!("{user}-in-{server}")
}

impl Stack {
    /// Everybody is asked who he is, and may do what his role may.
    async fn give_roles(&self) {
        db::migrate(&self.as_role(&self.postgres.options().user, &self.postgres.options().password)).await.unwrap();
        self.as_superuser(POSTGRES).await;
        for user in ["migrate", "collector", "gateway", "operator"] {
            let word = password("postgres", user);
            self.as_superuser(&format!("ALTER ROLE nexus_{user} PASSWORD '{word}'")).await;
            self.write(&format!("postgres-{user}"), word);
        }
        self.roles_etcd(None).await;
        for user in USERS {
            self.write(&format!("etcd-{user}"), password("etcd", user));
        }
        self.etcdctl(None, &["role", "add", "root"]).await.unwrap();
        let mut add = self.etcd_program("etcdctl", None);
        add.args(["user", "add", "root", "--interactive=false"]).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut add = add.spawn().unwrap();
        add.stdin.take().unwrap().write_all(format!("{}\n", &ROOT["root:".len()..]).as_bytes()).await.unwrap();
        assert!(add.wait().await.unwrap().success());
        self.etcdctl(None, &["user", "grant-role", "root", "root"]).await.unwrap();
        self.etcdctl(None, &["auth", "enable"]).await.unwrap();
    }

    async fn roles_etcd(&self, user: Option<&str>) {
        let mut script = self.etcd_program("bash", user);
        script.arg(ETCD);
        for user in USERS {
            script.env(format!("NEXUS_{}_PASSWORD", user.to_uppercase()), password("etcd", user));
        }
        let done = script.output().await.unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    fn etcd_program(&self, program: &str, user: Option<&str>) -> Command {
        let mut command = Command::new(program);
        command.env("ETCDCTL_API", "3").env("ETCDCTL_ENDPOINTS", self.etcd.endpoint());
        for (variable, name) in
            [("ETCDCTL_CACERT", "ca.pem"), ("ETCDCTL_CERT", "client.pem"), ("ETCDCTL_KEY", "client.key")]
        {
            command.env(variable, self.path(name));
        }
        command.envs(user.map(|user| ("ETCDCTL_USER", user)));
        command
    }

    async fn etcdctl(&self, user: Option<&str>, arguments: &[&str]) -> Result<String, String> {
        let output = self.etcd_program("etcdctl", user).args(arguments).output().await.unwrap();
        let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if output.status.success() { Ok(out.into_owned()) } else { Err(error.into_owned()) }
    }

    /// The database as a role comes to it.
    fn as_role(&self, role: &str, word: &str) -> db::Config {
        db::Config {
            user: role.to_owned(),
            password: word.to_owned().into(),
            ssl_mode: SslMode::VerifyFull,
            ca_file: Some(self.path("ca.pem")),
            cert_file: Some(self.path("client.pem")),
            key_file: Some(self.path("client.key")),
            ..self.postgres.config()
        }
    }

    /// What PostgreSQL answers a role; the code of a refusal.
    async fn sql(&self, user: &str, sql: &str) -> Result<(), String> {
        let config = self.as_role(&format!("nexus_{user}"), &password("postgres", user));
        let client = db::pool(&config, 1).unwrap().get().await.unwrap();
        let done = client.batch_execute(sql).await;
        done.map_err(|error| error.code().map_or_else(|| error.to_string(), |code| code.code().to_owned()))
    }

    async fn as_superuser(&self, sql: &str) {
        let (client, connection) = self.postgres.superuser_config().connect(NoTls).await.unwrap();
        tokio::select! {
            done = client.batch_execute(sql) => done.unwrap(),
            ended = connection => panic!("{ended:?}"),
        }
    }

    /// A component or a command as one of these users, in both servers.
    fn start_as(&self, user: &str, arguments: &[&str], other: &[(&'static str, &str)]) -> Process {
        let file = |name: String| self.path(&name).display().to_string();
        let (etcd, postgres) = (file(format!("etcd-{user}")), file(format!("postgres-{user}")));
        let (in_etcd, in_postgres) = (format!("nexus-{user}"), format!("nexus_{user}"));
        let mut all = vec![("ETCD_USER", in_etcd.as_str()), ("ETCD_PASSWORD_FILE", &etcd), ("DB_MIGRATE", "false")];
        // A streamer knows no database.
        if user != "streamer" {
            all.extend([("DB_USER", in_postgres.as_str()), ("DB_PASSWORD_FILE", &postgres)]);
        }
        // Compacting is root's: see the script.
        all.push(("ETCD_UPKEEP", "false"));
        all.extend(other);
        self.start(arguments, &all)
    }

    async fn publish(&self, name: &str, content: String) {
        let path = self.write(name, content);
        self.start_as("streamer", &["streamer"], &[("CSV_FILE", path.to_str().unwrap())]).succeeds().await;
    }
}

#[tokio::test]
async fn a_file_goes_its_way_under_least_privilege_and_nobody_may_more() {
    let stack = Stack::new().await;
    stack.give_roles().await;
    let collector =
        stack.start_as("collector", &["collector"], &[("CONDITIONS_INTERVAL", "200ms"), ("ROLLUP_SETTLE", "200ms")]);
    let gateway = stack.start_as("gateway", &["gateway"], &[]);
    stack.until_ready().await;

    // A tenth of the rows is refused.
    let refuse = "ALTER TABLE samples ADD CONSTRAINT not_evil CHECK (energy_millijoules::bigint % 10 <> 3)";
    assert_eq!(stack.sql("migrate", refuse).await, Ok(()));
    stack.publish("a.csv", file(800)).await;
    stack.until_accounted(800).await;
    assert_eq!(stack.sql("migrate", "ALTER TABLE samples DROP CONSTRAINT not_evil").await, Ok(()));
    // After an upgrade the scripts are run again, beside what runs.
    stack.roles_etcd(Some(ROOT)).await;
    stack.as_superuser(POSTGRES).await;

    // Operators send them again: some over HTTP, at a gateway that may publish, the others from the command line.
    let key = Key::new(Role::Operator);
    let keys = stack.write("keys", format!("{}\n", Holder::new("olga", Role::Operator, &key, None).unwrap()));
    let port = free_port().unwrap();
    let (file_of_etcd, word) = (stack.path("etcd-operator"), stack.path("postgres-operator"));
    let desk = stack.start_as(
        "gateway",
        &["gateway"],
        &[
            ("PORT", &port.to_string()),
            ("API_KEYS_FILE", keys.to_str().unwrap()),
            ("ENABLE_OPERATOR_ROUTES", "true"),
            ("ETCD_USER", "nexus-operator"),
            ("ETCD_PASSWORD_FILE", file_of_etcd.to_str().unwrap()),
            ("OPERATOR_DB_USER", "nexus_operator"),
            ("OPERATOR_DB_PASSWORD_FILE", word.to_str().unwrap()),
        ],
    );
    eventually("the operators' gateway is ready", PATIENCE, async || {
        stack.ask(port, "GET /ready", None, "").await.is_some_and(|(head, _)| head.starts_with("HTTP/1.1 200"))
    })
    .await;
    let acts = async |query: &str| -> Value {
        let question = json!({ "query": format!("mutation {{ {query} }}") }).to_string();
        let (head, answer) = stack.ask(port, "POST /graphql", Some(&key), &question).await.unwrap();
        let answer = answer.unwrap_or_else(|| panic!("{head}"));
        assert_eq!(answer["errors"], Value::Null, "{answer}");
        answer["data"].clone()
    };
    let redriven = acts("redrive_dead_letters(which: {all: true}, limit: 30) { letters }").await;
    assert_eq!(redriven["redrive_dead_letters"]["letters"], 30);
    stack.start_as("operator", &["dlq", "redrive", "--all"], &[]).succeeds().await;
    stack.until_accounted(880).await;
    let purged = acts("purge_dead_letters(which: {all: true}, expect: 80) { letters }").await;
    assert_eq!(purged["purge_dead_letters"]["letters"], 80);

    // Residue 0: as the gateway tells it, and as the operator's own look finds it. Every value is the file's.
    let (_, audit) = stack.get("/api/v1/audit").await.unwrap();
    let audit = audit.unwrap();
    let total = &audit["total"];
    assert_eq!(
        (&audit["balanced"], &total["residue"], &total["stored"]),
        (&json!(true), &json!(0), &json!(800)),
        "{audit}"
    );
    assert_eq!((&total["dead"], &total["redriven"], &total["purged"]), (&json!(80), &json!(80), &json!(80)), "{audit}");
    stack.start_as("operator", &["audit"], &[]).succeeds().await;
    for gpu in 0..16 {
        let expected: Vec<u64> = (0..800).filter(|row| row % 16 == gpu).collect();
        eventually(format!("all values of GPU {gpu} are answered"), PATIENCE, async || {
            stack.values(&format!("host-{:03}", gpu / 8), gpu % 8).await == expected
        })
        .await;
    }
    for command in [&["members"][..], &["actions"], &["dlq", "list"], &["queue", "stats", "--seconds", "100ms"]] {
        stack.start_as("operator", command, &[]).succeeds().await;
    }

    // Whoever has the gateway has no more than its eyes: not on what is stored ...
    const DENIED: &str = "42501";
    for sql in [
        "INSERT INTO samples (gpu_id, ts, power_watts) SELECT id, now(), 1 FROM gpus LIMIT 1",
        "UPDATE samples SET power_watts = 1",
        "DELETE FROM samples",
        "UPDATE gpu_latest SET power_watts = 1",
        "DELETE FROM ledger",
        "UPDATE dead_letters SET raw = ''",
        "INSERT INTO operator_actions (cluster_id, actor, action) SELECT id, 'x', 'purge' FROM clusters",
        "DROP TABLE samples",
    ] {
        let written = stack.sql("gateway", &format!("BEGIN READ WRITE; {sql}")).await;
        assert_eq!(written, Err(DENIED.to_owned()), "{sql}");
    }
    // ... nor on what waits in the queue: real messages, which are there still when it has tried.
    collector.stop().await;
    stack.publish("b.csv", part(800, 816)).await;
    let queue = "/telemetry/queue/";
    let eyes = format!("nexus-gateway:{}", password("etcd", "gateway"));
    let listed = stack.etcdctl(Some(&eyes), &["get", queue, "--prefix", "--keys-only"]).await.unwrap();
    let message = listed.lines().find(|line| line.starts_with(queue)).unwrap().to_owned();
    for family in ["queue", "batch", "lane", "claim", "attempt", "feed"] {
        let other = message.replace("/queue/", &format!("/{family}/"));
        for attempt in
            [&["del", &other][..], &["put", &other, "x"], &["del", &format!("/telemetry/{family}/"), "--prefix"]]
        {
            let refused = stack.etcdctl(Some(&eyes), attempt).await.unwrap_err();
            assert!(refused.contains("permission denied"), "{attempt:?}: {refused}");
        }
    }
    let again = stack.etcdctl(Some(&eyes), &["get", queue, "--prefix", "--keys-only"]).await.unwrap();
    assert_eq!(again, listed);
    // Whoever comes without a password comes with his certificate's name, which etcd does not know.
    assert!(stack.etcdctl(None, &["get", &message]).await.is_err());
    let collector = stack.start_as("collector", &["collector"], &[]);
    stack.until_accounted(896).await;
    stack.start_as("operator", &["audit"], &[]).succeeds().await;

    for process in [&collector, &gateway, &desk] {
        let log = process.log();
        assert!(!log.contains("permission denied") && !log.contains("PermissionDenied"), "{log}");
        keeps_secrets(&log, stack.folder.path());
        for user in USERS {
            assert!(!log.contains(&password("etcd", user)) && !log.contains(&password("postgres", user)), "{log}");
        }
    }
    for process in [collector, gateway, desk] {
        process.stop().await;
    }
}
