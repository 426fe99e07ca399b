//! The database this code talks to is the one the catalogue describes, however many processes start at once.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use nexus_common::db::{self, Kind, Session};
use nexus_common::domain::{CATALOGUE, Kind as MetricKind, Timestamp};
use nexus_common::testing;
use tokio::task::JoinSet;

/// The columns of a table with their types, in order.
async fn columns(client: &deadpool_postgres::Client, table: &str) -> Vec<(String, String)> {
    let rows = client
        .query(
            "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute
             WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            &[&table],
        )
        .await
        .unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

fn column(name: &str, kind: &str) -> (String, String) {
    (name.to_owned(), kind.to_owned())
}

#[tokio::test]
async fn the_columns_are_those_of_the_catalogue() {
    let server = testing::postgres().await;
    db::migrate(&server.config()).await.unwrap();
    let client = db::pool(&server.config(), 1).unwrap().get().await.unwrap();

    let samples = columns(&client, "samples").await;
    let metrics: Vec<_> = CATALOGUE.iter().map(|metric| column(metric.name, "double precision")).collect();
    let at = samples.iter().position(|column| *column == metrics[0]).unwrap();
    assert_eq!(samples[at..at + metrics.len()], metrics);
    assert_eq!(samples[at + metrics.len()..], [column("ext", "jsonb")]);

    let latest = columns(&client, "gpu_latest").await;
    let pairs: Vec<_> = CATALOGUE
        .iter()
        .flat_map(|metric| {
            let time = format!("{}_at", metric.name);
            [column(metric.name, "double precision"), column(&time, "timestamp with time zone")]
        })
        .collect();
    let at = latest.iter().position(|column| *column == pairs[0]).unwrap();
    assert_eq!(latest[at..at + pairs.len()], pairs);

    for (table, own) in [("rollup_hours", 4), ("rollup_fives", 3), ("rollup_minutes", 3)] {
        let counts = CATALOGUE.iter().map(|metric| column(&format!("{}_count", metric.name), "integer"));
        let parts = CATALOGUE.iter().flat_map(|metric| {
            let (value, time) = ("double precision", "timestamp with time zone");
            let counter = [("first", value), ("first_at", time), ("last_at", time), ("growth", value)];
            let counter = counter.into_iter().filter(|_| metric.kind == MetricKind::Counter);
            let parts = ["sum", "min", "max", "last"].map(|part| (part, value)).into_iter().chain(counter);
            parts.map(|(part, kind)| column(&format!("{}_{part}", metric.name), kind)).collect::<Vec<_>>()
        });
        let metrics: Vec<_> = counts.chain(parts).chain([column("ext", "jsonb")]).collect();
        let table = columns(&client, table).await;
        assert_eq!(table[own..own + metrics.len()], metrics, "{table:?}");
    }

    let written = client.query("SELECT name, unit, kind FROM metrics", &[]).await.unwrap();
    assert_eq!(written.len(), CATALOGUE.len());
}

/// Every hour that had samples before there were rollups is listed, and no other.
#[tokio::test]
async fn hours_that_were_stored_before_are_to_be_rolled_up() {
    let server = testing::postgres().await;
    db::migrate(&server.config()).await.unwrap();
    let client = db::pool(&server.config(), 1).unwrap().get().await.unwrap();
    client
        .batch_execute(
            "DROP TABLE rollup_hours, rollup_fives, rollup_minutes, rollup_notes, rollup_todo, ledger_dropped,
                 operator_actions;
             ALTER TABLE ledger_totals DROP COLUMN republished;
             DELETE FROM refinery_schema_history WHERE version >= 4;
             INSERT INTO clusters (name) VALUES ('c');
             INSERT INTO hosts (cluster_id, name) SELECT id, 'h' FROM clusters;
             INSERT INTO gpus (host_id, cluster_id, gpu_index)
                 SELECT id, cluster_id, n::text FROM hosts, generate_series(0, 2) n;
             CREATE TABLE samples_18 PARTITION OF samples FOR VALUES FROM ('2025-07-18') TO ('2025-07-19');
             CREATE TABLE samples_20 PARTITION OF samples FOR VALUES FROM ('2025-07-20') TO ('2025-07-21');
             INSERT INTO samples (gpu_id, ts) SELECT g.id, x.ts::timestamptz FROM gpus g JOIN (VALUES
                 ('0', '2025-07-18T00:00:00Z'), ('0', '2025-07-18T00:59:59.999999Z'), ('0', '2025-07-18T01:00:00Z'),
                 ('0', '2025-07-20T23:30:00Z'), ('1', '2025-07-18T07:12:00Z')) AS x (gpu, ts) ON x.gpu = g.gpu_index",
        )
        .await
        .unwrap();
    assert!(db::migrate(&server.config()).await.unwrap() > 0);
    let listed =
        "SELECT gpu_index || to_char(hour, ' DD HH24:MI:SS') FROM rollup_todo JOIN gpus g ON g.id = gpu_id ORDER BY 1";
    let listed: Vec<String> = client.query(listed, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(listed, ["0 18 00:00:00", "0 18 01:00:00", "0 20 23:00:00", "1 18 07:00:00"]);
}

#[tokio::test]
async fn ten_processes_may_start_at_once() {
    let server = testing::postgres().await;
    let mut starters = JoinSet::new();
    for _ in 0..10 {
        let config = server.config();
        starters.spawn(async move { db::migrate(&config).await });
    }
    let applied: Vec<usize> = starters.join_all().await.into_iter().map(Result::unwrap).collect();
    assert_eq!(applied.iter().filter(|applied| **applied > 0).count(), 1, "{applied:?}");
    assert_eq!(db::migrate(&server.config()).await.unwrap(), 0);
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_left_as_it_is() {
    let server = testing::postgres().await;
    db::migrate(&server.config()).await.unwrap();
    let client = db::pool(&server.config(), 1).unwrap().get().await.unwrap();
    client
        .execute(
            "INSERT INTO refinery_schema_history (version, name, applied_on, checksum)
             VALUES (9999, 'of_a_newer_version', '2030-01-01T00:00:00Z', '1')",
            &[],
        )
        .await
        .unwrap();
    assert_eq!(db::migrate(&server.config()).await.unwrap(), 0);
}

#[tokio::test]
async fn a_session_is_bounded_by_the_server() {
    let server = testing::postgres().await;
    let session = Session {
        application: "test of sessions".to_owned(),
        // Long enough for those that end.
        statement_timeout: Duration::from_secs(2),
        read_only: true,
        random_page_cost: Some(1.1),
        ..Session::default()
    };
    let pool = db::pool_with(&server.config(), 1, &session).unwrap();
    let client = pool.get().await.unwrap();
    for (setting, value) in [("application_name", "test of sessions"), ("random_page_cost", "1.1")] {
        let shown: String = client.query_one(&format!("SHOW {setting}"), &[]).await.unwrap().get(0);
        assert_eq!(shown, value, "{setting}");
    }
    let slow = client.query_one("SELECT 1 FROM pg_sleep(60)", &[]).await.unwrap_err();
    assert_eq!(slow.code().map(|code| code.code()), Some("57014"));
    let write = client.execute("CREATE TABLE refused ()", &[]).await.unwrap_err();
    assert_eq!(write.code().map(|code| code.code()), Some("25006"));
}

#[tokio::test]
async fn an_error_tells_whether_to_try_again() {
    let server = testing::postgres().await;
    let pool = db::pool(&server.config(), 1).unwrap();
    let client = pool.get().await.unwrap();
    let refused = client.query_one("SELECT 1 / $1::int", &[&0i32]).await.unwrap_err();
    assert_eq!(db::kind(&refused), Kind::Refused);
    let missing = db::Error::from(client.query_one("SELECT * FROM nothing_here", &[]).await.unwrap_err());
    assert_eq!(missing.kind(), Kind::Permanent);
    assert!(missing.to_string().contains("nothing_here"), "{missing}");

    let killed = client.execute("SELECT pg_terminate_backend(pg_backend_pid())", &[]).await.unwrap_err();
    assert_eq!(db::kind(&killed), Kind::Transient, "{killed:?}");

    let nobody = db::Config { port: 1, startup_timeout: Duration::ZERO, ..server.config() };
    let away = db::migrate(&nobody).await.unwrap_err();
    assert!(away.is_transient(), "{away}");

    let stranger = db::Config { name: "not_there".to_owned(), ..server.config() };
    let denied = db::migrate(&stranger).await.unwrap_err();
    assert_eq!(denied.kind(), Kind::Permanent, "{denied}");
}

#[tokio::test]
async fn a_time_is_stored_to_the_microsecond() {
    let server = testing::postgres().await;
    let client = db::pool(&server.config(), 1).unwrap().get().await.unwrap();
    for (micros, text) in [
        (1_752_871_354_000_001, "2025-07-18 20:42:34.000001+00"),
        (-1, "1969-12-31 23:59:59.999999+00"),
        (i64::MIN, "-infinity"),
        (i64::MAX, "infinity"),
    ] {
        let row =
            client.query_one("SELECT $1::timestamptz, $1::timestamptz::text", &[&Timestamp(micros)]).await.unwrap();
        assert_eq!(row.get::<_, Timestamp>(0), Timestamp(micros));
        assert_eq!(row.get::<_, &str>(1), text);
    }
}
