//! The commands that people type exist under exactly these names.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

const TARGETS: [&str; 32] = [
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
    "check-chart",
    "chart-files",
    "check-images",
    "check-install",
    "check-balancer",
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
    command
        .env_remove("MAKEFLAGS")
        .env_remove("MAKELEVEL")
        .env_remove("NEXUS_COMMIT")
        .args(arguments)
        .current_dir(repository);
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

/// What is kept says what it was built from; tests are not told, see the Makefile.
#[test]
fn builds_are_told_the_commit() {
    // In the place of cargo a program that says what it was told.
    let told = |commit: &[&str]| {
        let words = [&["--silent", "build-nexus-streamer", "CARGO=printenv NEXUS_COMMIT #"], commit].concat();
        make(&words).trim().to_owned()
    };
    assert_eq!(told(&["NEXUS_COMMIT=0123abc"]), "0123abc");
    let git = Command::new("git").args(["describe", "--always", "--dirty", "--exclude=*"]).output();
    if let Ok(output) = git
        && output.status.success()
    {
        assert_eq!(told(&[]), String::from_utf8(output.stdout).unwrap().trim());
    }
    let output = Command::new(env!("CARGO_BIN_EXE_nexus")).arg("--version").output().unwrap();
    let version = String::from_utf8(output.stdout).unwrap();
    assert!(version.starts_with(concat!("nexus ", env!("CARGO_PKG_VERSION"))), "{version}");
}

#[test]
fn set_up_is_silent_where_everything_is_there() {
    assert_eq!(make(&["setup-tools"]), "");
}
