//! `docs/CONFIGURATION.md` says what the programs take: rendered from their command lines, and compared here.
//!
//! `make docs` writes it anew.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use clap::{Arg, Args, Command};

const INTRODUCTION: &str = "# Configuration

Every variable is also a flag: `BATCH_SIZE=100` is `--batch-size 100`. A value that cannot be read is one line and exit
status 2. Durations are written `250ms`, `3s`, `5m`, `1h`; switches `true` or `false`. This file is rendered by
`make docs`.

| variable | default | read by | what it does |
|---|---|---|---|
";

/// What one variable is, and which programs read it.
struct Variable {
    default: String,
    help: String,
    programs: Vec<&'static str>,
}

fn rendered() -> String {
    let programs: [(&str, Command); 3] = [
        ("streamer", nexus_streamer::Config::augment_args(Command::new("streamer"))),
        ("collector", nexus_collector::Config::augment_args(Command::new("collector"))),
        ("gateway", nexus_gateway::Config::augment_args(Command::new("gateway"))),
    ];
    let mut order = Vec::new();
    let mut variables: BTreeMap<String, Variable> = BTreeMap::new();
    for (program, command) in &programs {
        for argument in command.get_arguments() {
            let Some(name) = argument.get_env().and_then(|name| name.to_str()) else { continue };
            let (default, help) = (default_of(argument), help_of(argument));
            let known = variables.entry(name.to_owned()).or_insert_with(|| {
                order.push(name.to_owned());
                Variable { default: default.clone(), help: help.clone(), programs: Vec::new() }
            });
            assert_eq!((&known.default, &known.help), (&default, &help), "{name} differs between programs");
            known.programs.push(program);
        }
    }
    let mut text = INTRODUCTION.to_owned();
    // What all read comes first.
    order.sort_by_key(|name| std::cmp::Reverse(variables[name].programs.len()));
    for name in order {
        let Variable { default, help, programs } = &variables[&name];
        let readers = if programs.len() == 3 { "all".to_owned() } else { programs.join(", ") };
        writeln!(text, "| `{name}` | {default} | {readers} | {help} |").unwrap();
    }
    text
}

fn default_of(argument: &Arg) -> String {
    let values: Vec<_> = argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if values.is_empty() { String::new() } else { format!("`{}`", values.join(",")) }
}

fn help_of(argument: &Arg) -> String {
    argument.get_help().map(ToString::to_string).unwrap_or_default().replace('|', "\\|")
}

#[test]
fn the_table_of_variables_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs/CONFIGURATION.md");
    let rendered = rendered();
    if std::env::var_os("NEXUS_WRITE_DOCS").is_some() {
        std::fs::write(&path, &rendered).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == rendered, "docs/CONFIGURATION.md is out of date: run make docs");
}
