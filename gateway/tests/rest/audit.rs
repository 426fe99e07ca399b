//! The books over HTTP: what is said where nobody can look, and that many who ask cause one look.

use std::sync::Arc;

use futures_util::future::join_all;
use nexus_common::etcd::Client;
use nexus_common::queue::Keys;
use nexus_common::testing::{etcd, eventually, postgres};
use nexus_common::{books, db};
use nexus_gateway::audit::Auditor;

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
    let shared = looks.windows(2).filter(|pair| Arc::ptr_eq(&pair[0], &pair[1])).count();
    assert!(shared >= 45, "{shared} of 49 are the one before");
    eventually("it is looked again", PATIENCE, async || !Arc::ptr_eq(&looks[0], &auditor.look().await.unwrap())).await;
}

#[tokio::test]
async fn a_look_that_fails_fails_for_all_who_waited_for_it() {
    let (mut etcd, postgres) = tokio::join!(etcd(), postgres());
    let auditor = auditor(&postgres, &etcd).await;
    etcd.stop().await.unwrap();
    let errors = join_all((0..50).map(|_| auditor.look())).await.into_iter().map(Result::unwrap_err);
    // Only who looks hears it from etcd itself; the others are told.
    let (looked, told): (Vec<_>, Vec<_>) = errors.partition(|error| matches!(error, books::Error::Queue(_)));
    assert_eq!((looked.len(), told.len()), (1, 49), "{looked:?} {told:?}");
    etcd.restart().await.unwrap();
    eventually("it is back", PATIENCE, async || auditor.look().await.is_ok()).await;
}
