//! What others may put into etcd, tried with a corpus and its mutations: see `nexus_common::testing::fuzz`.

#![allow(clippy::unwrap_used)]

mod targets;

use nexus_common::testing::fuzz;

fn corpus(name: &str) -> String {
    format!("{}/tests/corpus/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn any_message_is_read_or_refused() {
    fuzz(corpus("message"), targets::message);
}

#[test]
fn any_key_is_read_or_refused() {
    fuzz(corpus("key"), targets::key);
}

#[test]
fn any_manifest_is_read_or_refused() {
    fuzz(corpus("manifest"), targets::manifest);
}

#[test]
fn any_cursor_is_read_or_refused() {
    fuzz(corpus("cursor"), targets::cursor);
}

#[test]
fn any_feed_is_read_or_refused() {
    fuzz(corpus("feed"), targets::feed);
}
