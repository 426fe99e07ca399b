//! What becomes of PostgreSQL's log, as the collector tells it: an archive that fails is seen, and that it works again, too.

use std::fs;

use nexus_common::books::wal::wal;
use nexus_common::testing::{eventually, folder, postgres};
use tokio_postgres::NoTls;

use crate::stack::Stack;
use crate::world::{PATIENCE, World};

const SEGMENT: f64 = (16 << 20) as f64;

/// Servers whose log is archived by a command, every second in which anything is written.
pub(crate) async fn archiving_by(command: &str) -> World {
    let world = World::with_postgres(|options| {
        let settings = [("archive_mode", "on"), ("archive_command", command), ("archive_timeout", "1s")];
        options.settings.extend(settings.map(|(name, value)| (name.to_owned(), value.to_owned())));
    })
    .await;
    // Until it is woken for the first time PostgreSQL's checkpointer does not look at archive_timeout (docs/BACKUP.md).
    as_superuser(&world, "SELECT pg_reload_conf()").await;
    world
}

async fn as_superuser(world: &World, sql: &str) {
    let (client, connection) = world.postgres.superuser_config().connect(NoTls).await.unwrap();
    tokio::select! {
        done = client.batch_execute(sql) => done.unwrap(),
        ended = connection => panic!("{ended:?}"),
    }
}

/// PostgreSQL goes on with another segment of its log, and has one to archive.
async fn fills_a_segment(world: &World) {
    as_superuser(world, "SELECT pg_logical_emit_message(false, 'of a test', ''); SELECT pg_switch_wal()").await;
}

#[tokio::test]
async fn an_archive_that_fails_is_told_until_it_works() {
    // A command that ends as the test says.
    let folder = folder();
    let script = folder.path().join("archive");
    let ends = |status: &str| fs::write(&script, format!("exit {status}\n")).unwrap();
    ends("1");
    let stack = Stack::on(archiving_by(&format!("sh {}", script.display())).await, 100, &[]).await;
    let told = async |name: &str| stack.value("collector", &format!("nexus_postgres_archive_{name}")).await;
    stack.until("collector", "nexus_postgres_archive_failing", 1.0).await;
    assert_eq!(told("enabled").await, Some(1.0));
    assert!(told("failures_total").await > Some(0.0));
    assert_eq!(told("waiting_bytes").await, None, "nothing was archived: nobody knows from where on it waits");
    let (written, quiet) =
        (stack.value("collector", "nexus_postgres_wal_bytes_total").await, told("age_seconds").await);
    assert!(written > Some(0.0) && quiet >= Some(0.0), "{written:?} {quiet:?}");
    eventually("it grows older", PATIENCE, async || told("age_seconds").await > quiet).await;

    ends("0");
    fills_a_segment(&stack.world).await;
    stack.until("collector", "nexus_postgres_archive_failing", 0.0).await;
    let is_archived = async || told("waiting_bytes").await.is_some_and(|bytes| bytes < SEGMENT);
    eventually("all is archived", PATIENCE, &is_archived).await;
    let failures = told("failures_total").await;

    // To PostgreSQL a command that is not there has not failed: what waits is seen.
    ends("127");
    for _ in 0..2 {
        fills_a_segment(&stack.world).await;
    }
    eventually("a segment waits", PATIENCE, async || told("waiting_bytes").await >= Some(SEGMENT)).await;
    assert_eq!((told("failing").await, told("failures_total").await), (Some(0.0), failures));
    ends("0");
    fills_a_segment(&stack.world).await;
    eventually("all is archived again", PATIENCE, &is_archived).await;
    stack.stop().await;
}

/// A collector has the least rights that it needs, and none of them is for this.
#[tokio::test]
async fn whoever_may_log_in_may_ask_how_the_log_is_archived() {
    let server = postgres().await;
    let (client, connection) = server.superuser_config().connect(NoTls).await.unwrap();
    let asked = async {
        client.batch_execute("CREATE ROLE nobody_special LOGIN PASSWORD 'x'").await.unwrap();
        let mut config = server.owner_config();
        config.user("nobody_special").password("x");
        let (client, connection) = config.connect(NoTls).await.unwrap();
        tokio::select! {
            found = wal(&client) => found.unwrap(),
            ended = connection => panic!("{ended:?}"),
        }
    };
    let found = tokio::select! {
        found = asked => found,
        ended = connection => panic!("{ended:?}"),
    };
    assert!(found.written_bytes > Some(0) && found.archiver.is_none(), "{found:?}");
}
