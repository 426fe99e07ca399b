//! PUBLISH: once or not at all, in keys that people and the rest of the system can read.

use std::collections::{HashMap, HashSet};

use nexus_common::domain::Timestamp;
use nexus_common::queue::{Body, Fate, MessageKey};
use serde_json::{Value, json};

use crate::support::{FUTURE_MS, TTL, bench, body, draft, draft_of};

#[tokio::test]
async fn a_message_key_reads_as_the_operator_knows_it() {
    let bench = bench().await;
    let mut lane = bench.lane("l").await;
    let opened = bench.client.list(&bench.keys.lanes(), 1).await.unwrap().kvs[0].mod_revision();
    let before = Timestamp::now().as_millis();
    let batch =
        lane.publish(&draft_of(vec![body("host-001", &[2]), body("a_b/c%", &[3])]), &Value::Null).await.unwrap();
    assert!((before..=Timestamp::now().as_millis()).contains(&batch.published_ms));
    let keys: HashSet<_> = bench.messages().await.iter().map(|kv| kv.key_str().unwrap().to_owned()).collect();
    let expected = [
        format!("/telemetry/queue/bench/{}_host-001_0_{opened}000000000", batch.published_ms),
        format!("/telemetry/queue/bench/{}_a%5Fb%2Fc%25_0_{opened}000000001", batch.published_ms),
    ];
    assert_eq!(keys, expected.into());
    let (_, manifest, _) = bench.batches().await.remove(0);
    assert!(manifest.first < manifest.last, "first and last are in byte order: {manifest:?}");
    assert_eq!((manifest.messages, manifest.rows, manifest.rows_before), (2, 2, 0));
    assert_eq!(manifest.source.lines, [2, 3]);
}

#[tokio::test]
async fn a_row_nobody_understands_travels_under_no_host() {
    let bench = bench().await;
    let reject = nexus_common::domain::Reject::new("no timestamp", b"a,b");
    let dead = Body::Dead { line: 7, byte: 70, reject };
    bench.lane("l").await.publish(&draft_of(vec![dead]), &Value::Null).await.unwrap();
    let messages = bench.messages().await;
    let key: MessageKey = messages[0].key_str().unwrap().parse().unwrap();
    assert_eq!((key.host.as_str(), key.gpu.as_str()), ("", ""));
    assert!(messages[0].key_str().unwrap().contains("_-_-_"));
}

#[tokio::test]
async fn only_messages_expire_and_a_lease_holds_at_most_a_thousand() {
    let bench = bench().await;
    let mut lane = bench.lane("l").await;
    for n in 0..11 {
        lane.publish(&draft(n * 100..n * 100 + 100), &Value::Null).await.unwrap();
    }
    let mut by_lease: HashMap<i64, usize> = HashMap::new();
    for kv in bench.messages().await {
        *by_lease.entry(kv.lease()).or_default() += 1;
    }
    let mut counts: Vec<_> = by_lease.values().copied().collect();
    counts.sort_unstable();
    assert_eq!(counts, [100, 1_000], "one lease per lane and minute, at most 1,000 keys each");
    let mut raw = etcd_client::Client::connect([bench.etcd.endpoint()], None).await.unwrap();
    for lease in by_lease.keys() {
        let found = raw.lease_time_to_live(*lease, None).await.unwrap();
        assert_eq!(found.granted_ttl(), TTL.as_secs() as i64 + 60);
    }
    for prefix in [bench.keys.manifests(), bench.keys.lanes()] {
        for kv in bench.client.list(&prefix, usize::MAX).await.unwrap().kvs {
            assert_eq!(kv.lease(), 0, "{} has a lease", kv.key_str().unwrap());
        }
    }
    for (_, manifest, _) in bench.batches().await {
        assert!(by_lease.contains_key(&manifest.lease), "the manifest names the lease of its messages");
    }
}

#[tokio::test]
async fn a_publish_whose_answer_is_lost_commits_once() {
    let bench = bench().await;
    let (_proxy, mut lane, batch) = bench.unanswered(async || {}).await;
    assert_eq!(batch.unwrap().n, 2);
    assert_eq!(lane.publish(&draft(6..9), &json!(3)).await.unwrap().n, 3);
    bench.has_each_row_once(9).await;
    assert_eq!(bench.cursor("l").await.unwrap().position, json!(3));
}

#[tokio::test]
async fn a_publish_that_never_arrived_is_made_good() {
    let bench = bench().await;
    let (proxy, mut lane) = bench.far_lane().await;
    proxy.stall();
    let (second, position) = (draft(3..6), json!(2));
    let (batch, ()) = tokio::join!(lane.publish(&second, &position), async {
        // The request waits in the line, and goes down with it.
        proxy.cut();
        proxy.heal();
    });
    assert_eq!(batch.unwrap().n, 2);
    assert_eq!(bench.messages().await.len(), 6);
}

#[tokio::test]
async fn a_publish_waits_for_an_etcd_that_was_killed() {
    let mut bench = bench().await;
    let mut lane = bench.lane("l").await;
    lane.publish(&draft(0..3), &json!(1)).await.unwrap();
    bench.etcd.kill().await.unwrap();
    let (second, position) = (draft(3..6), json!(2));
    let (batch, restarted) = tokio::join!(lane.publish(&second, &position), bench.etcd.restart());
    restarted.unwrap();
    assert_eq!(batch.unwrap().n, 2);
    assert_eq!(bench.messages().await.len(), 6);
}

#[tokio::test]
async fn a_fenced_lane_stops_and_leaves_nothing() {
    let bench = bench().await;
    let mut old = bench.lane("l").await;
    old.publish(&draft(0..3), &json!(3)).await.unwrap();
    let mut new = bench.lane("l").await;
    assert_eq!((new.cursor().epoch, new.cursor().n, new.cursor().rows), (2, 0, 3));
    assert_eq!(new.cursor().position, json!(3), "the successor goes on where the lane stands");
    let fenced = old.publish(&draft(3..6), &json!(6)).await.unwrap_err();
    assert!(matches!(&fenced, Fate::Fenced(lane) if lane == "l"), "{fenced}");
    assert_eq!(bench.messages().await.len(), 3);
    assert_eq!(new.publish(&draft(3..6), &json!(6)).await.unwrap().n, 1);
    assert!(matches!(old.publish(&draft(3..6), &json!(6)).await, Err(Fate::Fenced(_))));
    assert_eq!(bench.messages().await.len(), 6);
}

#[tokio::test]
async fn an_etcd_that_went_back_in_time_is_noticed() {
    let bench = bench().await;
    let key = bench.keys.lane("l");
    let rewound = |outcome: Result<_, Fate>| matches!(outcome, Err(Fate::Rewound(_)));

    let mut lane = bench.lane("l").await;
    lane.publish(&draft(0..3), &json!(1)).await.unwrap();
    let earlier = bench.value(&key).await.unwrap();
    lane.publish(&draft(3..6), &json!(2)).await.unwrap();
    bench.put(&key, earlier).await;
    assert!(rewound(lane.publish(&draft(6..9), &json!(3)).await), "an older cursor");

    let mut lane = bench.lane("l").await;
    bench.put(&key, bench.value(&key).await.unwrap()).await;
    assert!(rewound(lane.publish(&draft(6..9), &json!(3)).await), "the same cursor, written by somebody else");

    let mut lane = bench.lane("l").await;
    bench.delete(&key).await;
    assert!(rewound(lane.publish(&draft(6..9), &json!(3)).await), "no cursor");
    assert_eq!(bench.messages().await.len(), 6);
}

#[tokio::test]
async fn a_lost_lease_is_replaced() {
    let bench = bench().await;
    let mut lane = bench.lane("l").await;
    lane.publish(&draft(0..3), &Value::Null).await.unwrap();
    let (_, first, _) = bench.batches().await.remove(0);
    bench.client.revoke(first.lease).await.unwrap();
    lane.publish(&draft(3..6), &Value::Null).await.unwrap();
    let (_, second, _) = bench.batches().await.remove(1);
    assert_ne!(first.lease, second.lease);
    assert_eq!(bench.messages().await.len(), 3, "the first batch's messages went with their lease");
}

#[tokio::test]
async fn a_batch_over_the_limits_is_refused_and_the_lane_goes_on() {
    let bench = bench().await;
    let mut lane = bench.lane("l").await;
    let many = lane.publish(&draft(0..200), &Value::Null).await.unwrap_err();
    assert!(matches!(many, Fate::TooLarge(_)), "{many}");
    let huge = Body::Dead {
        line: 1,
        byte: 0,
        reject: nexus_common::domain::Reject { raw: vec![b'x'; 2 << 20], ..nexus_common::domain::Reject::new("", b"") },
    };
    let huge = lane.publish(&draft_of(vec![huge]), &Value::Null).await.unwrap_err();
    assert!(matches!(huge, Fate::TooLarge(_)), "{huge}");
    assert_eq!(bench.cursor("l").await.unwrap().n, 0);
    assert_eq!(lane.publish(&draft(0..120), &Value::Null).await.unwrap().n, 1);
    assert_eq!(bench.messages().await.len(), 120);
}

#[tokio::test]
async fn a_clock_that_steps_back_moves_no_key_back() {
    let bench = bench().await;
    let mut lane = bench.future_lane("l").await;
    let first = lane.publish(&draft(0..3), &Value::Null).await.unwrap();
    let second = lane.publish(&draft(3..6), &Value::Null).await.unwrap();
    assert_eq!((first.published_ms, second.published_ms), (FUTURE_MS, FUTURE_MS));
    let reopened = bench.lane("l").await.publish(&draft(6..9), &Value::Null).await.unwrap();
    assert_eq!(reopened.published_ms, FUTURE_MS);
    assert_eq!(bench.messages().await.len(), 9, "one time, different sequences");
}
