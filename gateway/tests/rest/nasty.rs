//! Whatever stands behind the question mark, in a header or in a GraphQL document: it is answered, or refused as a
//! problem that says why, and never a fault of the gateway. A corpus and its mutations: see `testing::fuzz`.

use nexus_common::testing::fuzz_server;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::http::{Answer, request, send};
use crate::world::World;

/// Requests that do not end, or are asked elsewhere.
const ENDLESS: [&str; 3] = ["/api/v1/stream", "/ws", "/graphql"];

fn corpus(name: &str) -> String {
    format!("{}/tests/corpus/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// A gateway, and what it runs on.
fn world() -> (Runtime, World) {
    let runtime = Runtime::new().unwrap();
    let world = runtime.block_on(World::new());
    (runtime, world)
}

/// The first line of an input is a path with its parameters, the others are headers.
#[test]
fn any_parameter_is_taken_or_refused_as_a_problem() {
    let (runtime, world) = world();
    fuzz_server(corpus("query"), |input| {
        let input = String::from_utf8_lossy(input);
        let mut lines = input.lines();
        let path = printable(lines.next().unwrap_or_default());
        if ENDLESS.contains(&path.split('?').next().unwrap_or_default()) {
            return;
        }
        let headers: Vec<_> = lines.filter_map(|line| line.split_once(": ")).filter(is_header).collect();
        let answer = runtime.block_on(request(world.address, "GET", &path, &headers));
        is_no_fault(&path, &answer);
    });
    assert_eq!(runtime.block_on(world.get("/live")).status, 200);
}

#[test]
fn any_graphql_is_answered_or_refused() {
    let (runtime, world) = world();
    fuzz_server(corpus("graphql"), |input| {
        let text = String::from_utf8_lossy(input);
        // A document alone, or the whole body.
        let body = if text.starts_with(['{', '[']) && text.contains("\"query\"") {
            text.into_owned()
        } else {
            json!({"query": text}).to_string()
        };
        let headers = [("Content-Type", "application/json")];
        let answer = runtime.block_on(send(world.address, "POST", "/graphql", &headers, &body));
        assert!(answer.status < 500, "{body}: {answer:?}");
        let said: Value = answer.json();
        for one in said.as_array().cloned().unwrap_or_else(|| vec![said]) {
            let errors = one["errors"].as_array();
            assert!(errors.is_some() || one["data"].is_object() || one["title"].is_string(), "{body}: {answer:?}");
            for error in errors.into_iter().flatten() {
                assert_ne!(error["extensions"]["code"], "INTERNAL", "{body}: {answer:?}");
            }
        }
    });
    assert_eq!(runtime.block_on(world.get("/live")).status, 200);
}

fn is_no_fault(path: &str, answer: &Answer) {
    assert!((200..500).contains(&answer.status), "{path}: {answer:?}");
    if answer.status >= 400 {
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{path}: {answer:?}");
        let problem = answer.json();
        assert_eq!(problem["status"], answer.status, "{path}: {problem}");
        for field in ["type", "title", "detail"] {
            assert!(problem[field].as_str().is_some_and(|text| !text.is_empty()), "{path}: {problem}");
        }
    }
}

/// What can stand in a request line; everything else is percent-encoded, as a client does.
fn printable(path: &str) -> String {
    let mut line = if path.starts_with('/') { String::new() } else { "/".to_owned() };
    for byte in path.bytes() {
        match byte {
            b'!'..=b'~' if !matches!(byte, b'#' | b'"' | b'<' | b'>' | b'`' | b'{' | b'}' | b'|' | b'\\' | b'^') => {
                line.push(char::from(byte));
            }
            _ => line.push_str(&format!("%{byte:02X}")),
        }
    }
    line
}

/// One that HTTP has, and that does not change how the request itself is read.
fn is_header((name, value): &(&str, &str)) -> bool {
    let framing = ["content-length", "transfer-encoding", "host", "connection", "expect", "upgrade"];
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !framing.contains(&name.to_ascii_lowercase().as_str())
        && !value.chars().any(char::is_control)
}
