//! `nexus doctor`: what is wrong is found, and nothing is changed by looking.

use nexus_common::etcd::{Error, Txn, TxnOp};
use nexus_common::testing::eventually;
use serde_json::Value;

use crate::queue::published;
use crate::rows;
use crate::world::{PATIENCE, World};

/// Verdict of one check; `Null` where it was not made.
fn verdict(report: &Value, name: &str) -> Value {
    let checks = report["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["name"].as_str().unwrap().starts_with(name));
    check.map_or(Value::Null, |check| check["verdict"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_that_runs_is_well_until_it_is_not() {
    let world = World::new().await;
    let fresh = world.nexus(&["doctor", "--json"]).await;
    assert_eq!((fresh.status, verdict(&fresh.json(), "schema")), (0, "warn".into()), "{}", fresh.out);

    published(&world, 50).await;
    let alone = world.nexus(&["doctor", "--json"]).await;
    assert_eq!((alone.status, verdict(&alone.json(), "queue")), (1, "fail".into()), "{}", alone.out);
    assert!(alone.err.contains("1 check failed"), "{}", alone.err);

    let collector = world.collector();
    world.until_accounted(50).await;
    world.is_drained().await;
    let client = world.client().await;
    let at = async || client.list("/telemetry/", 1).await.unwrap().revision;
    let before = at().await;
    let file = world.file("y.csv", rows::file(1));
    let names = [
        "etcd 1",
        "etcd cluster",
        "etcd room",
        "etcd alarms",
        "etcd transactions",
        "etcd writing",
        "postgres",
        "postgres version",
        "postgres writing",
        "clock",
        "schema",
        "rights",
        "partitions",
        "queue",
        "members",
        "dead letters",
        "expired",
        "sources",
    ];
    // A server that answers late is warned of: on a machine that does much else it may be so at one look.
    eventually("all is well", PATIENCE, async || {
        let well = world.nexus_with(&["doctor", "--json"], &[("CSV_FILE", file.to_str().unwrap())]).await;
        assert_eq!(well.status, 0, "{}", well.out);
        let ill: Vec<_> = names.iter().filter(|name| verdict(&well.json(), name) != "ok").collect();
        println!("{ill:?} of {}", well.out);
        ill.is_empty()
    })
    .await;
    assert_eq!(before, at().await, "a look has changed something");
    let people = world.nexus(&["doctor"]).await;
    assert!(people.out.lines().any(|line| line.starts_with("ok    schema")), "{}", people.out);

    let wrong: [(&str, &str, &str, &str); 5] = [
        ("DB_PASSWORD", "wrong", "postgres", "DB_PASSWORD"),
        ("DB_PORT", "9", "postgres", "start PostgreSQL"),
        ("ETCD_ENDPOINTS", "127.0.0.1:9", "etcd 127", "start etcd"),
        ("MAX_TXN_OPS", "1024", "etcd transactions", "--max-txn-ops"),
        ("CSV_FILE", "/nowhere.csv", "sources", "CSV_FILE"),
    ];
    for (name, value, check, remedy) in wrong {
        let ill = world.nexus_with(&["doctor", "--json"], &[(name, value)]).await;
        assert_eq!((ill.status, verdict(&ill.json(), check)), (1, "fail".into()), "{name}={value}: {}", ill.out);
        assert!(ill.out.contains(remedy), "{name}={value}: {}", ill.out);
        assert!(!ill.out.contains("wrong\""), "no password is shown");
    }

    // One who may only read.
    let (superuser, connection) = world.postgres.superuser_config().connect(tokio_postgres::NoTls).await.unwrap();
    tokio::select! {
        made = superuser.batch_execute("CREATE ROLE reader LOGIN PASSWORD 'r'") => made.unwrap(),
        ended = connection => panic!("{ended:?}"),
    }
    world.rows("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader").await.unwrap();
    let reader = world.nexus_with(&["doctor", "--json"], &[("DB_USER", "reader"), ("DB_PASSWORD", "r")]).await;
    assert_eq!((reader.status, verdict(&reader.json(), "rights")), (1, "fail".into()), "{}", reader.out);
    assert_eq!(verdict(&reader.json(), "partitions"), "fail");

    world
        .rows("DELETE FROM refinery_schema_history WHERE version = (SELECT max(version) FROM refinery_schema_history)")
        .await
        .unwrap();
    let old = world.nexus(&["doctor", "--json"]).await;
    assert_eq!((old.status, verdict(&old.json(), "schema")), (1, "fail".into()), "{}", old.out);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_etcd_is_found() {
    let world = World::with_etcd(|options| options.quota_backend_bytes = 16 << 20).await;
    let client = world.client().await;
    let mut number = 0;
    eventually("etcd is full", PATIENCE, async || {
        number += 1;
        let put = TxnOp::put(format!("/filler/{number}"), vec![0; 1 << 20], None);
        matches!(client.txn(Txn::new().and_then([put])).await, Err(Error::NoSpace))
    })
    .await;
    let full = world.nexus(&["doctor", "--json"]).await;
    assert_eq!(full.status, 1);
    assert_eq!(
        ["etcd alarms", "etcd writing"].map(|name| verdict(&full.json(), name)),
        ["fail", "fail"],
        "{}",
        full.out
    );
    assert!(full.out.contains("ETCD_UPKEEP"), "{}", full.out);
    let stats = world.json(&["queue", "stats", "--seconds", "100ms", "--json"]).await;
    assert_eq!(stats["etcd"]["alarms"], serde_json::json!(["NOSPACE"]));
}
