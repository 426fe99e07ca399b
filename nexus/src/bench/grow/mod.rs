//! How figures change as one thing grows: rows, GPUs, collectors, streamers, what waits in the queue, or the history behind a query.
//!
//! A step that fails is told and left out: the others stand.

mod backlog;
mod past;

use std::fmt;
use std::path::Path;

use anyhow::Context;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::figures::grouped;
use super::plot::{Along, Series, plot};
use super::profile::Where;
use super::throughput::{self, Load};
use super::{Options, say};

/// What grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum By {
    /// Rows of a run, from 10,000
    Rows,
    /// GPUs, from 100
    Gpus,
    /// Collectors, from 1
    Collectors,
    /// Streamers that share the file, from 1: a lane and a connection each
    Streamers,
    /// Rows in the queue that nobody takes, from 0
    Backlog,
    /// Days of history behind the questions, from 1
    History,
}

/// How something changed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Curve {
    mode: String,
    by: By,
    points: Vec<Point>,
    /// Steps that could not be measured, and why.
    failed: Vec<(u64, String)>,
}

/// One step.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Point {
    /// How much of it there was.
    at: u64,
    /// Figures by name.
    figures: Vec<(String, f64)>,
    /// Where it was looked.
    #[serde(rename = "where", default, skip_serializing_if = "Option::is_none")]
    parts: Option<Where>,
}

impl Point {
    fn new(at: u64, figures: impl IntoIterator<Item = (String, f64)>) -> Point {
        Point { at, figures: figures.into_iter().collect(), parts: None }
    }

    fn seen(self, parts: Option<Where>) -> Point {
        Point { parts, ..self }
    }
}

impl By {
    /// What it is counted in.
    fn unit(self) -> &'static str {
        match self {
            By::Rows => "rows",
            By::Gpus => "GPUs",
            By::Collectors => "collectors",
            By::Streamers => "streamers",
            By::Backlog => "rows queued",
            By::History => "days of history",
        }
    }

    /// Where each step is, up to `most`, which is one; where it is looked where time goes, that one alone.
    fn steps(self, most: Option<u64>, profile: bool) -> Vec<u64> {
        let (all, usual): (Vec<u64>, u64) = match self {
            By::Rows => (tenfold(10_000), 10_000_000),
            By::Gpus => (tenfold(100), 100_000),
            By::Collectors | By::Streamers => (vec![1, 2, 4, 8, 16, 32, 64], 8),
            By::Backlog => (std::iter::once(0).chain(tenfold(10_000)).collect(), 1_000_000),
            By::History => (vec![1, 7, 30, 90, 365, 3 * 365], 365),
        };
        let most = most.unwrap_or(usual);
        if profile {
            return vec![most];
        }
        let mut steps: Vec<_> = all.into_iter().filter(|step| *step < most).collect();
        steps.push(most);
        steps
    }

    /// The load of a step, where steps are runs of the whole pipeline.
    fn load(self, step: u64, options: &Options) -> anyhow::Result<Load> {
        let mut load = options.load(options.shape);
        match self {
            By::Rows => load.rows = step,
            By::Gpus => load.gpus = u32::try_from(step)?,
            By::Collectors => load.collectors = u32::try_from(step)?,
            By::Streamers => load.streamers = u32::try_from(step)?,
            By::Backlog | By::History => {}
        }
        Ok(load)
    }
}

fn tenfold(first: u64) -> Vec<u64> {
    std::iter::successors(Some(first), |step| step.checked_mul(10)).take_while(|step| *step <= 1_000_000_000).collect()
}

/// What is told of a run: where it is in its figures, and what it is called.
const OF_A_RUN: [(&str, &str); 20] = [
    ("/rows_per_second", "rows/s"),
    ("/publish_p50_ms", "publish p50, ms"),
    ("/publish_p99_ms", "publish p99, ms"),
    ("/cpu_micros_per_row/streamer", "streamer, µs a row"),
    ("/cpu_micros_per_row/collector", "collectors, µs a row"),
    ("/cpu_micros_per_row/gateway", "gateway, µs a row"),
    ("/cpu_micros_per_row/etcd", "etcd, µs a row"),
    ("/cpu_micros_per_row/postgres", "PostgreSQL, µs a row"),
    ("/profile/cores/streamer", "streamer, processors"),
    ("/profile/cores/collector", "collectors, processors"),
    ("/profile/cores/gateway", "gateway, processors"),
    ("/profile/cores/etcd", "etcd, processors"),
    ("/profile/cores/postgres", "PostgreSQL, processors"),
    ("/profile/etcd/wal_sync_seconds", "etcd, s in WAL syncs"),
    ("/rss_mib/streamer", "streamer, MiB"),
    ("/rss_mib/collector", "collector, MiB"),
    ("/rss_mib/gateway", "gateway, MiB"),
    ("/rss_mib/etcd", "etcd, MiB"),
    ("/etcd_file_mib", "etcd's file, MiB"),
    ("/bytes_per_row", "PostgreSQL, bytes a row"),
];

/// Takes every step.
///
/// # Errors
/// Where none could be measured.
pub(super) async fn measure(dir: Option<&Path>, by: By, options: &Options) -> anyhow::Result<Curve> {
    let mut curve = Curve { mode: "grow".to_owned(), by, points: Vec::new(), failed: Vec::new() };
    let steps = by.steps(options.most, options.profile);
    match by {
        By::History => curve.points = past::measure(dir, &steps, options).await?,
        _ => {
            for step in steps {
                say(&format!("{step} {}", by.unit()));
                let point = match by {
                    By::Backlog => backlog::measure(dir, step, by.load(step, options)?).await,
                    _ => run(dir, step, by.load(step, options)?).await,
                };
                match point {
                    Ok(point) => {
                        say(&line(&point));
                        curve.points.push(point);
                    }
                    Err(error) => {
                        say(&format!("{step} {}: {error:#}", by.unit()));
                        curve.failed.push((step, format!("{error:#}")));
                    }
                }
            }
        }
    }
    let why = || curve.failed.first().map(|(_, why)| why.clone()).unwrap_or_default();
    anyhow::ensure!(!curve.points.is_empty(), "no step could be measured: {}", why());
    Ok(curve)
}

async fn run(dir: Option<&Path>, step: u64, load: Load) -> anyhow::Result<Point> {
    let measured = throughput::measure(dir, load, None).await?;
    let figures = serde_json::to_value(&measured)?;
    let figure = |(place, name): (&str, &str)| Some((name.to_owned(), figures.pointer(place)?.as_f64()?));
    Ok(Point::new(step, OF_A_RUN.into_iter().filter_map(figure)).seen(measured.parts))
}

fn line(point: &Point) -> String {
    point.figures.iter().map(|(name, figure)| format!("{name}: {figure}")).collect::<Vec<_>>().join("; ")
}

impl Curve {
    /// Writes the plot.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub(super) fn draw(&self, path: &Path) -> anyhow::Result<()> {
        std::fs::write(path, self.svg()).with_context(|| format!("writing {}", path.display()))
    }

    /// The names of all figures, in the order of the first step that has them.
    fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for (name, _) in self.points.iter().flat_map(|point| &point.figures) {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        names
    }

    fn figure(&self, point: usize, name: &str) -> Option<f64> {
        self.points[point].figures.iter().find(|(known, _)| known == name).map(|(_, figure)| *figure)
    }

    /// Each figure over the steps, which stand at equal distances.
    fn svg(&self) -> String {
        let over_steps = |name: &str| {
            (0..self.points.len()).filter_map(|place| Some((place as f64, self.figure(place, name)?))).collect()
        };
        let series: Vec<_> =
            self.names().into_iter().map(|name| Series { name: name.to_owned(), points: over_steps(name) }).collect();
        let steps = self.points.iter().map(|point| grouped(point.at as f64)).collect();
        plot(&format!("As {} grow", self.by.unit()), &Along::Steps(self.by.unit(), steps), &series)
    }

    /// Figures down, steps across.
    pub(super) fn table(&self) -> Vec<Vec<String>> {
        let heading = std::iter::once(self.by.unit().to_owned());
        let mut table =
            vec![heading.chain(self.points.iter().map(|point| grouped(point.at as f64))).collect::<Vec<_>>()];
        for name in self.names() {
            let figures =
                (0..self.points.len()).map(|place| self.figure(place, name).map_or_else(String::new, grouped));
            table.push(std::iter::once(name.to_owned()).chain(figures).collect());
        }
        table
    }

    /// How many things a second there were at the last step, and what they are.
    pub(super) fn pace(&self) -> Option<(f64, &'static str)> {
        let last = self.points.len().checked_sub(1)?;
        let names = [(OF_A_RUN[0].1, "row"), (backlog::DRAINED, "row"), (past::ANSWERED, "answer")];
        names.into_iter().find_map(|(name, thing)| Some((self.figure(last, name)?, thing)))
    }

    /// What could not be measured.
    pub(super) fn failures(&self) -> Vec<String> {
        self.failed.iter().map(|(step, why)| format!("{} {}: {why}", grouped(*step as f64), self.by.unit())).collect()
    }
}

impl fmt::Display for Curve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, row) in self.table().iter().enumerate() {
            let cells: String = row.iter().skip(1).map(|cell| format!("{cell:>14}")).collect();
            write!(f, "{}{:<28}{cells}", if place > 0 { "\n" } else { "" }, row[0])?;
        }
        self.points.iter().filter_map(|point| point.parts.as_ref()).try_for_each(|parts| write!(f, "{parts}"))?;
        self.failures().iter().try_for_each(|failure| write!(f, "\nnot measured: {failure}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_end_where_they_should() {
        assert_eq!(By::Rows.steps(Some(1_000_000), false), [10_000, 100_000, 1_000_000]);
        assert_eq!(By::Collectors.steps(None, false), [1, 2, 4, 8]);
        assert_eq!(By::Backlog.steps(Some(50_000), false), [0, 10_000, 50_000]);
        assert_eq!(By::Gpus.steps(Some(50), false), [50]);
        assert_eq!(By::History.steps(None, true), [365], "only there it is looked");
    }

    #[test]
    fn what_a_step_lacks_is_left_empty() {
        let point = |at, figures: &[(&str, f64)]| Point::new(at, figures.iter().map(|(n, f)| ((*n).to_owned(), *f)));
        let points = vec![point(1, &[("a", 1.5)]), point(1_000, &[("a", 2000.0), ("b", 3.0)])];
        let curve = Curve { mode: "grow".to_owned(), by: By::Rows, points, failed: vec![(10, "it ended".to_owned())] };
        let table = [["rows", "1", "1,000"], ["a", "1.5", "2,000"], ["b", "", "3"]];
        assert_eq!(curve.table(), table.map(|row| row.map(str::to_owned).to_vec()).to_vec());
        assert_eq!(curve.failures(), ["10 rows: it ended"]);
        let again: Curve = serde_json::from_str(&serde_json::to_string(&curve).unwrap()).unwrap();
        assert_eq!(again.table(), curve.table());
    }
}
