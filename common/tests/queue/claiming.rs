//! CLAIM, ACK and RELEASE: one pair of hands at a time, and nothing goes but what was acknowledged.

use nexus_common::etcd::Client;
use nexus_common::queue::{Consumer, Outcome, Role, Session};
use nexus_common::testing::{Proxy, eventually};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::support::{SOON, bench, body, claimed, draft, draft_of, lines};

#[tokio::test]
async fn a_claim_brings_the_batch_and_keeps_others_away() {
    let bench = bench().await;
    bench.lane("l").await.publish(&draft(0..5), &Value::Null).await.unwrap();
    let (a, lease) = (bench.consumer("a"), bench.session().await);
    let batch = claimed(bench.claim_first(&a, lease).await);
    assert_eq!((lines(&batch), batch.attempt), ((0..5).collect(), 1));
    assert!(matches!(bench.claim_first(&bench.consumer("b"), lease).await, Outcome::Taken));
    assert!(a.ack(&batch, None).await.unwrap());
    assert!(matches!(a.claim(&batch.batch, &batch.manifest, batch.revision, lease).await, Ok(Outcome::Gone)));
    assert!(matches!(a.read(&batch.batch, &batch.manifest, batch.revision).await, Ok(Outcome::Gone)));
    assert_eq!(bench.client.count("/telemetry/").await.unwrap(), 1, "the lane's cursor");
}

#[tokio::test]
async fn a_claim_keeps_others_away_even_without_its_count() {
    let bench = bench().await;
    bench.lane("l").await.publish(&draft(0..5), &Value::Null).await.unwrap();
    let (batch, ..) = bench.batches().await.remove(0);
    bench.put(&bench.keys.claim(&batch), "somebody").await;
    assert!(matches!(bench.claim_first(&bench.consumer("a"), bench.session().await).await, Outcome::Taken));
    assert_eq!(bench.value(&bench.keys.claim(&batch)).await.unwrap(), b"somebody");
}

#[tokio::test]
async fn a_claim_whose_answer_was_lost_is_ours() {
    let bench = bench().await;
    bench.lane("l").await.publish(&draft(0..5), &Value::Null).await.unwrap();
    let proxy = Proxy::to(bench.etcd.endpoint()).await;
    let far = Client::connect(&[proxy.endpoint()]).await.unwrap();
    let (a, lease) = (Consumer::new(far, bench.keys.clone(), "a"), bench.session().await);
    let (batch, manifest, revision) = bench.batches().await.remove(0);
    assert!(matches!(a.read(&batch, &manifest, revision).await, Ok(Outcome::Claimed(_))), "connected");
    proxy.withhold_answers();
    let (lost, ()) = tokio::join!(a.claim(&batch, &manifest, revision, lease), async {
        let claim = bench.keys.claim(&batch);
        eventually("the claim is committed", SOON, async || bench.exists(&claim).await).await;
        proxy.cut();
        proxy.heal();
    });
    assert!(lost.unwrap_err().is_transient());
    // Where the lost one gave up before the line was cut, it is the next one that finds the connection broken.
    let mut again = None;
    eventually("etcd answers again", SOON, async || {
        let answer = a.claim(&batch, &manifest, revision, lease).await;
        again = answer.inspect_err(|error| assert!(error.is_transient(), "{error}")).ok().map(claimed);
        again.is_some()
    })
    .await;
    let again = again.unwrap();
    assert_eq!((lines(&again), again.attempt), ((0..5).collect(), 1), "the same claim, not another attempt");
    assert!(a.ack(&again, None).await.unwrap());
}

#[tokio::test]
async fn an_attempt_counts_when_its_collector_dies_and_not_when_it_gives_back() {
    let bench = bench().await;
    bench.lane("l").await.publish(&draft(0..5), &Value::Null).await.unwrap();
    let (batch, ..) = bench.batches().await.remove(0);
    let attempt = bench.keys.attempt(&batch);
    let a = bench.consumer("a");
    let first = claimed(bench.claim_first(&a, bench.session().await).await);
    assert_eq!(first.attempt, 1);
    a.release(&first).await.unwrap();
    assert!(!bench.exists(&attempt).await, "given back as if never claimed");
    assert!(!bench.exists(&bench.keys.claim(&batch)).await);

    let doomed = bench.session().await;
    assert_eq!(claimed(bench.claim_first(&a, doomed).await).attempt, 1);
    bench.client.revoke(doomed).await.unwrap();
    let second = claimed(bench.claim_first(&bench.consumer("b"), bench.session().await).await);
    assert_eq!(second.attempt, 2);
    bench.consumer("b").release(&second).await.unwrap();
    assert_eq!(claimed(bench.claim_first(&a, bench.session().await).await).attempt, 2);
}

#[tokio::test]
async fn only_the_holder_gives_back() {
    let bench = bench().await;
    bench.lane("l").await.publish(&draft(0..5), &Value::Null).await.unwrap();
    let (zombie, session) = (bench.consumer("zombie"), bench.session().await);
    let old = claimed(bench.claim_first(&zombie, session).await);
    bench.client.revoke(session).await.unwrap();
    let (heir, lease) = (bench.consumer("heir"), bench.session().await);
    let held = claimed(bench.claim_first(&heir, lease).await);
    zombie.release(&old).await.unwrap();
    let again = claimed(heir.claim(&held.batch, &held.manifest, held.revision, lease).await.unwrap());
    assert_eq!(again.attempt, 2, "the heir's claim and its count stand");
    assert!(matches!(bench.claim_first(&bench.consumer("other"), lease).await, Outcome::Taken));
}

#[tokio::test]
async fn a_second_acknowledgement_changes_nothing_the_feed_included() {
    let bench = bench().await;
    let mut lane = bench.lane("l").await;
    lane.publish(&draft(0..5), &Value::Null).await.unwrap();
    let (zombie, session) = (bench.consumer("zombie"), bench.session().await);
    let old = claimed(bench.claim_first(&zombie, session).await);
    bench.client.revoke(session).await.unwrap();
    let heir = bench.consumer("heir");
    let held = claimed(bench.claim_first(&heir, bench.session().await).await);
    assert!(heir.ack(&held, Some(b"the heir's")).await.unwrap());
    let revision = bench.client.list("/telemetry/", 1).await.unwrap().revision;
    assert!(!zombie.ack(&old, Some(b"the zombie's")).await.unwrap());
    assert!(!heir.ack(&held, Some(b"a repeat")).await.unwrap());
    assert_eq!(bench.value(&bench.keys.feed()).await.unwrap(), b"the heir's");
    assert_eq!(bench.client.list("/telemetry/", 1).await.unwrap().revision, revision, "nothing was written");
}

/// I7: what lies between a batch's first and last key may belong to another lane.
#[tokio::test]
async fn acknowledging_one_of_two_interleaved_lanes_leaves_the_other_whole() {
    let bench = bench().await;
    let (mut a, mut b) = (bench.future_lane("a").await, bench.future_lane("b").await);
    let odd = draft_of((0..5).map(|n| body(&format!("host-{}", 2 * n + 1), &[2 * n + 1])).collect());
    let even = draft_of((0..5).map(|n| body(&format!("host-{}", 2 * n), &[2 * n])).collect());
    let of_a = a.publish(&odd, &Value::Null).await.unwrap();
    let of_b = b.publish(&even, &Value::Null).await.unwrap();
    let interleaved: Vec<_> = bench.messages().await.iter().map(|kv| kv.mod_revision()).collect();
    assert!(interleaved.windows(2).all(|pair| pair[0] != pair[1]), "{interleaved:?}");

    let (consumer, lease) = (bench.consumer("c"), bench.session().await);
    let find = async |wanted| bench.batches().await.into_iter().find(|(batch, ..)| *batch == wanted).unwrap();
    let (batch, manifest, revision) = find(of_a).await;
    let held = claimed(consumer.claim(&batch, &manifest, revision, lease).await.unwrap());
    assert_eq!(lines(&held), [1, 3, 5, 7, 9], "its own messages, not those between them");
    let read = claimed(consumer.read(&batch, &manifest, revision).await.unwrap());
    assert_eq!(lines(&read), lines(&held));
    assert!(consumer.ack(&held, None).await.unwrap());

    let (batch, manifest, revision) = find(of_b).await;
    let held = claimed(consumer.claim(&batch, &manifest, revision, lease).await.unwrap());
    assert_eq!(lines(&held), [0, 2, 4, 6, 8]);
}

/// I2: the manifest outlives its messages, so that what expired can be counted.
#[tokio::test]
async fn an_expired_batch_is_still_there_to_be_accounted_for() {
    let bench = bench().await;
    bench.lane("l").await.publish(&draft(0..5), &Value::Null).await.unwrap();
    let (_, manifest, _) = bench.batches().await.remove(0);
    bench.client.revoke(manifest.lease).await.unwrap();
    assert!(bench.messages().await.is_empty());
    let consumer = bench.consumer("c");
    let batch = claimed(bench.claim_first(&consumer, bench.session().await).await);
    assert_eq!((batch.messages.len(), batch.manifest.rows), (0, 5));
    assert!(consumer.ack(&batch, None).await.unwrap());
    assert_eq!(bench.client.count("/telemetry/").await.unwrap(), 1);
}

#[tokio::test]
async fn a_session_that_is_lost_opens_another_and_a_stopped_one_goes_at_once() {
    let bench = bench().await;
    let stop = CancellationToken::new();
    let (mut session, keep) = Session::start(bench.client.clone(), bench.keys.clone(), Role::Collector, stop.clone());
    let mut tasks = JoinSet::new();
    tasks.spawn(keep);
    let first = session.ready().await.unwrap();
    let member = bench.keys.member("collector", session.id());
    assert!(bench.exists(&member).await);
    bench.client.revoke(first).await.unwrap();
    assert!(!bench.exists(&member).await);
    let renewed = || async { session.lease().is_some_and(|lease| lease != first) && bench.exists(&member).await };
    eventually("there is another session", SOON, async || renewed().await).await;
    stop.cancel();
    tokio::time::timeout(SOON, tasks.join_all()).await.unwrap();
    assert_eq!((session.lease(), bench.exists(&member).await), (None, false));
}

/// The server takes 128 operations: 126 messages with manifest and cursor, and 124 with what an acknowledgement deletes besides.
#[tokio::test]
async fn a_batch_that_was_taken_is_acknowledged_however_many_messages_it_has() {
    let bench = bench().await;
    let mut lane = bench.lane("l").await;
    let (consumer, lease) = (bench.consumer("c"), bench.session().await);
    for (rows, n) in (124..=126).zip(1..) {
        assert_eq!(lane.publish(&draft(0..rows), &Value::Null).await.unwrap().n, n);
        let batch = claimed(bench.claim_first(&consumer, lease).await);
        assert!(consumer.ack(&batch, Some(b"told")).await.unwrap());
        assert_eq!(bench.messages().await.len(), 0, "{rows} messages");
        assert!(bench.batches().await.is_empty());
        assert_eq!(bench.client.count(&bench.keys.claims()).await.unwrap(), 0);
        assert_eq!(bench.value(&bench.keys.feed()).await.unwrap(), b"told");
        assert!(!consumer.ack(&batch, None).await.unwrap(), "once");
    }
}
