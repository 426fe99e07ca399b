//! What the pure parts of the hot path cost by themselves: read from what `make bench-parts` measured last.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::figures::{grouped, rounded};

/// Where criterion keeps its measurements, from where the project is.
const MEASURED: &str = "target/criterion";

/// What is older was measured for something else.
const A_DAY: Duration = Duration::from_secs(86_400);

/// All of them.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    mode: &'static str,
    parts: Vec<Part>,
}

/// One part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Part {
    /// Group, function and size.
    pub(super) name: String,
    /// Rows that are worked on in one go.
    pub(super) rows: u64,
    /// The median of one row, in nanoseconds, and within what it lies with 95 %.
    pub(super) row_ns: f64,
    pub(super) least_ns: f64,
    pub(super) most_ns: f64,
}

/// Reads what was measured.
///
/// # Errors
/// Where nothing was, or some of it more than a day ago: that is of another build.
pub(super) fn read() -> anyhow::Result<Figures> {
    let mut parts =
        below(Path::new(MEASURED)).with_context(|| format!("reading {MEASURED}: make bench-parts measures it"))?;
    ensure!(!parts.is_empty(), "nothing is measured in {MEASURED}: make bench-parts does it");
    parts.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Figures { mode: "parts", parts })
}

/// Every part somewhere below a folder: each has its newest measurement in a folder `new`.
fn below(folder: &Path) -> anyhow::Result<Vec<Part>> {
    let mut parts = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?.path();
        match entry.file_name() {
            Some(name) if name == "new" => parts.push(part(&entry)?),
            Some(_) if entry.is_dir() => parts.extend(below(&entry)?),
            _ => {}
        }
    }
    Ok(parts)
}

fn part(folder: &Path) -> anyhow::Result<Part> {
    #[derive(Deserialize)]
    struct Benchmark {
        full_id: String,
        /// `{"Elements": 10}`; or of something else.
        throughput: Option<Value>,
    }
    #[derive(Deserialize)]
    struct Estimates {
        median: Estimate,
    }
    #[derive(Deserialize)]
    struct Estimate {
        point_estimate: f64,
        confidence_interval: Interval,
    }
    #[derive(Deserialize)]
    struct Interval {
        lower_bound: f64,
        upper_bound: f64,
    }
    let age = folder.join("estimates.json").metadata()?.modified()?.elapsed().unwrap_or_default();
    ensure!(age < A_DAY, "{} is older than a day: remove {MEASURED}, and make bench-parts again", folder.display());
    let file = |name: &str| {
        std::fs::read(folder.join(name)).with_context(|| format!("reading {}", folder.join(name).display()))
    };
    let Benchmark { full_id, throughput } = serde_json::from_slice(&file("benchmark.json")?)?;
    let Estimates { median } = serde_json::from_slice(&file("estimates.json")?)?;
    let rows = throughput.and_then(|throughput| throughput["Elements"].as_u64()).unwrap_or(1).max(1);
    let [row_ns, least_ns, most_ns] =
        [median.point_estimate, median.confidence_interval.lower_bound, median.confidence_interval.upper_bound]
            .map(|nanos| rounded(nanos / rows as f64));
    Ok(Part { name: full_id, rows, row_ns, least_ns, most_ns })
}

impl Part {
    /// As a line of a table.
    pub(super) fn cells(&self) -> Vec<String> {
        let Part { name, rows, row_ns, least_ns, most_ns } = self;
        vec![
            name.clone(),
            grouped(*rows as f64),
            format!("{} ({} to {})", grouped(*row_ns), grouped(*least_ns), grouped(*most_ns)),
        ]
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<32}{:>10}  ns a row (95 %)", "", "rows")?;
        self.parts
            .iter()
            .map(Part::cells)
            .try_for_each(|cells| write!(f, "\n{:<32}{:>10}  {}", cells[0], cells[1], cells[2]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_criterion_keeps_is_found_and_is_of_one_row() {
        let folder = tempfile::tempdir().unwrap();
        let new = folder.path().join("messages/encode/10/new");
        std::fs::create_dir_all(&new).unwrap();
        std::fs::create_dir_all(folder.path().join("messages/report")).unwrap();
        std::fs::write(new.join("benchmark.json"), r#"{"full_id":"messages/encode/10","throughput":{"Elements":10}}"#)
            .unwrap();
        let estimates =
            r#"{"median":{"point_estimate":1234.0,"confidence_interval":{"lower_bound":1200.0,"upper_bound":1300.0}}}"#;
        std::fs::write(new.join("estimates.json"), estimates).unwrap();
        let parts = below(folder.path()).unwrap();
        let of = |row_ns, least_ns, most_ns| Part {
            name: "messages/encode/10".to_owned(),
            rows: 10,
            row_ns,
            least_ns,
            most_ns,
        };
        assert_eq!(parts, [of(123.4, 120.0, 130.0)]);
        assert_eq!(parts[0].cells(), ["messages/encode/10", "10", "123 (120 to 130)"]);
        assert!(below(&folder.path().join("nothing")).is_err());
    }
}
