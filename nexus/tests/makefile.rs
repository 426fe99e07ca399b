//! The commands that people type exist under exactly these names.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

const TARGETS: [&str; 33] = [
    "setup-etcd",
    "build-nexus",
    "run-nexus-pipeline",
    "run-nexus-streamer",
    "run-nexus-collector",
    "run-nexus-gateway",
    "run-prometheus",
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

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn make(arguments: &[&str]) -> String {
    let repository = repository();
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

/// The home of somebody who has no more programs than these: this machine's of some names, and scripts that stand for others.
struct Home(TempDir);

impl Home {
    fn new() -> Home {
        let home = Home(tempfile::tempdir().unwrap());
        fs::create_dir(home.path("bin")).unwrap();
        let folders: Vec<_> = std::env::split_paths(&std::env::var_os("PATH").unwrap()).collect();
        for program in ["bash", "sh", "sed", "awk", "id", "dirname", "sort", "tail", "git", "make"] {
            let found = folders.iter().map(|folder| folder.join(program)).find(|path| path.exists());
            let found = found.unwrap_or_else(|| panic!("{program} is not on this machine"));
            symlink(found, home.path("bin").join(program)).unwrap();
        }
        home
    }

    fn path(&self, inside: &str) -> PathBuf {
        self.0.path().join(inside)
    }

    fn script(self, path: &str, says: &str) -> Home {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("#!/bin/sh\n{says}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    fn run(&self, program: &str, arguments: &[&str], path: &str) -> Output {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(repository()).env_clear();
        command.env("PATH", path).env("HOME", self.0.path()).output().unwrap()
    }

    /// With these programs alone. Nothing can be installed: there is no apt-get.
    fn alone(&self, program: &str, arguments: &[&str]) -> Output {
        let bin = self.path("bin").to_str().unwrap().to_owned();
        self.run(program, arguments, &bin)
    }

    /// With these programs before all of this machine.
    fn before(&self, program: &str) -> Output {
        let rest = std::env::var_os("PATH").unwrap().into_string().unwrap();
        self.run(program, &[], &format!("{}:{rest}", self.path("bin").display()))
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The shell that has just run rustup does not have it in its PATH.
#[test]
fn rust_is_found_where_rustup_puts_it() {
    let home = Home::new().script(".cargo/bin/cargo", "echo \"cargo 1.90.0 $*\"");
    let cargo = home.path(".cargo/bin/cargo");
    let bin = home.path("bin/make");
    let build = home.alone(bin.to_str().unwrap(), &["--silent", "build-nexus-streamer", "SETUP=true"]);
    assert!(build.status.success() && said(&build).contains("1.90.0 build --release"), "{}", said(&build));
    let found = home.alone("scripts/setup.sh", &[]);
    assert!(!said(&found).contains("Rust"), "{}", said(&found));
    fs::remove_file(cargo).unwrap();
    let missing = said(&home.alone("scripts/setup.sh", &[]));
    assert!(missing.contains(concat!("missing: Rust ", env!("CARGO_PKG_RUST_VERSION"))), "{missing}");
}

/// Debian 12 has Rust 1.63: what that says of a workspace of a later edition helps nobody.
#[test]
fn a_rust_that_is_too_old_is_named() {
    let wanted = env!("CARGO_PKG_RUST_VERSION");
    for (version, is_enough) in [("1.63.0", false), ("1.9.0", false), (wanted, true), ("2.0.0-nightly", true)] {
        let home = Home::new().script("bin/cargo", &format!("echo 'cargo {version}'"));
        let output = home.before("scripts/setup.sh");
        let said = said(&output);
        assert_eq!(output.status.code(), Some(i32::from(!is_enough)), "{version}: {said}");
        assert_eq!(said.contains(&format!("is Rust {version}, and {wanted} or newer is needed")), !is_enough, "{said}");
    }
}

/// Who may not install is told how to, and that includes what Debian would start on the ports of Nexus.
#[test]
fn what_is_to_be_typed_leaves_the_ports_free() {
    let home = Home::new().script("bin/cargo", "echo cargo 1.63.0").script("bin/systemctl", "exit 0");
    let output = home.alone("scripts/setup.sh", &["--quiet", "--prometheus"]);
    let said = said(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let line =
        |part: &str| said.lines().position(|line| line.contains(part)).unwrap_or_else(|| panic!("{part}: {said}"));
    let install = line("sudo apt-get update && sudo apt-get install -y etcd-server etcd-client");
    assert!(install < line("sudo systemctl disable --now etcd prometheus"), "{said}");
    // All at once, so that nobody comes back for the next thing.
    line("or newer is needed");
}
