//! Where operators act over HTTP: whose password opens the database for them, and what one thing that fails keeps from going on.

use std::time::Duration;

use nexus_common::testing::eventually;
use serde_json::{Value, json};

use crate::keys::{Gate, REFUSE, RELENT};
use crate::process::Process;
use crate::rows::{HEADER, file};
use crate::world::{PATIENCE, World};

const REDRIVE: &str = "/api/v1/dead-letters/redrive";
/// What a redrive answers where the database takes the gateway's password, and where not.
const OPEN: u16 = 200;
const REFUSED: u16 = 500;

#[tokio::test(flavor = "multi_thread")]
async fn operators_log_in_with_a_password_of_their_own_and_follow_its_file() {
    let world = World::new().await;
    nexus_common::db::migrate(&world.postgres.config()).await.unwrap();
    world.give_roles().await;
    world
        .as_superuser("ALTER ROLE nexus_gateway PASSWORD 'of-readers'; ALTER ROLE nexus_operator PASSWORD 'pw-of-july'")
        .await;
    world.as_superuser("INSERT INTO clusters (name) VALUES ('local-cluster')").await;
    let (readers, operators) = (world.file("readers", "of-readers\n"), world.file("operators", "pw-of-july\n"));
    let environment = [
        ("DB_USER", "nexus_gateway"),
        ("DB_PASSWORD_FILE", readers.to_str().unwrap()),
        ("DB_MIGRATE", "false"),
        ("OPERATOR_DB_USER", "nexus_operator"),
    ];
    let file = operators.to_str().unwrap();
    let by_file = [&environment[..], &[("OPERATOR_DB_PASSWORD_FILE", file)]].concat();
    let gate = Gate::open(&world, &by_file).await;
    let act = async |gate: &Gate| {
        let (status, told) = gate.post(REDRIVE, &gate.olga, &json!({"which": {"all": true}, "dry_run": true})).await;
        // 503: the connection was ended while it was used.
        assert!([OPEN, REFUSED, 503].contains(&status), "{told}");
        status
    };
    assert_eq!(act(&gate).await, OPEN);

    // Another password: what is open is closed, and the file's new word opens it again, without a restart.
    let leave =
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'nexus-gateway-operator'";
    world.as_superuser("ALTER ROLE nexus_operator PASSWORD 'pw-of-august'").await;
    world.as_superuser(leave).await;
    eventually("the old password is refused", PATIENCE, async || act(&gate).await == REFUSED).await;
    world.file("operators", "pw-of-august\n");
    eventually("the new one is used", PATIENCE, async || act(&gate).await == OPEN).await;
    // A file of nothing changes nothing, and the log says whose it is.
    world.file("operators", "");
    let complaint = format!("OPERATOR_DB_PASSWORD_FILE={file}: is empty");
    eventually("it is said", PATIENCE, async || {
        assert_eq!(act(&gate).await, OPEN);
        gate.process.log().contains(&complaint)
    })
    .await;
    for secret in ["of-readers", "pw-of-july", "pw-of-august"] {
        assert!(!gate.process.log().contains(secret), "{secret} is in the log");
    }

    // The readers' file is nobody else's password: neither that of OPERATOR_DB_PASSWORD...
    let by_word = [&environment[..], &[("OPERATOR_DB_PASSWORD", "pw-of-august")]].concat();
    let gate = gate.again(&world, &by_word).await;
    assert_eq!(act(&gate).await, OPEN);
    // ... nor one that opens anything where there is none.
    let gate = gate.again(&world, &environment).await;
    assert_eq!(act(&gate).await, REFUSED);
    // What cannot be read is found at once.
    let keys = world.folder.path().join("keys");
    let missing = [
        ("API_KEYS_FILE", keys.to_str().unwrap()),
        ("ENABLE_OPERATOR_ROUTES", "true"),
        ("OPERATOR_DB_PASSWORD_FILE", "/no/such/file"),
        ("PORT", "0"),
    ];
    let mut gateway = world.start("gateway", &missing);
    assert_eq!(gateway.ended().await.code(), Some(2));
    assert!(gateway.log().contains("OPERATOR_DB_PASSWORD_FILE=/no/such/file: No such file"), "{}", gateway.log());
    gate.process.stop().await;
}

/// A return that only the command line can go on with, because it was begun with a header, does not keep others.
#[tokio::test(flavor = "multi_thread")]
async fn a_redrive_that_cannot_go_on_keeps_no_other() {
    let world = World::new().await;
    let gate = Gate::open(&world, &[]).await;
    let collector = world.ready_collector().await;
    world.alter(REFUSE).await;
    let (refused, late) = (
        world.file("refused.csv", file(50)),
        world.file(
            "late.csv",
            format!("{HEADER}2090-01-01T00:00:00Z,DCGM_FI_DEV_GPU_TEMP,0,nvidia0,GPU-1,H100,h,,,,41,\n"),
        ),
    );
    world.publish(&refused, &[]).await;
    world.publish(&late, &[]).await;
    world.until_accounted(51).await;
    assert_eq!(world.sums().await, [51, 0, 51, 0]);
    world.alter(RELENT).await;
    world.is_drained().await;
    collector.stop().await;

    // Somebody begins with a header, waits for room in the queue, and is killed.
    world.publish(&world.file("more.csv", crate::rows::part(50, 60)), &[]).await;
    let by_hand = ["dlq", "redrive", "--file", "late.csv", "--header", HEADER.trim_end()];
    let century = [("MAX_FUTURE", "36500days")];
    let operator = world.operator(&by_hand, &[&century[..], &[("HIGH_WATER_ROWS", "1")]].concat());
    let noted = async || world.ask::<i64>("SELECT count(*) FROM returns").await == Some(1);
    eventually("it is noted", PATIENCE, noted).await;
    operator.kill().await;

    let (status, told) = gate.post(REDRIVE, &gate.olga, &json!({"which": {"all": true}})).await;
    assert_eq!(status, 200, "{told}");
    let returns = told["returns"].as_array().unwrap();
    assert_eq!((returns.len(), &told["letters"], &told["more"]), (2, &json!(50), &json!(false)), "{told}");
    assert_eq!((&returns[0]["id"], &returns[0]["finished"]), (&json!(1), &json!(false)), "{told}");
    assert!(returns[0]["why"].as_str().unwrap().contains("begun with a header: nexus dlq redrive"), "{told}");
    assert_eq!((&returns[1]["finished"], returns[1].get("why")), (&json!(true), None), "{told}");
    // What was not done is not noted as done.
    let answer: Value = gate.ask("get", "/api/v1/actions", Some(&gate.olga), None).await.json().await.unwrap();
    let by_olga: Vec<_> = answer["items"].as_array().unwrap().iter().filter(|act| act["actor"] == "key:olga").collect();
    assert_eq!(by_olga.len(), 1, "{answer}");
    assert_eq!(by_olga[0]["action"], "redrive");

    // The command line goes on with its own.
    let answer = world.nexus_with(&by_hand, &century).await;
    assert_eq!(answer.status, 0, "{} {}", answer.out, answer.err);
    let collector = world.collector();
    world.until_accounted(51 + 10 + 50 + 1).await;
    world.books_are_balanced().await;
    assert_eq!(world.sums().await, [112, 61, 51, 0]);
    collector.stop().await;
    gate.process.stop().await;
}

/// The rows of a file are dead letters, and somebody has sent some of them again, in batches of a few, and was killed.
async fn begun(world: &World, rows: u64) -> Process {
    let collector = world.ready_collector().await;
    world.alter(REFUSE).await;
    world.publish(&world.file("refused.csv", file(rows)), &[]).await;
    world.until_accounted(rows).await;
    world.alter(RELENT).await;
    let failpoint = "publish.begin=2*off->return(kill)";
    let by_hand = [("MAX_TXN_OPS", "16"), ("FAILPOINTS", failpoint)];
    world.operator(&["dlq", "redrive", "--all"], &by_hand).dies_at(failpoint).await;
    collector
}

/// A return is looked at before it is gone on with. However long that takes, something is published still: else whoever asks
/// again and again would never get to its end, nor to any letter behind it.
#[tokio::test(flavor = "multi_thread")]
async fn a_redrive_that_is_long_to_look_at_gets_further() {
    let world = World::new().await;
    let longest = Duration::from_secs(3);
    let failpoint = format!("redrive.longest=return({})", longest.as_millis());
    let gate = Gate::open(&world, &[("FAILPOINTS", &failpoint)]).await;
    let collector = begun(&world, 50).await;
    let mut keeper = nexus_common::db::pool(&world.postgres.config(), 1).unwrap().get().await.unwrap();
    let kept = keeper.transaction().await.unwrap();
    kept.batch_execute("LOCK TABLE dead_letters IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let waits = "SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'nexus-gateway-operator' AND wait_event_type = 'Lock'";
    let let_go = async {
        eventually("it looks", PATIENCE, async || world.ask(waits).await == Some(true)).await;
        tokio::time::sleep(longest).await;
        kept.commit().await.unwrap();
    };
    let body = json!({"which": {"all": true}});
    let ((status, told), ()) = tokio::join!(gate.post(REDRIVE, &gate.olga, &body), let_go);
    assert_eq!((status, &told["returns"][0]["finished"]), (200, &json!(true)), "{told}");
    world.until_accounted(100).await;
    world.books_are_balanced().await;
    collector.stop().await;
    gate.process.stop().await;
}

/// What is published of a return is not looked at again.
#[tokio::test(flavor = "multi_thread")]
async fn a_redrive_is_looked_at_from_where_it_stands() {
    let world = World::new().await;
    let gate = Gate::open(&world, &[]).await;
    let collector = begun(&world, 50).await;
    // Nobody could send this one.
    world.as_superuser("UPDATE dead_letters SET raw = '' WHERE id = (SELECT min(id) FROM dead_letters)").await;
    let (status, told) = gate.post(REDRIVE, &gate.olga, &json!({"which": {"all": true}})).await;
    assert_eq!((status, &told["returns"][0]["finished"]), (200, &json!(true)), "{told}");
    world.until_accounted(100).await;
    collector.stop().await;
    gate.process.stop().await;
}
