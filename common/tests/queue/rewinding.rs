//! REWIND: a cursor goes back, never forward, and two who put it back do not undo each other's work.

use nexus_common::queue::{Fate, Lane};
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::task::block_in_place;

use crate::support::{Bench, bench, draft};

/// Three batches of three rows are published.
async fn published() -> (Bench, Lane) {
    let bench = bench().await;
    let mut lane = bench.lane("l").await;
    for n in 0..3 {
        lane.publish(&draft(n * 3..n * 3 + 3), &json!(n + 1)).await.unwrap();
    }
    (bench, lane)
}

async fn put_back(bench: &Bench, rows: u64, position: impl Fn(&Value) -> Value) {
    Lane::rewind(&bench.client, &bench.keys, "l", rows, position).await.unwrap();
}

#[tokio::test]
async fn a_producer_goes_on_from_where_the_cursor_was_put_in_a_run_of_its_own() {
    let (bench, mut lane) = published().await;
    put_back(&bench, 3, |_| json!(1)).await;
    assert!(matches!(lane.publish(&draft(9..12), &json!(4)).await, Err(Fate::Rewound(_))));
    let mut again = bench.lane("l").await;
    assert_eq!((again.cursor().rows, &again.cursor().position), (3, &json!(1)));
    again.publish(&draft(3..6), &json!(2)).await.unwrap();
    let batches = bench.batches().await;
    assert_eq!(batches.len(), 4, "a batch was published under a name that was used: {batches:?}");
}

/// The producer does not know whether its batch was committed, looks, and finds the number it would have written.
#[tokio::test]
async fn a_cursor_that_was_put_back_behind_a_publish_whose_answer_is_lost_stays_there() {
    let bench = bench().await;
    let (_proxy, _lane, outcome) = bench.unanswered(async || put_back(&bench, 0, |_| json!(0)).await).await;
    assert!(matches!(outcome, Err(Fate::Rewound(_))), "{outcome:?}");
    let cursor = bench.lane("l").await.cursor().clone();
    assert_eq!((cursor.rows, cursor.position), (0, json!(0)));
}

#[tokio::test]
async fn a_cursor_that_was_put_back_behind_batches_sent_ahead_stays_there() {
    let bench = bench().await;
    let (proxy, mut lane) = bench.far_lane().await;
    proxy.withhold_answers();
    for n in 2..=3 {
        lane.send(&draft(n * 3 - 3..n * 3), &json!(n)).await;
        bench.published("l", n).await;
    }
    put_back(&bench, 3, |_| json!(1)).await;
    let stands = bench.cursor("l").await;
    proxy.cut();
    proxy.heal();
    let outcome = lane.settled().await;
    assert!(matches!(outcome, Some(Err(Fate::Rewound(_)))), "{outcome:?}");
    assert!(lane.settled().await.is_none(), "what was sent behind it is forgotten");
    assert_eq!(bench.cursor("l").await, stands);
}

#[tokio::test]
async fn a_cursor_that_stands_there_or_before_stays_as_it_is() {
    let (bench, _) = published().await;
    let before = bench.cursor("l").await;
    for rows in [9, 10] {
        put_back(&bench, rows, |_| json!("elsewhere")).await;
        assert_eq!(bench.cursor("l").await, before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_put_it_back_whoever_goes_further_is_heeded() {
    let (bench, _) = published().await;
    // The position is asked for between look and write: then somebody else writes.
    put_back(&bench, 6, |_| {
        block_in_place(|| Handle::current().block_on(put_back(&bench, 3, |_| json!(1))));
        json!(2)
    })
    .await;
    let cursor = bench.cursor("l").await.unwrap();
    assert_eq!((cursor.rows, cursor.position), (3, json!(1)));
}
