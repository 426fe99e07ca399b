//! `subscribe` and `unsubscribe`.

use serde_json::json;

use crate::client::samples;
use crate::world::{World, sample};

#[tokio::test]
async fn subscriptions_come_and_go() {
    let world = World::new().await;
    let gateway = world.gateway().await;
    let mut client = gateway.all("gpu_id=0").await;
    let tell = async || {
        world
            .tell("alpha", ["0", "1", "2"].map(|gpu| sample("h", gpu, &[("xid", 1.0), ("power_watts", 2.0)])).into())
            .await
    };

    tell().await;
    assert_eq!(samples(&client.frame().await), ["h/0: power_watts=2 xid=1"]);
    let answer = client.ask(&json!({"type": "subscribe", "id": "a", "gpu_id": "1"})).await;
    assert_eq!(
        answer,
        json!({"type": "subscribed", "id": "a", "filters": 1}),
        "in the place of what the URL asked for"
    );
    let answer = client.ask(&json!({"type": "subscribe", "gpu_id": "2", "metrics": ["xid_errors"]})).await;
    assert_eq!(answer, json!({"type": "subscribed", "id": "1", "filters": 2}));
    tell().await;
    assert_eq!(samples(&client.frame().await), ["h/1: power_watts=2 xid=1", "h/2: xid=1"]);

    let answer = client.ask(&json!({"type": "subscribe", "id": "a", "gpu_id": "0", "metrics": ["power_draw"]})).await;
    assert_eq!(answer["filters"], 2, "the same name, another wish");
    tell().await;
    assert_eq!(samples(&client.frame().await), ["h/0: power_watts=2", "h/2: xid=1"]);

    let answer = client.ask(&json!({"type": "unsubscribe", "id": "1"})).await;
    assert_eq!(answer, json!({"type": "unsubscribed", "id": "1", "filters": 1}));
    tell().await;
    assert_eq!(samples(&client.frame().await), ["h/0: power_watts=2"]);
    let answer = client.ask(&json!({"type": "unsubscribe"})).await;
    assert_eq!(answer, json!({"type": "unsubscribed", "filters": 0}));
    tell().await;
    client.is_quiet().await;
    client.ask(&json!({"type": "subscribe"})).await;
    tell().await;
    assert_eq!(client.frame().await["samples"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn the_manner_can_be_changed() {
    let world = World::new().await;
    let gateway = world.gateway().await;
    let mut client = gateway.all("").await;
    let answer = client.ask(&json!({"type": "subscribe", "mode": "all", "interval": "1s"})).await;
    assert!(answer["reason"].as_str().unwrap().starts_with("interval: merges frames"), "{answer}");
    client.ask(&json!({"type": "subscribe", "mode": "latest", "interval": "1s"})).await;
    world.power("h", "0", 0.0).await;
    assert_eq!(samples(&client.frame().await), ["h/0: power_watts=0"]);
    for watts in 1..10 {
        world.power("h", "0", f64::from(watts)).await;
    }
    let last = world.power("h", "0", 10.0).await;
    let frame = client.frame().await;
    assert_eq!((samples(&frame), &frame["revision"]), (vec!["h/0: power_watts=10".to_owned()], &json!(last)));
    client.ask(&json!({"type": "subscribe", "id": "all", "mode": "all"})).await;
    for watts in 0..3 {
        let revision = world.power("h", "0", f64::from(watts)).await;
        assert_eq!(client.revision().await, revision);
    }
}

#[tokio::test]
async fn what_cannot_be_understood_is_said_and_changes_nothing() {
    let world = World::new().await;
    let gateway = world.gateway_with(|config| config.bounds.live_filters = 2).await;
    let mut client = gateway.all("").await;
    let long = "x".repeat(600);
    for (message, reason) in [
        (json!(5), "cannot be understood"),
        (json!({"type": "subscribe", "host": "h"}), "unknown field `host`"),
        (json!({"type": "resubscribe"}), "unknown variant `resubscribe`"),
        (json!({"id": "a"}), "missing field `type`"),
        (json!({"type": "subscribe", "mode": "some"}), "mode: write latest"),
        (json!({"type": "subscribe", "mode": "latest", "interval": "5"}), "interval: "),
        (json!({"type": "subscribe", "mode": "latest", "interval": "2h"}), "longest"),
        (json!({"type": "subscribe", "metrics": vec!["m"; 101]}), "at most 100"),
        (json!({"type": "subscribe", "host_id": long}), "longer than 512 bytes"),
        (json!({"type": "unsubscribe", "id": "b"}), "no subscription of this id"),
    ] {
        let answer = client.ask(&message).await;
        assert_eq!(answer["type"], "error", "{message}");
        assert!(answer["reason"].as_str().unwrap().contains(reason), "{message}: {answer}");
        assert_eq!(answer["request_id"].as_str().unwrap().len(), 32, "the log has it: {answer}");
    }
    let revision = world.power("h", "0", 1.0).await;
    assert_eq!(client.revision().await, revision, "what the URL asked for holds");

    for id in ["a", "b"] {
        assert_eq!(client.ask(&json!({"type": "subscribe", "id": id})).await["type"], "subscribed");
    }
    let answer = client.ask(&json!({"type": "subscribe", "id": "c"})).await;
    assert_eq!((&answer["type"], &answer["id"]), (&json!("error"), &json!("c")));
    assert!(answer["reason"].as_str().unwrap().contains("2 subscriptions are the most"), "{answer}");
}
