//! What operators are given to watch a stack with: Prometheus's rules and Grafana's dashboards, tried without Grafana.
//! Expressions are parsed and alerts tried by `promtool`; panels ask a real PostgreSQL; Prometheus starts as people start it.

#![allow(clippy::unwrap_used)]

mod dashboards;
mod expressions;
mod local;
mod panels;

mod rules;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A path in the repository.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(repository(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Debian's package `prometheus` has it.
fn promtool(arguments: &[&str], folder: &Path) -> Output {
    let output = Command::new("promtool").args(arguments).current_dir(folder).output();
    output.unwrap_or_else(|error| panic!("promtool: {error}; make setup-dev installs it (package prometheus)"))
}

/// Everything that a program said.
fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
