//! What documents tell people to type: commands of `nexus` with their flags, and targets of make.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// The commands in a piece of code, each as its words: `$ A=b nexus audit --deep | head  # and so on` has one of `nexus`.
pub(crate) fn typed(code: &str) -> impl Iterator<Item = Vec<&str>> {
    let code = code.split(" #").next().unwrap_or_default();
    code.split(['|', '&', ';', '(', ')']).filter_map(|piece| {
        let words = piece.split_whitespace().map(|word| word.trim_matches(['\'', '"']));
        let words = words.skip_while(|word| *word == "$" || word.contains('=')).collect::<Vec<_>>();
        (!words.is_empty()).then_some(words)
    })
}

/// What the program's own help says there is.
#[derive(Default)]
pub(crate) struct Program {
    helps: BTreeMap<Vec<String>, String>,
}

impl Program {
    /// Why a command cannot be typed as it stands; `None` where it can.
    pub(crate) fn refuses(&mut self, words: &[&str]) -> Option<String> {
        let component = words[0].rsplit('/').next()?.strip_prefix("nexus")?;
        // nexus-streamer is nexus streamer.
        let component = component.strip_prefix('-').filter(|name| ["streamer", "collector", "gateway"].contains(name));
        if component.is_none() && words[0].rsplit('/').next() != Some("nexus") {
            return None;
        }
        let mut path: Vec<String> = component.map(str::to_owned).into_iter().collect();
        let mut rest = words[1..].iter().filter(|word| !word.starts_with('-'));
        loop {
            let commands = commands(self.help(&path));
            // Whoever writes `nexus …` means any of them.
            let Some(word) = rest.next().filter(|word| !commands.is_empty() && !word.starts_with('…')) else { break };
            if !commands.contains(*word) {
                path.push((*word).to_owned());
                return Some(format!("there is no `nexus {}`", path.join(" ")));
            }
            path.push((*word).to_owned());
        }
        let help = self.help(&path);
        let flags = words[1..].iter().filter(|word| word.starts_with("--")).map(|word| word.split('=').next().unwrap());
        for flag in flags {
            let ends = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '-');
            if !help.match_indices(flag).any(|(at, _)| ends(&help[at + flag.len()..])) && flag.len() > 2 {
                return Some(format!("`nexus {}` has no {flag}", path.join(" ")));
            }
        }
        None
    }

    fn help(&mut self, path: &[String]) -> &str {
        self.helps.entry(path.to_vec()).or_insert_with(|| {
            let output = Command::new(env!("CARGO_BIN_EXE_nexus")).args(path).arg("--help").output().unwrap();
            assert!(output.status.success(), "nexus {path:?} --help: {output:?}");
            String::from_utf8(output.stdout).unwrap()
        })
    }
}

/// The names below `Commands:`.
fn commands(help: &str) -> BTreeSet<&str> {
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    listed.filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next()).collect()
}

/// The targets of a Makefile.
pub(crate) fn targets(makefile: &str) -> BTreeSet<&str> {
    let rules = makefile.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()));
    rules.filter_map(|line| line.split_once(':').filter(|(_, rest)| !rest.starts_with('='))).fold(
        BTreeSet::new(),
        |mut targets, (names, _)| {
            targets.extend(names.split_whitespace());
            targets
        },
    )
}

#[test]
fn commands_are_found_in_what_people_type() {
    let found: Vec<_> = typed("$ A=b nexus audit --deep | jq '.x' && make test  # make no").collect();
    assert_eq!(found, [vec!["nexus", "audit", "--deep"], vec!["jq", ".x"], vec!["make", "test"]]);
    let mut program = Program::default();
    assert_eq!(program.refuses(&["nexus", "queue", "stats", "--json"]), None);
    assert_eq!(program.refuses(&["nexus-streamer", "--batch-size=5"]), None);
    assert_eq!(program.refuses(&["nexus", "…"]), None);
    assert_eq!(program.refuses(&["nexus", "keys", "revoke", "alice"]), None, "a name is no command");
    assert!(program.refuses(&["nexus", "queue", "status"]).unwrap().contains("no `nexus queue status`"));
    assert!(program.refuses(&["nexus", "audit", "--dee"]).unwrap().contains("has no --dee"));
    assert!(targets("a b: c\nd := e\nfoo-bar: ## x\n").iter().eq(["a", "b", "foo-bar"].iter()));
}
