//! The books over HTTP: what is said where nobody can look, and that many who ask cause one look.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use nexus_common::domain::Timestamp;
use nexus_common::etcd::Client;
use nexus_common::queue::Keys;
use nexus_common::testing::{etcd, eventually, postgres};
use nexus_common::{books, db};
use nexus_gateway::audit::{Auditor, Books, Error, Rounds};

use crate::world::{PATIENCE, World};

const PATH: &str = "/api/v1/audit";

/// Over servers with a schema and nothing in it.
async fn auditor(postgres: &nexus_common::testing::TestPostgres, etcd: &nexus_common::testing::TestEtcd) -> Auditor {
    db::migrate(&postgres.config()).await.unwrap();
    let client = Client::connect(&etcd.endpoints()).await.unwrap();
    Auditor::new(client, Keys::new("/telemetry/queue", "alpha"), db::pool(&postgres.config(), 1).unwrap())
}

#[tokio::test]
async fn nothing_read_is_balanced() {
    let world = World::new().await;
    let books = world.json(PATH).await;
    assert_eq!((&books["balanced"], &books["cluster_id"]), (&true.into(), &"alpha".into()), "{books}");
    assert_eq!((&books["total"]["read"], &books["lane_count"]), (&0.into(), &0.into()), "{books}");
}

#[tokio::test]
async fn without_a_server_there_is_no_verdict() {
    let mut world = World::new().await;
    world.postgres.stop().await.unwrap();
    refused(&world).await;
    world.postgres.restart().await.unwrap();
    eventually("PostgreSQL is back", PATIENCE, async || world.get(PATH).await.status == 200).await;
    world.etcd.stop().await.unwrap();
    // What was seen a moment ago may still be told.
    eventually("etcd is gone", PATIENCE, async || world.get(PATH).await.status != 200).await;
    refused(&world).await;
}

async fn refused(world: &World) {
    let answer = world.get(PATH).await;
    let problem = answer.json();
    assert_eq!((answer.status, answer.header("content-type")), (503, Some("application/problem+json")), "{answer:?}");
    assert_eq!(problem["type"], "urn:nexus:problem:unavailable", "{problem}");
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
    for inside in [world.postgres.port().to_string().as_str(), "refused", "127.0.0.1", "connect"] {
        assert!(!answer.body.contains(inside), "{inside}: {answer:?}");
    }
}

#[tokio::test]
async fn many_who_ask_at_once_cause_one_look() {
    let (etcd, postgres) = tokio::join!(etcd(), postgres());
    let auditor = auditor(&postgres, &etcd).await;
    let looks = join_all((0..50).map(|_| auditor.look())).await;
    let looks: Vec<_> = looks.into_iter().map(Result::unwrap).collect();
    // The clock of a busy machine may end the second among them; what is shared is shared with most.
    let shared = looks.windows(2).filter(|pair| Arc::ptr_eq(&pair[0].audit, &pair[1].audit)).count();
    assert!(shared >= 45, "{shared} of 49 are the one before");
    eventually("it is looked again", PATIENCE, async || {
        !Arc::ptr_eq(&looks[0].audit, &auditor.look().await.unwrap().audit)
    })
    .await;
}

#[tokio::test]
async fn a_look_that_fails_fails_for_all_who_waited_for_it() {
    let (mut etcd, postgres) = tokio::join!(etcd(), postgres());
    let auditor = auditor(&postgres, &etcd).await;
    etcd.stop().await.unwrap();
    let errors = join_all((0..50).map(|_| auditor.look())).await.into_iter().map(Result::unwrap_err);
    // Only who looks hears it from etcd itself; the others are told.
    let (looked, told): (Vec<_>, Vec<_>) =
        errors.partition(|error| matches!(error, Error::Blind(books::Error::Queue(_))));
    assert_eq!((looked.len(), told.len()), (1, 49), "{looked:?} {told:?}");
    etcd.restart().await.unwrap();
    eventually("it is back", PATIENCE, async || auditor.look().await.is_ok()).await;
}

/// More batches than can be summed up within a few milliseconds.
const LONG: &str = "
    CREATE TABLE ledger_all PARTITION OF ledger DEFAULT;
    WITH alpha AS (INSERT INTO clusters (name) VALUES ('alpha') RETURNING id)
    INSERT INTO ledger (day, cluster_id, lane, run, n, published_at, rows_before, row_count, stored, dead, expired, file, pass,
        first_line, last_line, first_byte, end_byte, collector)
    SELECT current_date, id, 'l', 'r', n, now(), n - 1, 1, 1, 0, 0, 'f', 0, n, n, n, n, 'c'
    FROM alpha, generate_series(1, 50000) AS n";

/// The same, with statements that may run for so long.
async fn hasty(
    postgres: &nexus_common::testing::TestPostgres,
    etcd: &nexus_common::testing::TestEtcd,
    longest: Duration,
) -> Auditor {
    let client = Client::connect(&etcd.endpoints()).await.unwrap();
    let session = db::Session { statement_timeout: longest, ..db::Session::default() };
    let pool = db::pool_with(&postgres.config(), 1, &session).unwrap();
    Auditor::new(client, Keys::new("/telemetry/queue", "alpha"), pool)
}

#[tokio::test]
async fn a_ledger_too_long_for_a_request_is_summed_up_beside_it() {
    let (etcd, postgres) = tokio::join!(etcd(), postgres());
    let patient = auditor(&postgres, &etcd).await;
    db::pool(&postgres.config(), 1).unwrap().get().await.unwrap().batch_execute(LONG).await.unwrap();
    let longest = Duration::from_millis(2);
    let hasty = hasty(&postgres, &etcd, longest).await;
    let rounds = Rounds::new(patient, Duration::from_millis(1), Duration::from_secs(60));
    let books = Books::new(hasty, rounds.clone(), longest);
    // Those who wait for the look of another hear the same.
    for looked in join_all((0..5).map(|_| books.look())).await {
        assert!(matches!(looked, Err(Error::TooLong)), "{looked:?}");
    }
    let begun = Timestamp::now();
    tokio::select! {
        never = rounds.go() => match never {},
        () = eventually("it is summed up", PATIENCE, async || books.look().await.is_ok()) => {}
    }
    // By now nobody looks any more: what was found stands.
    let seen = books.look().await.unwrap();
    assert!(seen.at >= begun && seen.audit.total.batches == 50_000, "{seen:?}");
}

#[tokio::test]
async fn a_ledger_too_long_for_anybody_says_what_would_do() {
    let (etcd, postgres) = tokio::join!(etcd(), postgres());
    drop(auditor(&postgres, &etcd).await);
    db::pool(&postgres.config(), 1).unwrap().get().await.unwrap().batch_execute(LONG).await.unwrap();
    let longest = Duration::from_millis(2);
    let hasty = hasty(&postgres, &etcd, longest).await;
    let rounds = Rounds::new(hasty.clone(), Duration::from_millis(1), longest);
    let books = Books::new(hasty, rounds.clone(), longest);
    let told = async || matches!(books.look().await, Err(Error::FarTooLong(time)) if time == longest);
    tokio::select! {
        never = rounds.go() => match never {},
        () = eventually("it is said", PATIENCE, told) => {}
    }
}
