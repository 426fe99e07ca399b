//! Many at once: what one transaction decides, no other undoes.

use std::collections::{BTreeMap, HashSet};

use nexus_common::queue::{Fate, MessageKey, Outcome};
use serde_json::json;
use tokio::task::JoinSet;

use crate::support::{bench, draft, lines_in};

#[tokio::test]
async fn sequences_are_unique_over_lanes_and_runs() {
    let bench = bench().await;
    let mut producers = JoinSet::new();
    for name in ["a", "b", "c"] {
        let (client, keys) = (bench.client.clone(), bench.keys.clone());
        producers.spawn(async move {
            for run in 0..3 {
                let mut lane = nexus_common::queue::Lane::open(&client, &keys, name, &json!(0), crate::support::TTL)
                    .await
                    .unwrap();
                for n in 0..5 {
                    lane.publish(&draft(run * 100 + n * 10..run * 100 + n * 10 + 10), &json!(n)).await.unwrap();
                }
            }
        });
    }
    producers.join_all().await;
    let keys: Vec<MessageKey> =
        bench.messages().await.iter().map(|kv| kv.key_str().unwrap().parse().unwrap()).collect();
    assert_eq!(keys.len(), 3 * 3 * 50);
    assert_eq!(keys.iter().map(|key| key.sequence).collect::<HashSet<_>>().len(), keys.len());
}

/// I1: producers that fence each other again and again publish every row once, and no number twice.
#[tokio::test]
async fn producers_that_fence_each_other_publish_each_row_once() {
    const ROWS: u64 = 120;
    let bench = bench().await;
    let mut producers = JoinSet::new();
    for _ in 0..3 {
        let (client, keys) = (bench.client.clone(), bench.keys.clone());
        producers.spawn(async move {
            'opened: loop {
                let mut lane =
                    nexus_common::queue::Lane::open(&client, &keys, "l", &json!(0), crate::support::TTL).await.unwrap();
                loop {
                    let at = lane.cursor().position.as_u64().unwrap();
                    if at >= ROWS {
                        return;
                    }
                    match lane.publish(&draft(at..at + 3), &json!(at + 3)).await {
                        Ok(_) => {}
                        Err(Fate::Fenced(_)) => continue 'opened,
                        Err(other) => panic!("{other}"),
                    }
                }
            }
        });
    }
    producers.join_all().await;
    let mut lines: Vec<_> = bench.messages().await.iter().flat_map(|kv| lines_in(kv.value())).collect();
    lines.sort_unstable();
    assert_eq!(lines, (0..ROWS).collect::<Vec<_>>());
    let mut numbers: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut rows_before = Vec::new();
    for (batch, manifest, _) in bench.batches().await {
        numbers.entry(batch.run).or_default().push(batch.n);
        rows_before.push(manifest.rows_before);
    }
    for (run, mut numbers) in numbers {
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>(), "run {run}");
    }
    rows_before.sort_unstable();
    assert_eq!(rows_before, (0..ROWS).step_by(3).collect::<Vec<_>>());
}

/// I4: of many that claim a batch at once one gets it.
#[tokio::test]
async fn one_of_many_claimers_gets_the_batch() {
    let bench = bench().await;
    bench.lane("l").await.publish(&draft(0..5), &json!(0)).await.unwrap();
    let (batch, manifest, revision) = bench.batches().await.remove(0);
    let mut claimers = JoinSet::new();
    for id in 0..8 {
        let (consumer, lease) = (bench.consumer(&format!("c{id}")), bench.session().await);
        let (batch, manifest) = (batch.clone(), manifest.clone());
        claimers.spawn(async move { consumer.claim(&batch, &manifest, revision, lease).await.unwrap() });
    }
    let outcomes = claimers.join_all().await;
    let (won, lost): (Vec<_>, Vec<_>) = outcomes.iter().partition(|outcome| matches!(outcome, Outcome::Claimed(_)));
    assert_eq!((won.len(), lost.len()), (1, 7));
    assert!(lost.iter().all(|outcome| matches!(outcome, Outcome::Taken)));
}
