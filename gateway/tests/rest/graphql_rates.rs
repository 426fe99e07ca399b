//! What is asked over one WebSocket is counted as requests are.

use serde_json::{Value, json};

use crate::graphql_live::Socket;
use crate::world::World;

const QUERY: &str = "{ clusters(limit: 1) { cluster_id } }";
const SUBSCRIPTION: &str = "subscription { telemetry(mode: \"all\") { type } }";
const MUTATION: &str = "mutation { purge_dead_letters(which: {ids: [1]}, dry_run: true) { letters } }";
/// Far more than a bucket fills by while they are asked, one a second, and far fewer than it holds.
const TRIES: usize = 40;
const BURST: u32 = 400;

/// The first answer to an operation; it is over then.
async fn told(socket: &mut Socket, id: &str, query: &str) -> Value {
    socket.ask(id, query).await;
    let answer = socket.next().await;
    assert_eq!(answer["id"], id, "{answer}");
    if answer["payload"].get("errors").is_none() {
        socket.say(json!({"id": id, "type": "complete"})).await;
    }
    // What a subscription still had to tell, and then its end.
    while socket.next().await["type"] != "complete" {}
    answer["payload"].clone()
}

/// Asks over HTTP until nothing is left of the bucket.
async fn empty(world: &World) {
    for _ in 0..BURST + 100 {
        if world.get("/api/v1/clusters").await.status == 429 {
            return;
        }
    }
    panic!("requests are not counted");
}

#[tokio::test]
async fn each_operation_takes_a_token_of_its_clients_bucket() {
    let world = World::keyed("", |config| {
        (config.access.rate_limit, config.access.rate_burst) = (1, BURST);
        config.access.enable_operator_routes = true;
    })
    .await;
    let mut socket = Socket::open(&world).await;
    let is_refused = |answer: &Value| answer["errors"][0]["extensions"]["code"] == "TOO_MANY_REQUESTS";
    let first = told(&mut socket, "0", QUERY).await;
    assert_eq!(first["data"]["clusters"][0]["cluster_id"], "alpha", "{first}");
    for query in [QUERY, SUBSCRIPTION, MUTATION] {
        empty(&world).await;
        let mut refusal = Value::Null;
        for n in 0..TRIES {
            let answer = told(&mut socket, &format!("{n}"), query).await;
            if is_refused(&answer) {
                refusal = answer;
                break;
            }
        }
        let error = &refusal["errors"][0];
        assert!(
            error["message"].as_str().is_some_and(|words| words.contains("RATE_LIMIT=1 a second")),
            "{query}: {refusal}"
        );
        let told = &error["extensions"];
        assert_eq!((&told["retry_after_seconds"], &told["rate_limit_per_second"]), (&json!(1), &json!(1)), "{told}");
        assert_eq!(told["request_id"].as_str().unwrap().len(), 32, "{told}");
    }
    // The connection is as it was: it answers, and after a while it asks again.
    socket.say(json!({"type": "ping"})).await;
    assert_eq!(socket.next().await["type"], "pong");
    nexus_common::testing::eventually("it may ask again", crate::world::PATIENCE, async || {
        world.get("/api/v1/clusters").await.status == 200
    })
    .await;
}

/// Whoever shows no key is known by the address; on this host, without a proxy in between, nobody is counted.
#[tokio::test]
async fn who_is_on_this_host_is_not_counted() {
    let world = World::with(|config| (config.access.rate_limit, config.access.rate_burst) = (1, 1)).await;
    let mut socket = Socket::open(&world).await;
    for n in 0..TRIES {
        let answer = told(&mut socket, &n.to_string(), QUERY).await;
        assert_eq!(answer.get("errors"), None, "{answer}");
    }
}
