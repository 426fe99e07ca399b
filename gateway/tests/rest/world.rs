//! A gateway over servers of its own, and a small fleet in its memory.

use std::net::SocketAddr;
use std::time::Duration;

use nexus_common::config::Conditions;
use nexus_common::identity::{Holder, Key, Role};
use nexus_common::testing::{TestEtcd, TestPostgres, etcd, postgres};
use nexus_common::{db, testing};
use nexus_gateway::Config;
use nexus_gateway::config::Bounds;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_postgres::{Client, NoTls};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::http::{Answer, request};

/// How long what has to come may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// How long a refusal may take, on a slow machine that is busy with other tests.
pub(crate) const QUICK: Duration = Duration::from_secs(20);

pub(crate) struct World {
    pub(crate) postgres: TestPostgres,
    pub(crate) etcd: TestEtcd,
    pub(crate) address: SocketAddr,
    /// Shown with every request.
    key: Option<(Key, TempDir)>,
    gateway: JoinSet<anyhow::Result<()>>,
    stop: CancellationToken,
    _stop: DropGuard,
}

impl World {
    /// With the fleet of [`FLEET`].
    pub(crate) async fn new() -> World {
        World::with(|_| ()).await
    }

    /// The same, configured otherwise.
    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> World {
        World::told("", change).await
    }

    /// The same, its database changed before the gateway looks at it.
    pub(crate) async fn told(statements: &str, change: impl FnOnce(&mut Config)) -> World {
        let postgres = postgres().await;
        db::migrate(&postgres.config()).await.unwrap();
        sql(&postgres, FLEET).await;
        sql(&postgres, statements).await;
        let world = World::over(postgres, change).await;
        testing::eventually("the gateway is ready", PATIENCE, async || world.get("/ready").await.status == 200).await;
        world
    }

    /// The same with keys, asked with an operator's.
    pub(crate) async fn keyed(statements: &str, change: impl FnOnce(&mut Config)) -> World {
        let (folder, key) = (testing::folder(), Key::new(Role::Operator));
        let (path, holder) = (folder.path().join("keys"), Holder::new("olga", Role::Operator, &key, None).unwrap());
        std::fs::write(&path, format!("{holder}\n")).unwrap();
        let keyed = |config: &mut Config| {
            config.access.api_keys_file = Some(path);
            change(config);
        };
        World { key: Some((key, folder)), ..World::told(statements, keyed).await }
    }

    /// Over a PostgreSQL as it is.
    pub(crate) async fn over(postgres: TestPostgres, change: impl FnOnce(&mut Config)) -> World {
        let etcd = etcd().await;
        let mut config = config(&postgres, &etcd);
        change(&mut config);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let mut gateway = JoinSet::new();
        gateway.spawn(nexus_gateway::run(config, listener, stop.clone()));
        World { postgres, etcd, address, key: None, gateway, stop: stop.clone(), _stop: stop.drop_guard() }
    }

    /// Asks the gateway to stop, and waits until it has.
    pub(crate) async fn stopped(&mut self) {
        self.stop.cancel();
        let ended = tokio::time::timeout(PATIENCE, self.gateway.join_next()).await;
        ended.expect("it stops").unwrap().unwrap().unwrap();
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[]).await
    }

    /// How the key is shown, where there is one.
    pub(crate) fn bearer(&self) -> Option<String> {
        self.key.as_ref().map(|(key, _)| format!("Bearer {}", key.reveal()))
    }

    /// With these headers, and the key where there is one.
    pub(crate) async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let bearer = self.bearer();
        let shown = bearer.as_deref().map(|bearer| ("Authorization", bearer));
        request(self.address, method, path, &[headers, shown.as_slice()].concat()).await
    }

    /// The JSON of an answer that has to be 200.
    pub(crate) async fn json(&self, path: &str) -> Value {
        let answer = self.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/json"), "{path}");
        answer.json()
    }

    /// The items of a list.
    pub(crate) async fn items(&self, path: &str) -> Vec<Value> {
        self.json(path).await["items"].as_array().unwrap_or_else(|| panic!("{path}: no list")).clone()
    }

    /// Changes the database, and waits until the gateway has seen the change: a cluster that was made with it is there,
    /// and gone once it is removed.
    pub(crate) async fn sql(&self, statements: &str) {
        sql(&self.postgres, &format!("{statements}; INSERT INTO clusters (name) VALUES ('marker')")).await;
        self.until_status("/api/v1/clusters/marker", 200).await;
        sql(&self.postgres, "DELETE FROM clusters WHERE name = 'marker'").await;
        self.until_status("/api/v1/clusters/marker", 404).await;
    }

    /// Changes the database, and does not wait for the gateway to see it.
    pub(crate) async fn execute(&self, statements: &str) {
        sql(&self.postgres, statements).await;
    }

    /// A connection of the database's owner, which ends with `driver`.
    pub(crate) async fn connected(&self, driver: &mut JoinSet<()>) -> Client {
        let (client, connection) = self.postgres.owner_config().connect(NoTls).await.unwrap();
        driver.spawn(async move {
            let _ = connection.await;
        });
        client
    }

    /// Makes PostgreSQL write every statement into its log from now on.
    pub(crate) async fn log_statements(&self) {
        let (client, connection) = self.postgres.superuser_config().connect(NoTls).await.unwrap();
        let told = async {
            client.batch_execute("ALTER SYSTEM SET log_min_duration_statement = 0").await.unwrap();
            client.batch_execute("SELECT pg_reload_conf()").await.unwrap();
        };
        tokio::select! {
            () = told => {}
            ended = connection => panic!("{ended:?}"),
        }
    }

    /// How many statements that hold these words PostgreSQL has answered since it was told to log them.
    pub(crate) fn statements(&self, words: &str) -> usize {
        let log = std::fs::read_to_string(self.postgres.log()).unwrap();
        log.lines().filter(|line| line.contains(" execute ") && line.contains(words)).count()
    }

    async fn until_status(&self, path: &str, status: u16) {
        testing::eventually(path, PATIENCE, async || self.get(path).await.status == status).await;
    }
}

async fn sql(postgres: &TestPostgres, statements: &str) {
    let (client, connection) = postgres.owner_config().connect(NoTls).await.unwrap();
    tokio::select! {
        done = client.batch_execute(statements) => done.unwrap(),
        ended = connection => panic!("{ended:?}"),
    }
}

fn config(postgres: &TestPostgres, etcd: &TestEtcd) -> Config {
    Config {
        bounds: Bounds {
            refresh_interval: Duration::from_millis(50),
            audit_interval: Duration::from_millis(50),
            ..Bounds::default()
        },
        conditions: Conditions { stale_after: Duration::from_secs(3_600), ..Conditions::default() },
        ..crate::config::config(etcd.endpoints(), postgres.config())
    }
}

/// - `alpha` reports now: a-000 lacks its GPU 6, a-001 and a-002 are whole; power 101 to 123 W over its 23 GPUs.
/// - `beta` fell silent on 2025-07-18: b-000 has two GPUs with 60 samples each, one every 10 s from 20:00:00 on.
/// - `gamma` is known and never reported; its GPUs are 2 and 10. `empty` has no host.
pub(crate) const FLEET: &str = r#"
    INSERT INTO clusters (name) VALUES ('alpha'), ('beta'), ('gamma'), ('empty');
    INSERT INTO hosts (cluster_id, name)
        SELECT c.id, h.name FROM clusters c JOIN (VALUES
            ('alpha', 'a-000'), ('alpha', 'a-001'), ('alpha', 'a-002'), ('beta', 'b-000'), ('gamma', 'c-000')
        ) AS h (cluster, name) ON h.cluster = c.name;
    INSERT INTO gpus (host_id, cluster_id, gpu_index, uuid, model, device, labels, seen_at)
        SELECT h.id, h.cluster_id, n::text, 'GPU-' || h.name || '-' || n, 'NVIDIA H100', 'nvidia' || n, '{"pod": "train"}', now()
        FROM hosts h, generate_series(0, 7) n
        WHERE h.name LIKE 'a-%' AND NOT (h.name = 'a-000' AND n = 6)
        ORDER BY h.name, n;
    INSERT INTO gpus (host_id, cluster_id, gpu_index, uuid, model)
        SELECT h.id, h.cluster_id, n::text, 'GPU-b-' || n, 'NVIDIA L4'
        FROM hosts h, generate_series(0, 1) n WHERE h.name = 'b-000' ORDER BY n;
    INSERT INTO gpus (host_id, cluster_id, gpu_index)
        SELECT h.id, h.cluster_id, n FROM hosts h, (VALUES ('10'), ('2')) AS x (n) WHERE h.name = 'c-000';

    INSERT INTO gpu_latest (gpu_id, ts, power_watts, power_watts_at, temperature_celsius, temperature_celsius_at, ext)
        SELECT g.id, now(), 100 + row_number() OVER (ORDER BY h.name, g.gpu_index), now(), 60.5, now() - interval '1 day',
               CASE WHEN h.name = 'a-001' THEN '{"job_slots": {"at": 1752868800000000, "value": 3}}'::jsonb ELSE '{}' END
        FROM gpus g JOIN hosts h ON h.id = g.host_id WHERE h.name LIKE 'a-%';

    CREATE TABLE samples_all PARTITION OF samples FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
    INSERT INTO samples (gpu_id, ts, power_watts, energy_millijoules, xid, ext)
        SELECT g.id, '2025-07-18T20:00:00Z'::timestamptz + n * interval '10 seconds', 100 + n, n * 1000.5,
               CASE WHEN n = 59 THEN 48 END, jsonb_build_object('job_slots', n)
        FROM gpus g JOIN hosts h ON h.id = g.host_id, generate_series(0, 59) n WHERE h.name = 'b-000';
    INSERT INTO gpu_latest (gpu_id, ts, power_watts, power_watts_at)
        SELECT gpu_id, ts, power_watts, ts FROM samples WHERE ts = '2025-07-18T20:09:50Z';
    ANALYZE;
"#;
