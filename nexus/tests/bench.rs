//! `nexus bench` as it is typed: small runs, on servers of their own, that print every figure there is to print.

#![allow(clippy::unwrap_used)]

use std::process::Command;

use serde_json::Value;

fn bench(arguments: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_nexus")).arg("bench").args(arguments).arg("--json").output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_run_prints_every_figure_of_rows_that_were_all_stored() {
    let run = bench(&["--mode", "row", "--rows", "1000", "--gpus", "16", "--light-seconds", "1"]);
    assert_eq!((&run["mode"], &run["rows"], &run["residue"]), (&"row".into(), &1050.into(), &0.into()), "{run}");
    let figures = [
        "seconds",
        "rows_per_second",
        "messages_per_second",
        "publish_p50_ms",
        "publish_p99_ms",
        "publish_to_client_p50_ms",
        "commit_to_client_p99_ms",
        "etcd_file_mib",
        "bytes_per_row",
    ];
    let missing: Vec<_> = figures.iter().filter(|name| !run[*name].as_f64().is_some_and(|it| it > 0.0)).collect();
    assert!(missing.is_empty(), "{missing:?}: {run}");
    for role in ["streamer", "collector", "gateway", "etcd", "postgres"] {
        assert!(run["rss_mib"][role].as_f64().is_some_and(|mib| mib > 0.0), "{role}: {run}");
        assert!(role == "gateway" || run["cpu_seconds"][role].is_number(), "{role}: {run}");
    }
}

#[test]
fn the_document_is_rendered_again_from_what_was_kept() {
    let folder = tempfile::tempdir().unwrap();
    let kept = include_str!("support/kept.json");
    std::fs::create_dir(folder.path().join("bench")).unwrap();
    std::fs::write(folder.path().join("bench/rows.json"), kept).unwrap();
    std::fs::write(folder.path().join("bench/NOTES.md"), "## rows\nThe WAL bounds it.\n").unwrap();
    let document = folder.path().join("BENCHMARKS.md");
    let rendered = Command::new(env!("CARGO_BIN_EXE_nexus"))
        .args(["bench", "--mode", "all", "--render", "--report"])
        .arg(&document)
        .output()
        .unwrap();
    assert!(rendered.status.success(), "{rendered:?}");
    let text = std::fs::read_to_string(&document).unwrap();
    assert!(text.contains("| rows/s | 5,000 | 6,000 |") && text.contains("The WAL bounds it."), "{text}");
    let plot = std::fs::read_to_string(folder.path().join("bench/rows.svg")).unwrap();
    assert!(plot.contains(">1,000</text>"), "{plot}");
}
