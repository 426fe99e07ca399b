//! What is refused before there is a connection.

use crate::client::Client;
use crate::world::World;

#[tokio::test]
async fn what_cannot_be_asked_for_is_said() {
    let world = World::new().await;
    let gateway = world.gateway().await;
    for (query, parameter, words) in [
        ("?host=h", "host", "is not a parameter here; there are: cluster_id"),
        ("?gpu_id=0&gpu_id=1", "gpu_id", "twice"),
        ("?mode=some", "mode", "write latest"),
        ("?interval=5", "interval", "write it as"),
        ("?mode=all&interval=5s", "interval", "mode=all must not"),
        ("?since=12", "since", "0123456789abcdef.42"),
        ("?since=0123456789abcdef.-4", "since", "no position"),
    ] {
        for path in ["/ws", "/api/v1/stream"] {
            let (status, problem) = gateway.get(&format!("{path}{query}")).await;
            assert_eq!((status, problem["parameter"].as_str()), (400, Some(parameter)), "{path}{query}: {problem}");
            assert!(problem["detail"].as_str().unwrap().contains(words), "{path}{query}: {problem}");
        }
        let refused = Client::connect(gateway.address, query).await.err().unwrap();
        assert!(refused.starts_with("400 "), "{query}: {refused}");
    }
    let (status, problem) = gateway.get("/ws").await;
    assert_eq!((status, problem["title"].as_str()), (426, Some("Upgrade required")));
}

#[tokio::test]
async fn pages_of_other_origins_are_refused_unless_they_are_named() {
    let world = World::new().await;
    let (other, own) = ("http://other.example", "http://127.0.0.1:");
    let gateway = world.gateway_with(|config| config.cors_origins = vec!["http://named.example".to_owned()]).await;
    let from = async |origin: &str| Client::connect_from(gateway.address, "", Some(origin)).await;
    assert!(from(other).await.is_err_and(|refused| refused.starts_with("403 ") && refused.contains("CORS_ORIGINS")));
    assert!(from("http://named.example").await.is_ok());
    assert!(from(&format!("{own}{}", gateway.address.port())).await.is_ok());

    let gateway = world.gateway_with(|config| config.enable_cors = false).await;
    assert!(Client::connect_from(gateway.address, "", Some(other)).await.is_err(), "without CORS only its own");
    let gateway = world.gateway().await;
    assert!(Client::connect_from(gateway.address, "", Some(other)).await.is_ok(), "* is any");
}

#[tokio::test]
async fn the_feed_can_be_switched_off() {
    let world = World::new().await;
    let gateway = world.gateway_with(|config| config.enable_websocket = false).await;
    for path in ["/ws", "/api/v1/stream"] {
        let (status, problem) = gateway.get(path).await;
        assert_eq!((status, problem["type"].as_str()), (404, Some("urn:nexus:problem:switched-off")), "{path}");
        assert!(problem["detail"].as_str().unwrap().contains("ENABLE_WEBSOCKET=false"), "{problem}");
    }
    assert!(Client::connect(gateway.address, "").await.is_err_and(|refused| refused.starts_with("404 ")));
}
