//! The dashboards as Grafana reads them: every expression parses and names what is exported, every panel has a unit, and no
//! GPU is named without its host.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde_json::Value;

use super::expressions::{exported, is_exported, metrics_in};
use super::{promtool, read, said};

const DASHBOARDS: [&str; 2] = ["pipeline", "fleet"];

/// A question of a panel or a variable.
pub(super) struct Asked {
    /// Where it stands, for people.
    pub(super) place: String,
    pub(super) text: String,
    pub(super) legend: String,
}

pub(super) fn dashboard(name: &str) -> Value {
    serde_json::from_str(&read(&format!("deployments/grafana/dashboards/{name}.json"))).unwrap()
}

/// The panels of a dashboard, but for the headings.
pub(super) fn panels(dashboard: &Value) -> Vec<&Value> {
    let panels = dashboard["panels"].as_array().unwrap();
    panels.iter().filter(|panel| panel["type"] != "row").collect()
}

/// What panels ask of a data source: `expr` of Prometheus, `rawSql` of PostgreSQL.
pub(super) fn asked(name: &str, field: &str) -> Vec<Asked> {
    let dashboard = dashboard(name);
    let mut asked = Vec::new();
    for panel in panels(&dashboard) {
        for target in panel["targets"].as_array().unwrap() {
            let Some(text) = target[field].as_str() else { continue };
            asked.push(Asked {
                place: format!("{name}: {} {}", panel["title"].as_str().unwrap(), target["refId"].as_str().unwrap()),
                text: text.to_owned(),
                legend: target["legendFormat"].as_str().unwrap_or_default().to_owned(),
            });
        }
    }
    asked
}

/// What variables ask of Prometheus, without what Grafana takes of the answer: `label_values(EXPRESSION, LABEL)`.
fn variables(name: &str) -> Vec<Asked> {
    let dashboard = dashboard(name);
    let of_prometheus = |variable: &&Value| variable["datasource"]["type"] == "prometheus";
    let variables = dashboard["templating"]["list"].as_array().unwrap().iter().filter(of_prometheus);
    let asked = variables.map(|variable| {
        let place = format!("{name}: ${}", variable["name"].as_str().unwrap());
        let query = variable["query"]["query"].as_str().unwrap();
        assert_eq!(variable["definition"], query, "{place} is shown as another question");
        let inside = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
        let (expression, label) = inside.and_then(|inside| inside.rsplit_once(", ")).unwrap();
        assert!(label.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{place}: {label}");
        Asked { place, text: expression.to_owned(), legend: String::new() }
    });
    asked.collect()
}

/// What panels and variables ask of Prometheus.
fn expressions() -> Vec<Asked> {
    DASHBOARDS.iter().flat_map(|name| asked(name, "expr").into_iter().chain(variables(name))).collect()
}

#[test]
fn prometheus_parses_every_expression() {
    let expressions = expressions();
    assert!(expressions.len() > 60, "{}", expressions.len());
    assert!(expressions.iter().any(|asked| asked.place == "pipeline: $cluster"), "variables are not looked at");
    let mut rules = "groups:\n  - name: panels\n    rules:\n".to_owned();
    for (n, asked) in expressions.iter().enumerate() {
        let expression = asked.text.replace("$__rate_interval", "5m");
        writeln!(rules, "      # {}\n      - record: panel{n}\n        expr: {}", asked.place, Value::from(expression))
            .unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("panels.yml"), &rules).unwrap();
    let output = promtool(&["check", "rules", "panels.yml"], folder.path());
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn expressions_name_only_metrics_that_are_exported() {
    let exported = exported();
    for asked in expressions() {
        let named = metrics_in(&asked.text);
        assert!(!named.is_empty(), "{} names no metric", asked.place);
        for metric in named {
            assert!(is_exported(&metric, &exported), "{} names {metric}, which nobody exports", asked.place);
        }
    }
}

#[test]
fn every_panel_has_a_unit_thresholds_and_a_place_of_its_own() {
    for name in DASHBOARDS {
        let dashboard = dashboard(name);
        let mut taken = BTreeSet::new();
        for panel in panels(&dashboard) {
            let title = panel["title"].as_str().unwrap();
            let defaults = &panel["fieldConfig"]["defaults"];
            assert!(defaults["unit"].as_str().is_some_and(|unit| !unit.is_empty()), "{name}: {title} has no unit");
            assert!(!defaults["thresholds"]["steps"].as_array().unwrap().is_empty(), "{name}: {title}");
            let at = |side: &str| panel["gridPos"][side].as_u64().unwrap();
            assert!(at("x") + at("w") <= 24, "{name}: {title} is beyond the edge");
            for cell in (at("x")..at("x") + at("w")).flat_map(|x| (at("y")..at("y") + at("h")).map(move |y| (x, y))) {
                assert!(taken.insert(cell), "{name}: {title} lies on another panel");
            }
        }
    }
}

#[test]
fn panels_ask_the_data_sources_that_are_provisioned() {
    let provisioned = read("deployments/grafana/provisioning/datasources/nexus.yml");
    for name in DASHBOARDS {
        let dashboard = dashboard(name);
        let variables = dashboard["templating"]["list"].as_array().unwrap();
        assert!(
            variables.iter().any(|variable| variable["name"] == "cluster"),
            "{name} cannot be asked for one cluster"
        );
        let targets = panels(&dashboard).into_iter().flat_map(|panel| panel["targets"].as_array().unwrap());
        for source in targets.chain(variables).map(|asked| &asked["datasource"]) {
            let uid = source["uid"].as_str().unwrap();
            assert!(
                provisioned.contains(&format!("uid: {uid}\n    type: {}\n", source["type"].as_str().unwrap())),
                "{uid}"
            );
        }
    }
    assert!(
        dashboard("fleet")["templating"]["list"].as_array().unwrap().iter().any(|variable| variable["name"] == "host")
    );
}

/// "GPU 3" is as many GPUs as there are hosts.
#[test]
fn no_gpu_is_named_without_its_host() {
    for asked in expressions().iter().filter(|asked| asked.legend.contains("{{gpu}}")) {
        assert!(asked.legend.contains("{{host}} GPU {{gpu}}"), "{}: {}", asked.place, asked.legend);
    }
    for asked in asked("fleet", "rawSql") {
        let named = match asked.text.contains(" AS metric") {
            true => asked.text.contains("h.name || ' GPU ' || g.gpu_index"),
            false => asked.text.contains(r#"AS "host""#),
        };
        assert!(named, "{}: {}", asked.place, asked.text);
    }
}
