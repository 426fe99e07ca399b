//! What the figures are held against.

use serde_json::Value;

use super::kept::Kept;
use crate::bench::figures::Several;

/// Something that must not be more, or not be less.
pub(super) struct Goal {
    pub(super) what: &'static str,
    /// The part whose figures tell.
    pub(super) part: &'static str,
    pub(super) bound: Bound,
    pub(super) unit: &'static str,
    figure: fn(&Value) -> Option<f64>,
}

/// How far a figure may go.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Bound {
    pub(super) fn holds(self, figure: f64) -> bool {
        match self {
            Bound::AtMost(most) => figure <= most,
            Bound::AtLeast(least) => figure >= least,
        }
    }
}

impl Goal {
    /// What was measured; `None` where it was not.
    pub(super) fn measured(&self, kept: &Kept) -> Option<Several> {
        Several::of(kept.runs.iter().filter_map(self.figure).collect())
    }
}

/// What must hold on a machine of two processors.
pub(super) const GOALS: [Goal; 23] = [
    Goal {
        what: "CSV file to committed rows, a message a row",
        part: "row",
        bound: Bound::AtLeast(20_000.0),
        unit: "rows/s",
        figure: |run| run["rows_per_second"].as_f64(),
    },
    Goal {
        what: "the same with four collectors",
        part: "collectors",
        bound: Bound::AtLeast(20_000.0),
        unit: "rows/s",
        figure: |run| at(run, 4.0, "rows/s"),
    },
    Goal {
        what: "CSV file to committed rows, scrapes",
        part: "scrape",
        bound: Bound::AtLeast(120_000.0),
        unit: "rows/s",
        figure: |run| run["rows_per_second"].as_f64(),
    },
    Goal {
        what: "publish to WebSocket at 1,000 rows/s, 4 clients, p50",
        part: "scrape",
        bound: Bound::AtMost(30.0),
        unit: "ms",
        figure: |run| run.pointer("/publish_to_client_p50_ms")?.as_f64(),
    },
    Goal {
        what: "COMMIT to client at 1,000 rows/s, 4 clients, p99",
        part: "scrape",
        bound: Bound::AtMost(10.0),
        unit: "ms",
        figure: |run| run.pointer("/commit_to_client_p99_ms")?.as_f64(),
    },
    Goal {
        what: "the same, behind a million rows of a message each",
        part: "row",
        bound: Bound::AtMost(10.0),
        unit: "ms",
        figure: |run| run.pointer("/commit_to_client_p99_ms")?.as_f64(),
    },
    Goal {
        what: "the same to 100 clients",
        part: "live-few",
        bound: Bound::AtMost(10.0),
        unit: "ms",
        figure: |run| run.pointer("/commit_to_client/p99_ms")?.as_f64(),
    },
    Goal {
        what: "the same to 1,000 clients",
        part: "live",
        bound: Bound::AtMost(10.0),
        unit: "ms",
        figure: |run| run.pointer("/commit_to_client/p99_ms")?.as_f64(),
    },
    Goal {
        what: "latest, p99, 200 clients that ask ten times a second",
        part: "api",
        bound: Bound::AtMost(20.0),
        unit: "ms",
        figure: |run| paced(run, |name| name.starts_with("latest")),
    },
    Goal {
        what: "inventory, p99, 200 clients that ask ten times a second",
        part: "api",
        bound: Bound::AtMost(20.0),
        unit: "ms",
        figure: |run| paced(run, of_inventory),
    },
    Goal {
        what: "telemetry ranges, p99, 200 clients that ask ten times a second",
        part: "api",
        bound: Bound::AtMost(100.0),
        unit: "ms",
        figure: |run| paced(run, of_ranges),
    },
    Goal {
        what: "latest, p99, 200 clients that never pause",
        part: "api",
        bound: Bound::AtMost(20.0),
        unit: "ms",
        figure: |run| slowest(run, "answers", |name| name.starts_with("latest")),
    },
    Goal {
        what: "inventory, p99, 200 clients that never pause",
        part: "api",
        bound: Bound::AtMost(20.0),
        unit: "ms",
        figure: |run| slowest(run, "answers", of_inventory),
    },
    Goal {
        what: "telemetry ranges, p99, 200 clients that never pause",
        part: "api",
        bound: Bound::AtMost(100.0),
        unit: "ms",
        figure: |run| slowest(run, "answers", of_ranges),
    },
    Goal {
        what: "the same, where no answer is kept",
        part: "api",
        bound: Bound::AtMost(100.0),
        unit: "ms",
        figure: |run| slowest(run, "anew", of_ranges),
    },
    Goal {
        what: "etcd's file over the largest run",
        part: "rows",
        bound: Bound::AtMost(512.0),
        unit: "MiB",
        figure: |run| last(run, "etcd's file, MiB"),
    },
    Goal {
        what: "the same, a million rows of a message each",
        part: "row",
        bound: Bound::AtMost(512.0),
        unit: "MiB",
        figure: |run| run["etcd_file_mib"].as_f64(),
    },
    Goal {
        what: "the same, ten million rows of a message each",
        part: "rows-single",
        bound: Bound::AtMost(512.0),
        unit: "MiB",
        figure: |run| last(run, "etcd's file, MiB"),
    },
    Goal {
        what: "the same with four collectors",
        part: "collectors",
        bound: Bound::AtMost(512.0),
        unit: "MiB",
        figure: |run| at(run, 4.0, "etcd's file, MiB"),
    },
    Goal {
        what: "memory of the largest process of Nexus at full load, a message a row",
        part: "row",
        bound: Bound::AtMost(150.0),
        unit: "MiB",
        figure: largest,
    },
    Goal {
        what: "memory of the largest process of Nexus at full load, scrapes",
        part: "scrape",
        bound: Bound::AtMost(150.0),
        unit: "MiB",
        figure: largest,
    },
    Goal {
        what: "memory of the gateway while 200 clients never pause",
        part: "api",
        bound: Bound::AtMost(150.0),
        unit: "MiB",
        figure: |run| run.pointer("/gateway/peak_mib")?.as_f64(),
    },
    Goal {
        what: "memory of a collector that drains a million rows, a message each",
        part: "backlog",
        bound: Bound::AtMost(150.0),
        unit: "MiB",
        figure: |run| last(run, "collector, MiB"),
    },
];

fn of_inventory(route: &str) -> bool {
    ["clusters", "hosts", "gpus of a host", "stats"].contains(&route)
}

fn of_ranges(route: &str) -> bool {
    ["an hour", "a day", "newest"].iter().any(|of| route.starts_with(of))
}

/// The p99 of the slowest of some routes.
fn slowest(run: &Value, crowd: &str, of: fn(&str) -> bool) -> Option<f64> {
    let routes = run.get(crowd)?.get("routes")?.as_array()?;
    let p99 = |route: &Value| route[0].as_str().filter(|name| of(name)).and_then(|_| route[1]["p99_ms"].as_f64());
    routes.iter().filter_map(p99).reduce(f64::max)
}

/// The same of clients that ask ten times a second.
fn paced(run: &Value, of: fn(&str) -> bool) -> Option<f64> {
    (run.get("pause_ms")? == 100).then(|| slowest(run, "paced", of))?
}

/// A figure of a curve's last step.
fn last(run: &Value, name: &str) -> Option<f64> {
    let figures = run["points"].as_array()?.last()?["figures"].as_array()?;
    figures.iter().find(|figure| figure[0] == name)?[1].as_f64()
}

/// A figure of the curve's step at `x`.
fn at(run: &Value, x: f64, name: &str) -> Option<f64> {
    let step = run["points"].as_array()?.iter().find(|point| point["at"].as_f64() == Some(x))?;
    step["figures"].as_array()?.iter().find(|figure| figure[0] == name)?[1].as_f64()
}

fn largest(run: &Value) -> Option<f64> {
    let of = |role: &str| run["rss_mib"][role].as_f64();
    ["streamer", "collector", "gateway"].into_iter().filter_map(of).reduce(f64::max)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn figures_are_found_where_runs_have_them() {
        let api = json!({"paced": {"routes": [["latest of 100", {"p99_ms": 7.0}], ["stats", {"p99_ms": 9.0}]]}});
        assert_eq!(slowest(&api, "paced", |name| name.starts_with("latest")), Some(7.0));
        assert_eq!(slowest(&api, "answers", |_| true), None);
        assert_eq!(paced(&api, |_| true), None, "how often was not told");
        let curve = json!({"points": [{"figures": [["a", 1.0]]}, {"figures": [["a", 2.0]]}]});
        assert_eq!((last(&curve, "a"), last(&curve, "b")), (Some(2.0), None));
        assert_eq!(largest(&json!({"rss_mib": {"streamer": 3.0, "collector": 9.0, "etcd": 99.0}})), Some(9.0));
    }
}
