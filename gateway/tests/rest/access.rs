//! Who is let in over HTTP, and how often. What keys open, everywhere, is tried in `nexus/tests/operator/keys.rs`.

use std::time::Instant;

use crate::http::{request, send};
use crate::world::World;

#[tokio::test]
async fn a_refusal_says_what_to_show_and_pages_can_read_it() {
    let world = World::keyed("", |_| ()).await;
    let page = [("Origin", "http://page.example")];
    let answer = request(world.address, "GET", "/api/v1/clusters", &page).await;
    assert_eq!((answer.status, answer.header("www-authenticate")), (401, Some("Bearer realm=\"nexus\"")));
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    let problem = answer.json();
    assert_eq!(problem["type"], "urn:nexus:problem:unauthorized");
    assert!(problem["request_id"].is_string() && answer.header("x-request-id").is_some());
    assert_eq!(world.ask("GET", "/api/v1/clusters", &page).await.status, 200);
    // Before a page sends a key it asks whether it may, and shows none.
    let asked =
        [page[0], ("Access-Control-Request-Method", "GET"), ("Access-Control-Request-Headers", "authorization")];
    let answer = request(world.address, "OPTIONS", "/api/v1/clusters", &asked).await;
    assert_eq!(answer.status, 200);
    assert!(answer.header("access-control-allow-headers").unwrap().contains("authorization"), "{answer:?}");
    let document = world.json("/openapi.json").await;
    assert_eq!(document["security"], serde_json::json!([{"key": []}]));
    assert_eq!(document["components"]["securitySchemes"]["key"]["scheme"], "bearer");
}

#[tokio::test]
async fn anybody_reads_where_that_was_said_but_not_with_a_wrong_key() {
    let world = World::keyed("", |config| config.access.allow_anonymous = true).await;
    let ask = async |key: &str| {
        let key = format!("Bearer {key}");
        request(world.address, "GET", "/api/v1/clusters", &[("Authorization", &key)]).await.status
    };
    assert_eq!(request(world.address, "GET", "/api/v1/clusters", &[]).await.status, 200);
    assert_eq!([ask("nxk_reader_nonsense").await, ask("").await], [401, 401]);
    assert_eq!(world.get("/api/v1/actions").await.status, 200, "olga's");
    assert_eq!(request(world.address, "GET", "/api/v1/actions", &[]).await.status, 403);
}

#[tokio::test]
async fn without_keys_nobody_acts() {
    let world = World::new().await;
    assert_eq!(world.get("/api/v1/dead-letters").await.status, 200);
    assert_eq!(world.get("/metrics").await.status, 200);
    for path in ["/api/v1/dead-letters/redrive", "/api/v1/dead-letters/purge"] {
        let json = [("Content-Type", "application/json")];
        let answer = send(world.address, "POST", path, &json, r#"{"which":{"all":true}}"#).await;
        assert_eq!(answer.status, 403, "{answer:?}");
        assert_eq!(world.get(path).await.status, 405);
    }
    let answer = request(world.address, "GET", "/api/v1/clusters", &[("Authorization", "Bearer nxk_reader_x")]).await;
    assert_eq!(answer.status, 401, "whoever shows a key believes that it is asked for");
    assert_eq!(world.json("/openapi.json").await["security"][0], serde_json::json!({}));
}

#[tokio::test]
async fn operators_act_only_where_that_is_switched_on() {
    let world = World::keyed("", |_| ()).await;
    let answer = world.ask("POST", "/api/v1/dead-letters/purge", &[("Content-Type", "application/json")]).await;
    assert_eq!(answer.status, 400, "a body is wanted first: {answer:?}");
    let answer = world.ask("POST", "/api/v1/dead-letters/purge", &[]).await;
    assert_eq!(answer.status, 415, "{answer:?}");
}

#[tokio::test]
async fn whoever_asks_too_often_is_told_when_to_come_back() {
    let world = World::with(|config| {
        (config.access.rate_limit, config.access.rate_burst) = (1, 3);
        config.access.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    let ask = async |path: &str, from: &str| request(world.address, "GET", path, &[("X-Forwarded-For", from)]).await;
    // Every second of a slow machine lets one more through.
    let refused_in_the_end = async |path: &str, from: &str| {
        let mut answered = 0;
        loop {
            let answer = ask(path, from).await;
            match answer.status {
                200 => answered += 1,
                _ => break (answered, answer),
            }
        }
    };
    let began = Instant::now();
    let (answered, refused) = refused_in_the_end("/api/v1/clusters", "192.0.2.1").await;
    assert!((3..=3 + began.elapsed().as_secs()).contains(&answered), "{answered} in {:?}", began.elapsed());
    assert_eq!(refused.status, 429);
    let (_, refused) = refused_in_the_end("/graphql?query={clusters{status}}", "192.0.2.1").await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("1")));
    assert_eq!(refused.json()["type"], "urn:nexus:problem:too-many-requests");
    // Whoever restarts this process is never refused, nor are others, nor this host itself.
    assert_eq!(ask("/ready", "192.0.2.1").await.status, 200);
    assert_eq!(ask("/api/v1/clusters", "192.0.2.2").await.status, 200);
    for _ in 0..20 {
        assert_eq!(world.get("/api/v1/clusters").await.status, 200);
    }
    // What a client writes in front of what the proxy saw is not believed.
    let (_, refused) = refused_in_the_end("/api/v1/clusters", "198.51.100.7, 192.0.2.1").await;
    assert_eq!(refused.status, 429);
}
