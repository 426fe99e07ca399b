//! What PromQL expressions name, found without a parser: strings, label lists and durations are taken out, and of the words
//! that are left those are metrics which are no function and no keyword.

use std::collections::BTreeSet;

use super::read;

const KEYWORDS: [&str; 16] = [
    "and",
    "or",
    "unless",
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "bool",
    "offset",
    "inf",
    "Inf",
    "nan",
    "NaN",
    "atan2",
];
/// These have a list of labels in parentheses behind them.
const LISTS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];
/// What Prometheus makes by itself for whatever it scrapes.
const ITS_OWN: [&str; 4] = ["up", "ALERTS", "scrape_duration_seconds", "scrape_samples_scraped"];

/// The metrics that an expression names.
pub(super) fn metrics_in(expression: &str) -> BTreeSet<String> {
    let bare = without(&without(&without(expression, '"', '"'), '{', '}'), '[', ']');
    let mut found = BTreeSet::new();
    let mut rest = bare.as_str();
    while let Some(start) = rest.find(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':') {
        let from = &rest[start..];
        let end = from.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')).unwrap_or(from.len());
        let (word, behind) = from.split_at(end);
        rest = behind;
        if LISTS.contains(&word) {
            let list = behind.trim_start();
            rest = list.strip_prefix('(').and_then(|list| list.split_once(')')).map_or(behind, |(_, behind)| behind);
            continue;
        }
        let is_number = word.starts_with(|c: char| c.is_ascii_digit());
        let is_function = ["(", "by ", "without "].iter().any(|next| behind.trim_start().starts_with(next));
        if !is_number && !is_function && !KEYWORDS.contains(&word) {
            found.insert(word.to_owned());
        }
    }
    found
}

/// The text without what stands between these two, and without them.
fn without(text: &str, open: char, close: char) -> String {
    let (mut kept, mut inside) = (String::new(), false);
    for c in text.chars() {
        match inside {
            false if c == open => inside = true,
            true if c == close => inside = false,
            true => {}
            false => kept.push(c),
        }
    }
    kept
}

/// The names that a file of rules records.
pub(super) fn recorded_in(text: &str) -> Vec<String> {
    text.lines().filter_map(|line| line.trim_start().strip_prefix("- record: ")).map(str::to_owned).collect()
}

/// The strings behind every place where a label is matched.
pub(super) fn strings(text: &str, label: &str) -> Vec<String> {
    let behind = text.split(label).skip(1).filter_map(|rest| rest.trim_start_matches('~').strip_prefix('"'));
    behind.filter_map(|rest| rest.split_once('"')).map(|(string, _)| string.to_owned()).collect()
}

/// What the backup scripts leave for a node exporter: not scraped from a component, so not in docs/METRICS.md. That they write just
/// this is seen after a real backup (`nexus/tests/drill`).
fn told_by_scripts() -> Vec<String> {
    let text = read("scripts/backup/lib.sh");
    let described = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    described.map(str::to_owned).collect()
}

/// Every metric that the stack exports (docs/METRICS.md is compared with a running one), what its backup scripts write, and what
/// the rules record.
pub(super) fn exported() -> BTreeSet<String> {
    let text = read("docs/METRICS.md");
    let names = text.lines().filter_map(|line| line.strip_prefix("| `")?.split(['`', '{']).next());
    let mut names: BTreeSet<String> = names.map(str::to_owned).collect();
    assert!(names.len() > 50, "only {} metrics are known", names.len());
    for path in ["pipeline", "gpu"] {
        names.extend(recorded_in(&read(&format!("deployments/prometheus/rules/{path}.yml"))));
    }
    names.extend(told_by_scripts());
    names.extend(ITS_OWN.map(str::to_owned));
    names
}

/// Whether a metric is among those that are exported; of a histogram its parts are.
pub(super) fn is_exported(metric: &str, exported: &BTreeSet<String>) -> bool {
    let parts = ["_bucket", "_sum", "_count"];
    exported.contains(metric)
        || parts.iter().any(|part| metric.strip_suffix(part).is_some_and(|whole| exported.contains(whole)))
}

#[test]
fn metrics_are_told_from_functions_labels_and_strings() {
    for (expression, expected) in [
        ("up", &["up"][..]),
        (r#"sum by (cluster, le) (rate(a_total{job=~"b|c{d}"}[5m])) > 2e3"#, &["a_total"]),
        ("max without (x) (a:b:c) unless on (host, gpu) (d offset 5m)", &["a:b:c", "d"]),
        (r#"absent(up{job="nexus"}) or vector(1) and bool_metric == bool 1"#, &["bool_metric", "up"]),
        ("histogram_quantile(0.99, sum by (le) (rate(x_bucket[$__rate_interval])))", &["x_bucket"]),
    ] {
        assert_eq!(metrics_in(expression).iter().map(String::as_str).collect::<Vec<_>>(), expected, "{expression}");
    }
}

#[test]
fn rules_name_only_metrics_that_are_exported() {
    let exported = exported();
    for path in ["deployments/prometheus/rules/pipeline.yml", "deployments/prometheus/rules/gpu.yml"] {
        let text = read(path);
        let mut expressions = String::new();
        let mut inside = false;
        for line in text.lines() {
            match line.trim_start().strip_prefix("expr: ") {
                Some("|") => inside = true,
                Some(expression) => expressions += &format!("{expression} ;\n"),
                None if inside && line.starts_with("          ") => expressions += line,
                None => inside = false,
            }
        }
        let named = metrics_in(&expressions);
        assert!(named.len() > 5, "{named:?}");
        for metric in named {
            assert!(is_exported(&metric, &exported), "{path} names {metric}, which nobody exports");
        }
    }
}
