//! Every alert rings when it should, stays quiet when it should, and has a section that says what to do.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::expressions::{metrics_in, recorded_in, strings};
use super::{promtool, read, repository, said};

const RULES: [&str; 2] = ["deployments/prometheus/rules/pipeline.yml", "deployments/prometheus/rules/gpu.yml"];
const FIRING: [&str; 3] = ["pipeline.yml", "pipeline_long.yml", "gpu.yml"];

/// A rule as it stands in its file: what it is called, its expression, and the lines of it.
struct Rule<'a> {
    alert: bool,
    name: &'a str,
    expression: String,
    text: String,
}

/// The rules of a file. They are written in one way: `- alert:` or `- record:` first, then `expr:` on one line, or `expr: |`
/// and the lines that stand deeper.
fn rules(text: &str) -> Vec<Rule<'_>> {
    let mut rules = Vec::<Rule<'_>>::new();
    let mut inside = false;
    for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
        let begins = |word: &str| line.trim_start().strip_prefix(word);
        if let Some((alert, name)) =
            begins("- alert: ").map(|name| (true, name)).or(begins("- record: ").map(|name| (false, name)))
        {
            rules.push(Rule { alert, name, expression: String::new(), text: String::new() });
        }
        let Some(rule) = rules.last_mut() else { continue };
        rule.text += line;
        rule.text.push('\n');
        match begins("expr: ") {
            Some("|") => inside = true,
            Some(expression) => expression.clone_into(&mut rule.expression),
            None if inside && line.starts_with("          ") => {
                rule.expression += line;
                rule.expression.push(' ');
            }
            None => inside = false,
        }
    }
    rules
}

fn alerts() -> BTreeSet<String> {
    let texts = RULES.map(read);
    let alerts = texts.iter().flat_map(|text| rules(text)).filter(|rule| rule.alert);
    alerts.map(|rule| rule.name.to_owned()).collect()
}

#[test]
fn prometheus_takes_the_configuration_and_its_rules() {
    let output = promtool(&["check", "config", "prometheus.yml"], &repository("deployments/prometheus"));
    assert!(output.status.success() && said(&output).contains("2 rule files found"), "{}", said(&output));
}

#[test]
fn every_alert_rings_in_its_test_and_is_quiet_on_healthy_data() {
    let tests = repository("deployments/prometheus/tests");
    let output = promtool(&["test", "rules", "pipeline.yml", "pipeline_long.yml", "gpu.yml", "healthy.yml"], &tests);
    assert!(output.status.success(), "{}", said(&output));
    let firing: String = FIRING.iter().map(|name| read(&format!("deployments/prometheus/tests/{name}"))).collect();
    let healthy = read("deployments/prometheus/tests/healthy.yml");
    for alert in alerts() {
        let rings = format!(r#"ALERTS{{alertname="{alert}", alertstate="firing""#);
        assert!(firing.contains(&rings), "no test in which {alert} rings");
        assert!(
            healthy.contains(&format!("alertname: {alert}, eval_time: 2h, exp_alerts: []")),
            "{alert} is not healthy"
        );
    }
}

#[test]
fn no_alert_is_quiet_for_want_of_data() {
    let healthy = read("deployments/prometheus/tests/healthy.yml");
    let recorded: BTreeSet<_> = RULES.iter().flat_map(|path| recorded_in(&read(path))).collect();
    for text in RULES.map(read) {
        for rule in rules(&text).iter().filter(|rule| rule.alert) {
            for metric in metrics_in(&rule.expression).iter().filter(|metric| !recorded.contains(*metric)) {
                assert!(healthy.contains(&format!("series: '{metric}{{")), "{metric} of {} is not in it", rule.name);
            }
        }
    }
}

/// Runs the tests over rules that were changed; what is said of them has to name every alert.
fn tried_with(change: impl Fn(&Rule<'_>) -> String, tests: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    for part in ["rules", "tests"] {
        fs::create_dir(folder.path().join(part)).unwrap();
        for entry in fs::read_dir(repository("deployments/prometheus").join(part)).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, folder.path().join(part).join(path.file_name().unwrap())).unwrap();
        }
    }
    for path in RULES {
        let path = folder.path().join("rules").join(Path::new(path).file_name().unwrap());
        let text = fs::read_to_string(&path).unwrap();
        let first = text.find("      - record: ").unwrap();
        let mut changed = text[..first].to_owned();
        rules(&text).iter().for_each(|rule| changed += &change(rule));
        fs::write(&path, changed).unwrap();
    }
    let output = promtool(&[&["test", "rules"], tests].concat(), &folder.path().join("tests"));
    assert!(!output.status.success(), "nobody saw the change");
    said(&output)
}

/// A rule with another expression and without waiting.
fn instead(rule: &Rule<'_>, expression: &str) -> String {
    match rule.alert {
        true => format!("      - alert: {}\n        expr: {expression}\n", rule.name),
        false => rule.text.clone(),
    }
}

#[test]
fn the_tests_see_an_alert_that_never_rings() {
    let said = tried_with(|rule| instead(rule, "vector(1) > 2"), &FIRING);
    for alert in alerts() {
        assert!(said.contains(&format!(r#"alertname="{alert}""#)), "{alert} may be silent: {said}");
    }
}

#[test]
fn the_healthy_test_sees_an_alert_that_always_rings() {
    let said = tried_with(|rule| instead(rule, "vector(1)"), &["healthy.yml"]);
    for alert in alerts() {
        assert!(said.contains(&format!(r#"alertname="{alert}""#)), "{alert} may ring on healthy data: {said}");
    }
}

#[test]
fn every_alert_has_a_section_and_every_section_an_alert() {
    let runbook = read("docs/RUNBOOK.md");
    let sections: BTreeSet<_> =
        runbook.lines().filter_map(|line| line.strip_prefix("## ")).map(str::to_owned).collect();
    assert_eq!(sections, alerts(), "docs/RUNBOOK.md and the rules");
    let bodies: BTreeMap<_, _> =
        runbook.split("\n## ").skip(1).map(|section| section.split_once('\n').unwrap()).collect();
    for (alert, body) in bodies {
        assert!(
            body.contains("**Means:**") && body.contains("**Do:**"),
            "{alert} does not say what it means and what to do"
        );
    }
}

#[test]
fn every_alert_says_what_it_goes_by_and_where_to_read_on() {
    for text in RULES.map(read) {
        for rule in rules(&text).iter().filter(|rule| rule.alert) {
            let runbook = format!("runbook_url: docs/RUNBOOK.md#{}\n", rule.name.to_lowercase());
            assert!(rule.text.contains(&runbook), "{} does not lead to its section", rule.name);
            for annotation in ["summary: \"", "description: \"", "threshold: \"", "source: \""] {
                assert!(rule.text.contains(annotation), "{} has no {annotation}", rule.name);
            }
            let severity = ["critical", "warning", "info"].map(|word| format!("severity: {word}\n"));
            assert!(severity.iter().any(|severity| rule.text.contains(severity)), "{} has no severity", rule.name);
            assert!(rule.name.starts_with("Nexus"), "{}", rule.name);
        }
    }
}

/// The product decides how long heat or idleness have to last: an alert that waits again would come late.
#[test]
fn no_time_is_applied_twice() {
    let text = read(RULES[1]);
    for rule in rules(&text).iter().filter(|rule| rule.alert && rule.text.contains("applied by Nexus")) {
        assert!(!rule.text.contains(" for: "), "{} waits a second time", rule.name);
    }
}

/// A GPU's number alone says nothing: a cluster has as many GPUs 3 as hosts.
#[test]
fn no_gpu_is_named_without_its_host() {
    for text in RULES.map(read) {
        for line in text.lines().filter(|line| line.contains("$labels.gpu }}") && line.contains("summary:")) {
            assert!(line.contains("$labels.host }}"), "{line}");
        }
    }
}

#[test]
fn reasons_in_rules_are_those_the_product_gives() {
    let sources = ["reason.rs", "xid.rs"].map(|name| read(&format!("common/src/domain/condition/{name}")));
    for word in strings(&read(RULES[1]), "reason=") {
        for word in expand(&word) {
            let known = match word.strip_prefix("xid_").and_then(|code| code.parse::<i64>().ok()) {
                Some(code) => sources[1].contains(&format!("xid({code}, ")),
                None => sources[0].contains(&format!("\"{word}\"")),
            };
            assert!(known, "no GPU ever has the reason {word}");
        }
    }
}

/// `xid_(54|64)` and `a|b`, word by word.
fn expand(pattern: &str) -> Vec<String> {
    match pattern.split_once('(') {
        Some((head, rest)) => rest.trim_end_matches(')').split('|').map(|tail| format!("{head}{tail}")).collect(),
        None => pattern.split('|').map(str::to_owned).collect(),
    }
}
