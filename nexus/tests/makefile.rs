//! The commands that people type exist under exactly these names.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

const TARGETS: [&str; 27] = [
    "setup-etcd",
    "build-nexus",
    "run-nexus-pipeline",
    "run-nexus-streamer",
    "run-nexus-collector",
    "run-nexus-gateway",
    "build-nexus-streamer",
    "build-nexus-collector",
    "build-nexus-gateway",
    "build-web",
    "test",
    "test-integration",
    "test-faults",
    "test-mutants",
    "test-upgrade",
    "drill",
    "test-fuzz",
    "soak",
    "test-clients",
    "lint",
    "check-alerts",
    "bench",
    "bench-quick",
    "bench-parts",
    "setup-dev",
    "help",
    "clean",
];

fn make(arguments: &[&str]) -> String {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut command = Command::new("make");
    // `make test` runs this: its own flags are not meant for these calls.
    command.env_remove("MAKEFLAGS").env_remove("MAKELEVEL").args(arguments).current_dir(repository);
    let output = command.output().unwrap();
    assert!(output.status.success(), "make {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_target_is_there_and_helped() {
    let help = make(&["help"]);
    for target in TARGETS {
        assert!(!make(&["--dry-run", target]).is_empty(), "make {target} does nothing");
        assert!(
            help.lines().any(|line| line.trim().starts_with(&format!("make {target} "))),
            "{target} is not in:\n{help}"
        );
    }
}

#[test]
fn set_up_is_silent_where_everything_is_there() {
    assert_eq!(make(&["setup-tools"]), "");
}
