//! Batches that are sent before the ones before them are answered: published in order, each once, or not at all.

use nexus_common::queue::{Fate, Lane, Settled};
use nexus_common::testing::eventually;
use serde_json::json;

use crate::support::{SOON, bench, draft};

/// Sends batches of three rows, `from` the row on; the position is that of the row behind.
async fn send(lane: &mut Lane, from: u64, batches: u64) {
    for first in (0..batches).map(|batch| from + 3 * batch) {
        lane.send(&draft(first..first + 3), &json!(first + 3)).await;
    }
}

async fn all_settled(lane: &mut Lane) -> Vec<Result<Settled, Fate>> {
    let mut settled = Vec::new();
    while let Some(outcome) = lane.settled().await {
        settled.push(outcome);
    }
    settled
}

/// The numbers of batches that were published, all of them.
fn numbers(settled: &[Result<Settled, Fate>]) -> Vec<u64> {
    settled.iter().map(|outcome| outcome.as_ref().unwrap().batch.n).collect()
}

#[tokio::test]
async fn batches_sent_ahead_are_published_in_order() {
    let bench = bench().await;
    let mut lane = bench.lane("l").await;
    send(&mut lane, 0, 8).await;
    assert_eq!(numbers(&all_settled(&mut lane).await), (1..=8).collect::<Vec<_>>());
    bench.has_each_row_once(24).await;
    assert_eq!(bench.cursor("l").await.as_ref(), Some(lane.cursor()));
    assert_eq!(lane.cursor().position, json!(24));
    // The next knows where the cursor was written.
    assert_eq!(lane.publish(&draft(24..27), &json!(27)).await.unwrap().n, 9);
    bench.has_each_row_once(27).await;
}

#[tokio::test]
async fn a_publish_waits_for_what_was_sent_before() {
    let bench = bench().await;
    let mut lane = bench.lane("l").await;
    send(&mut lane, 0, 2).await;
    assert_eq!(lane.publish(&draft(6..9), &json!(9)).await.unwrap().n, 3);
    assert!(lane.settled().await.is_none());
    bench.has_each_row_once(9).await;
}

#[tokio::test]
async fn batches_whose_answers_are_lost_commit_once() {
    let bench = bench().await;
    let (proxy, mut lane) = bench.far_lane().await;
    proxy.withhold_answers();
    for n in 2..=4 {
        send(&mut lane, 3 * (n - 1), 1).await;
        bench.published("l", n).await;
    }
    proxy.cut();
    proxy.heal();
    assert_eq!(numbers(&all_settled(&mut lane).await), [2, 3, 4]);
    assert_eq!(lane.publish(&draft(12..15), &json!(15)).await.unwrap().n, 5);
    bench.has_each_row_once(15).await;
}

#[tokio::test]
async fn batches_that_never_arrived_are_made_good() {
    let bench = bench().await;
    let (proxy, mut lane) = bench.far_lane().await;
    proxy.withhold_answers();
    send(&mut lane, 3, 1).await;
    bench.published("l", 2).await;
    // The first is committed and unanswered; those behind it go down with the line.
    proxy.swallow();
    send(&mut lane, 6, 2).await;
    eventually("they are lost", SOON, async || proxy.swallowed() > 0).await;
    proxy.cut();
    proxy.heal();
    assert_eq!(numbers(&all_settled(&mut lane).await), [2, 3, 4]);
    bench.has_each_row_once(12).await;
}

#[tokio::test]
async fn batches_wait_for_an_etcd_that_was_killed() {
    let mut bench = bench().await;
    let mut lane = bench.lane("l").await;
    lane.publish(&draft(0..3), &json!(3)).await.unwrap();
    bench.etcd.kill().await.unwrap();
    send(&mut lane, 3, 2).await;
    let (settled, restarted) = tokio::join!(all_settled(&mut lane), bench.etcd.restart());
    restarted.unwrap();
    assert_eq!(numbers(&settled), [2, 3]);
    bench.has_each_row_once(9).await;
}

#[tokio::test]
async fn of_a_fenced_lane_nothing_sent_ahead_is_published() {
    let bench = bench().await;
    let (proxy, mut old) = bench.far_lane().await;
    let new = bench.lane("l").await;
    // Without an answer the lane does not learn of it, and etcd hears of all of them.
    proxy.withhold_answers();
    let writes = bench.writes().await;
    send(&mut old, 3, 3).await;
    bench.applied(writes, 3).await;
    proxy.cut();
    proxy.heal();
    let settled = all_settled(&mut old).await;
    assert!(matches!(&settled[..], [Err(Fate::Fenced(lane))] if lane == "l"), "{settled:?}");
    bench.has_each_row_once(3).await;
    assert_eq!(bench.cursor("l").await.as_ref(), Some(new.cursor()));
}

#[tokio::test]
async fn what_was_sent_behind_a_batch_that_is_refused_is_not_published() {
    let bench = bench().await;
    let mut lane = bench.lane("l").await;
    lane.send(&draft(0..200), &json!(200)).await;
    send(&mut lane, 200, 2).await;
    let settled = all_settled(&mut lane).await;
    assert!(matches!(&settled[..], [Err(Fate::TooLarge(_))]), "{settled:?}");
    assert_eq!(bench.cursor("l").await.unwrap().n, 0);
    send(&mut lane, 0, 2).await;
    assert_eq!(numbers(&all_settled(&mut lane).await), [1, 2]);
    bench.has_each_row_once(6).await;
}

#[tokio::test]
async fn a_lost_lease_of_batches_sent_ahead_is_replaced() {
    let bench = bench().await;
    let mut lane = bench.lane("l").await;
    lane.publish(&draft(0..3), &json!(3)).await.unwrap();
    let (_, first, _) = bench.batches().await.remove(0);
    bench.client.revoke(first.lease).await.unwrap();
    send(&mut lane, 3, 2).await;
    assert_eq!(numbers(&all_settled(&mut lane).await), [2, 3]);
    let leases: Vec<_> = bench.batches().await.into_iter().map(|(_, manifest, _)| manifest.lease).collect();
    assert!(leases[1..].iter().all(|lease| *lease != first.lease), "{leases:?}");
    assert_eq!(bench.messages().await.len(), 6, "the first batch's messages went with their lease");
}
