//! What cannot work is one clear line and exit status 2, before anything is done.

use crate::rows::HEADER;
use crate::world::World;

async fn refuses(world: &World, component: &str, environment: &[(&str, &str)], words: &str) {
    let mut process = world.start(component, environment);
    let status = process.ended().await;
    let log = process.log();
    assert_eq!(status.code(), Some(2), "{environment:?}: {log}");
    assert_eq!(log.lines().count(), 1, "{environment:?}: {log}");
    assert!(log.contains(words), "{environment:?}: {log}");
}

#[tokio::test]
async fn a_source_that_cannot_work_is_one_line() {
    let world = World::new().await;
    let path = |name: &str, content: &[u8]| world.file(name, content).to_str().unwrap().to_owned();
    let empty = path("empty.csv", b"");
    let other = path("other.csv", b"a,b,c\n1,2,3\n");
    let binary = path("binary.csv", &[0, 159, 146, 150, 0, 1, 2]);
    let header_only = path("header.csv", HEADER.as_bytes());
    refuses(&world, "streamer", &[("CSV_FILE", "/no/such/file.csv")], "no such file").await;
    refuses(&world, "streamer", &[("CSV_FILE", &empty)], "the file is empty").await;
    refuses(&world, "streamer", &[("CSV_FILE", &other)], "expected").await;
    refuses(&world, "streamer", &[("CSV_FILE", &binary)], "expected").await;
    refuses(&world, "streamer", &[("CSV_FILE", &header_only)], "no rows").await;
}

#[tokio::test]
async fn a_variable_that_cannot_be_read_is_one_line() {
    let world = World::new().await;
    for (component, name, value, words) in [
        ("streamer", "BATCH_SIZE", "many", "BATCH_SIZE"),
        ("streamer", "BATCH_SIZE", "0", "1..=1000000"),
        ("streamer", "STREAM_INTERVAL", "3", "3s"),
        ("streamer", "LOOP_MODE", "perhaps", "true or false"),
        ("streamer", "STRIPE", "2/2", "0/2"),
        ("streamer", "MESSAGE_QUEUE_PREFIX", "queue", "/telemetry/queue"),
        ("collector", "WORKERS", "0", "1..=64"),
        ("collector", "LOG_LEVEL", "a=b=c", "LOG_LEVEL"),
        ("collector", "LOG_LEVEL", "loud", "debug, info, warn or error"),
        ("streamer", "ETCD_ENDPOINTS", "::::", "localhost:2379"),
        ("gateway", "PORT", "99999", "65535"),
    ] {
        refuses(&world, component, &[(name, value)], words).await;
    }
}

/// Nobody reads from another host unless somebody said so.
#[tokio::test]
async fn a_gateway_that_others_reach_needs_keys_or_a_word() {
    let world = World::new().await;
    let port = nexus_common::servers::free_port().unwrap().to_string();
    let file = |name: &str, content: &str| world.file(name, content).to_str().unwrap().to_owned();
    let (empty, wrong) = (file("empty", "# nobody yet\n"), file("wrong", "alice reader secret\n"));
    for (environment, words) in [
        (&[("BIND_ADDRESS", "0.0.0.0")][..], "API_KEYS_FILE"),
        (&[("BIND_ADDRESS", "0.0.0.0")], "ALLOW_ANONYMOUS=true"),
        (&[("BIND_ADDRESS", "::")], "ALLOW_ANONYMOUS=true"),
        (&[("API_KEYS_FILE", "/no/such/file")], "API_KEYS_FILE=/no/such/file: No such file"),
        (&[("API_KEYS_FILE", &empty)], "names no key"),
        (&[("API_KEYS_FILE", &wrong)], "line 1: the third word is no SHA-256"),
        (&[("ENABLE_OPERATOR_ROUTES", "true")], "needs API_KEYS_FILE"),
        (&[("TRUSTED_PROXIES", "10.0.0.0/33")], "10.0.0.0/8"),
    ] {
        refuses(&world, "gateway", &[&[("PORT", port.as_str())], environment].concat(), words).await;
    }
}
