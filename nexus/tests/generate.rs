//! The sample in `data/` is what its README's command makes, byte for byte.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

#[test]
fn the_sample_is_what_its_readme_says() {
    let readme = std::fs::read_to_string(repository().join("data/README.md")).unwrap();
    let command = readme.lines().find_map(|line| line.trim().strip_prefix("nexus generate ")).unwrap();
    let arguments = command.split_whitespace().filter(|word| *word != "--out");
    let (files, arguments): (Vec<&str>, Vec<&str>) = arguments.partition(|word| word.ends_with(".csv"));
    let made = Command::new(env!("CARGO_BIN_EXE_nexus")).arg("generate").args(arguments).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let [file] = files[..] else { panic!("one file in {command}") };
    let kept = std::fs::read(repository().join(file)).unwrap();
    assert!(kept == made.stdout, "{file} differs from what the command makes: run it again");
    assert!(kept.len() < 2 << 20, "the sample is to stay small");
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let command = format!("{} generate --hosts 1000 --seconds 600 | head -1", env!("CARGO_BIN_EXE_nexus"));
    let output = Command::new("bash").args(["-c", &format!("set -o pipefail; {command}")]).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn wrong_values_are_one_line_and_status_two() {
    for arguments in [&["--form", "smi"][..], &["--hosts", "0"], &["--metrics", "27"], &["--start", "yesterday"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_nexus")).arg("generate").args(arguments).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1), "{arguments:?}: {said}");
    }
}
