//! Where processor time goes while something is measured: each process, and in it each part that is known by its name.
//!
//! `perf` looks at every processor 499 times a second and sees who runs, down to the function. etcd comes without names for
//! its functions, so it is asked itself (`--enable-pprof`). Looking costs a few percent: figures are of runs without it.

mod go;
mod perf;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use super::figures::{grouped, rounded};
use super::process;
use super::say;
use super::stack::Stack;
use super::watching::ROLES;

/// How long what is to be profiled may begin undisturbed.
const SETTLE: Duration = Duration::from_secs(1);
/// How long is looked.
const LOOK: Duration = Duration::from_secs(5);
/// Parts of a process that are told of by name; the rest is one.
const TOLD: usize = 9;

/// Each process, or what is like one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Where(BTreeMap<String, Process>);

/// One of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Process {
    /// Processors it kept busy, by its samples.
    cores: f64,
    /// Its parts, the largest first, and which share of its time each took, in percent.
    parts: Vec<(String, f64)>,
}

/// Samples of a process, by part.
type Counts = BTreeMap<String, u64>;

impl Where {
    /// A line for each process, the busiest first; of one of so many things a second, what each cost it.
    pub(super) fn lines(&self, a_second: Option<(f64, &str)>) -> Vec<String> {
        let mut known: Vec<_> = self.0.iter().filter(|(_, process)| process.cores >= 0.01).collect();
        known.sort_by(|(_, a), (_, b)| b.cores.total_cmp(&a.cores));
        let line = |(name, Process { cores, parts }): (&String, &Process)| {
            let cost = a_second.map(|(rate, thing)| format!(", {} µs for each {thing}", grouped(cores * 1e6 / rate)));
            let parts: Vec<_> =
                parts.iter().map(|(part, share)| format!("{part} {} %", grouped(share.round()))).collect();
            format!("**{name}**, {} processors{}: {}", grouped(*cores), cost.unwrap_or_default(), parts.join("; "))
        };
        known.into_iter().map(line).collect()
    }
}

impl fmt::Display for Where {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines(None).iter().try_for_each(|line| write!(f, "\n{}", line.replace("**", "")))
    }
}

/// Looks on while something else is done.
#[derive(Debug)]
pub(super) struct Profiler {
    servers: Vec<(u32, String)>,
    file: PathBuf,
    looking: AbortOnDropHandle<anyhow::Result<Seen>>,
}

/// What etcd did, and which components there were.
type Seen = (Counts, Vec<(u32, String)>);

impl Profiler {
    /// Begins to look, for six seconds in all; `None` where nobody wants it.
    pub(super) fn start(stack: &Stack, wanted: bool) -> Option<Profiler> {
        let (etcd, file) = (stack.etcd_endpoint(), stack.file("perf.data"));
        let looking = look(etcd, file.clone());
        #[expect(clippy::disallowed_methods, reason = "ends with the handle")]
        let start = || AbortOnDropHandle::new(tokio::spawn(looking));
        let of_role = |role: &str| stack.pids(role).into_iter().map(|pid| (pid, role.to_owned())).collect::<Vec<_>>();
        let servers = ["etcd", "postgres"].into_iter().flat_map(of_role).collect();
        wanted.then(|| Profiler { servers, file, looking: start() })
    }

    /// What was seen, of something that has ended.
    ///
    /// # Errors
    /// Where it ended too soon, `perf` is not there or may not look, or etcd does not tell.
    pub(super) async fn end(profiler: Option<Profiler>) -> anyhow::Result<Option<Where>> {
        let Some(Profiler { servers, file, looking }) = profiler else { return Ok(None) };
        ensure!(looking.is_finished(), "over before it was looked at for {LOOK:?}: more rows, or more seconds");
        let (etcd, components) = looking.await??;
        let mut counts = perf::read(&file, &[servers, components].concat()).await?;
        let cores =
            |counts: &Counts| rounded(counts.values().sum::<u64>() as f64 / (perf::HERTZ as f64 * LOOK.as_secs_f64()));
        let of_etcd = counts.remove("etcd").map_or(0.0, |counts| cores(&counts));
        let told = |counts: Counts| Process { cores: cores(&counts), parts: parts(&counts) };
        let mut all: BTreeMap<_, _> = counts.into_iter().map(|(name, counts)| (name, told(counts))).collect();
        all.insert("etcd".to_owned(), Process { cores: of_etcd, parts: parts(&etcd) });
        Ok(Some(Where(all)))
    }
}

/// What `perf` sees goes to the file; what etcd did is in the answer.
async fn look(etcd: String, file: PathBuf) -> anyhow::Result<Seen> {
    sleep(SETTLE).await;
    say("looking where time goes");
    let components = process::children().into_iter().filter(|(_, role)| ROLES.contains(&role.as_str())).collect();
    let ((), etcd) = tokio::try_join!(perf::record(&file, LOOK), go::look(&etcd, LOOK))?;
    Ok((etcd, components))
}

/// The largest parts, then the rest, in percent.
fn parts(counts: &Counts) -> Vec<(String, f64)> {
    let all = counts.values().sum::<u64>().max(1) as f64;
    let share = |count: u64| (count as f64 * 1_000.0 / all).round() / 10.0;
    let mut known: Vec<_> = counts.iter().collect();
    known.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), *name));
    let rest: u64 = known.iter().skip(TOLD).map(|(_, count)| **count).sum();
    let told = known.into_iter().take(TOLD).map(|(name, count)| (name.clone(), share(*count)));
    told.chain((rest > 0).then(|| ("the rest".to_owned(), share(rest)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_comes_first_with_what_one_thing_costs() {
        let process = |cores| Process { cores, parts: vec![("csv".to_owned(), 61.2), ("the rest".to_owned(), 38.8)] };
        let all = [("idle", 0.0), ("little", 0.1), ("much", 0.5)];
        let all = Where(all.map(|(name, cores)| (name.to_owned(), process(cores))).into());
        assert_eq!(
            all.lines(Some((100_000.0, "row"))),
            [
                "**much**, 0.5 processors, 5 µs for each row: csv 61 %; the rest 39 %",
                "**little**, 0.1 processors, 1 µs for each row: csv 61 %; the rest 39 %"
            ]
        );
        assert_eq!(all.lines(None)[1], "**little**, 0.1 processors: csv 61 %; the rest 39 %");
    }

    #[test]
    fn the_largest_parts_are_named_and_all_add_up() {
        let counts: Counts = (1..=12_u64).map(|n| (format!("part {n:02}"), n)).collect();
        let parts = parts(&counts);
        assert_eq!(parts.first().map(|(name, _)| name.as_str()), Some("part 12"));
        assert_eq!(parts.last(), Some(&("the rest".to_owned(), 7.7)));
        assert_eq!(parts.len(), TOLD + 1);
        assert!((parts.iter().map(|(_, share)| share).sum::<f64>() - 100.0).abs() < 1.0, "{parts:?}");
    }
}
