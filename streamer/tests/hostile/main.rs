//! Files that nobody should send, tried with a corpus and its mutations: see `nexus_common::testing::fuzz`.

#![allow(clippy::unwrap_used)]

mod targets;

use nexus_common::testing::fuzz;

fn corpus(name: &str) -> String {
    format!("{}/tests/corpus/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn any_file_becomes_rows_that_tile_it_or_is_refused() {
    fuzz(corpus("csv"), targets::csv);
}

#[test]
fn any_zipped_file_is_read_or_refused() {
    fuzz(corpus("gzip"), targets::gzip);
}
