//! I6: a full etcd can be drained, because draining needs deletes and keep-alives only.

use std::time::Duration;

use nexus_common::etcd::{Error, PutOptions, Txn, TxnOp};
use nexus_common::testing;
use serde_json::{Value, json};

use crate::support::{batches, bench_on, claimed, draft, lines};

#[tokio::test]
async fn a_full_etcd_is_drained_and_takes_messages_again() {
    let bench = bench_on(testing::etcd_with(|options| options.quota_backend_bytes = 16 << 20).await).await;
    let (client, keys) = (&bench.client, &bench.keys);
    let mut lane = bench.lane("l").await;
    for n in 0..5 {
        lane.publish(&draft(n * 10..n * 10 + 10), &json!(n)).await.unwrap();
    }
    let (consumer, session) = (bench.consumer("c"), bench.session().await);
    let held = claimed(bench.claim_first(&consumer, session).await);

    let filler = vec![b'x'; 1 << 20];
    let full = loop {
        let put = TxnOp::put("/filler", filler.clone(), None::<PutOptions>);
        if let Err(error) = client.txn(Txn::new().and_then([put])).await {
            break error;
        }
    };
    assert!(matches!(full, Error::NoSpace), "{full}");
    assert!(client.out_of_space().await.unwrap());
    assert!(matches!(client.grant(Duration::from_secs(60)).await, Err(Error::NoSpace)));
    let (batch, manifest, revision) = batches(client, keys).await.remove(1);
    assert!(matches!(consumer.claim(&batch, &manifest, revision, session).await, Err(Error::NoSpace)));
    assert!(client.renew(session).await.unwrap(), "a session lives on");
    assert!(matches!(consumer.ack(&held, Some(&filler[..1000])).await, Err(Error::NoSpace)));

    let (sixth, position) = (draft(50..60), json!(5));
    let mut publishing = Box::pin(lane.publish(&sixth, &position));
    let mut drained = Vec::new();
    let draining = async {
        // What was claimed before goes like the rest.
        for (batch, manifest, revision) in batches(client, keys).await {
            let read = claimed(consumer.read(&batch, &manifest, revision).await.unwrap());
            assert_eq!(read.attempt, 0);
            drained.extend(lines(&read));
            assert!(consumer.ack(&read, None).await.unwrap());
            consumer.release(&read).await.unwrap();
        }
    };
    tokio::select! {
        () = draining => {}
        outcome = &mut publishing => panic!("published into a full etcd: {outcome:?}"),
    }
    assert_eq!(drained, (0..50).collect::<Vec<_>>());
    for prefix in [keys.messages(), keys.manifests(), keys.claims(), "/telemetry/attempt/".to_owned()] {
        assert_eq!(client.count(&prefix).await.unwrap(), 0, "{prefix}");
    }
    assert!(!consumer.ack(&held, None).await.unwrap());

    let revision = client.list(&keys.lanes(), 1).await.unwrap().revision;
    client.compact(revision, true).await.unwrap();
    client.compact(revision, true).await.unwrap();
    client.defragment().await.unwrap();
    client.disarm().await.unwrap();
    assert!(!client.out_of_space().await.unwrap());
    assert!(client.health().await.unwrap().file_bytes < 4 << 20);
    assert_eq!(publishing.as_mut().await.unwrap().n, 6);
    drop(publishing);
    assert_eq!(lane.publish(&draft(60..70), &Value::Null).await.unwrap().n, 7);
    assert_eq!(bench.messages().await.len(), 20);
}
