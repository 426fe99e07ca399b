//! The house keeps its order: imports point down, and each outside thing is named in one room.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Rooms of `common` from the ground up; a room may use those before it, and itself.
const LEVELS: [&[&str]; 6] = [
    &["domain"],
    &["component", "config", "failpoint", "identity", "logging", "observe", "retry", "shutdown", "tls", "traces"],
    &["etcd"],
    &["queue", "db"],
    &["books"],
    &["servers", "testing"],
];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
    found
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The rooms of `common` that a file names after `crate::`; its tests may use what is made for tests.
fn rooms_named_in(text: &str) -> impl Iterator<Item = &str> {
    let (text, _tests) = text.split_once("#[cfg(test)]").unwrap_or((text, ""));
    text.split("crate::").skip(1).map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap())
}

#[test]
fn imports_point_to_the_same_or_a_lower_level() {
    let level = |room: &str| LEVELS.iter().position(|rooms| rooms.contains(&room));
    let source = root().join("common/src");
    for path in sources(&source) {
        let inside = path.strip_prefix(&source).unwrap().to_str().unwrap();
        let room = inside.split(['/', '.']).next().unwrap();
        if room == "lib" {
            continue;
        }
        let own = level(room).unwrap_or_else(|| panic!("{inside}: no level says where it stands"));
        for named in rooms_named_in(&fs::read_to_string(&path).unwrap()) {
            if let Some(other) = level(named) {
                assert!(other <= own, "{inside} reaches up to {named}");
            }
        }
    }
}

#[test]
fn each_outside_thing_is_named_in_one_room() {
    for (name, room) in [
        ("etcd_client", "common/src/etcd"),
        ("backoff::", "common/src/retry.rs"),
        ("refinery", "common/src/db"),
        ("rustls_native_certs", "common/src/tls"),
        ("x509_cert", "common/src/tls"),
        ("indicatif", "streamer/src/progress.rs"),
    ] {
        for part in ["common", "streamer", "collector", "gateway", "nexus"] {
            for path in sources(&root().join(part).join("src")) {
                let inside = path.strip_prefix(root()).unwrap().to_str().unwrap();
                let names_it = fs::read_to_string(&path).unwrap().contains(name);
                assert!(!names_it || inside.starts_with(room), "{inside} names {name}, which lives in {room}");
            }
        }
    }
}

/// Two would be two to keep up with, and rustls would not know which one is meant.
#[test]
fn there_is_one_crypto_provider() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    for other in ["aws-lc-rs", "aws-lc-sys", "openssl", "openssl-sys", "native-tls"] {
        assert!(!lock.contains(&format!("name = \"{other}\"\n")), "{other} came in beside ring");
    }
    assert!(lock.contains("name = \"ring\"\n"));
}

#[test]
fn sql_stays_where_it_belongs() {
    let rooms = [
        "collector/src/write",
        "gateway/src/read",
        "common/src/books",
        "common/src/db",
        "common/src/servers",
        "common/src/testing",
    ];
    for part in ["common", "streamer", "collector", "gateway", "nexus"] {
        for path in sources(&root().join(part).join("src")) {
            let inside = path.strip_prefix(root()).unwrap().to_str().unwrap();
            let text = fs::read_to_string(&path).unwrap();
            let speaks = ["\"SELECT ", "\"INSERT ", "\"UPDATE ", "\"DELETE "].iter().any(|verb| text.contains(verb));
            assert!(!speaks || rooms.iter().any(|room| inside.starts_with(room)), "{inside} holds SQL");
        }
    }
}

#[test]
fn every_room_can_be_seen_across() {
    for part in ["common", "streamer", "collector", "gateway", "nexus"] {
        for path in sources(&root().join(part)) {
            let lines = fs::read_to_string(&path).unwrap().lines().count();
            assert!(lines <= 600, "{} has {lines} lines", path.display());
        }
    }
}

/// What a test kills a process with is in no build that anybody runs.
#[test]
fn failpoints_are_built_for_tests_only() {
    let has_them = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO"));
        command.args(["tree", "--workspace", "--edges=normal", "--prefix=none", "--locked", "--offline"]);
        let output = command.args(arguments).current_dir(root()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).lines().any(|line| line.starts_with("fail v"))
    };
    assert!(!has_them(&[]), "a feature that is on by default brings them");
    assert!(has_them(&["--features=nexus/failpoints"]));
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let mut builds = makefile.lines().filter(|line| line.contains("build --release"));
    assert!(builds.clone().count() >= 4 && builds.all(|line| !line.contains("FAILPOINTS")), "a release has them");
}
