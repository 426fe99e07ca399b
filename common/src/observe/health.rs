//! What a process depends on, how that is, and whether the process can work.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::Scrape;

/// Past this a dependency counts as down.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long an answer stands for those who ask after it.
const GOOD_FOR: Duration = Duration::from_secs(1);

/// One dependency and the question that shows whether it answers. The text of an error is for the log alone, and there it
/// stands once for each time that the dependency goes down.
///
/// It is asked by one at a time, and at most once a second: `/health` asks for no key, and whoever asks it without
/// end must not ask etcd and PostgreSQL without end.
pub struct Probe {
    name: &'static str,
    ask: Box<dyn Fn() -> Answer + Send + Sync>,
    patience: Duration,
    good_for: Duration,
    was_down: AtomicBool,
    /// Held while it is asked: who comes meanwhile waits for that answer.
    newest: Mutex<Option<(Instant, Dependency)>>,
}

type Answer = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

impl Probe {
    /// A dependency by its name in `/health`.
    pub fn new<F>(name: &'static str, ask: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        let ask = Box::new(move || Box::pin(ask()) as Answer);
        let (was_down, newest) = (AtomicBool::new(false), Mutex::default());
        Probe { name, ask, patience: PATIENCE, good_for: GOOD_FOR, was_down, newest }
    }

    /// How it is, or was a moment ago.
    async fn state(&self) -> (&'static str, Dependency) {
        let mut newest = self.newest.lock().await;
        if let Some((_, known)) = newest.filter(|(at, _)| at.elapsed() < self.good_for) {
            return (self.name, known);
        }
        let found = self.asked().await;
        *newest = Some((Instant::now(), found));
        (self.name, found)
    }

    async fn asked(&self) -> Dependency {
        let asked = Instant::now();
        let answer = timeout(self.patience, (self.ask)()).await.unwrap_or_else(|_| Err("no answer in time".to_owned()));
        let was_down = self.was_down.swap(answer.is_err(), Ordering::Relaxed);
        match &answer {
            Err(error) if !was_down => tracing::warn!(dependency = self.name, error, "down"),
            Err(error) => tracing::debug!(dependency = self.name, error, "still down"),
            Ok(()) if was_down => tracing::info!(dependency = self.name, "up again"),
            Ok(()) => {}
        }
        let latency_ms = (asked.elapsed().as_secs_f64() * 1e6).round() / 1e3;
        Dependency { status: if answer.is_ok() { State::Up } else { State::Down }, latency_ms }
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Probe").field(&self.name).finish()
    }
}

/// How one dependency is.
#[derive(Debug, Clone, Copy, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Dependency {
    /// Whether it answered.
    pub status: State,
    /// How long the answer, or giving up on it, took in milliseconds.
    pub latency_ms: f64,
}

/// Up or down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It answers.
    Up,
    /// It does not.
    Down,
}

/// The answer of `/health`.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Up when every dependency is.
    pub status: State,
    /// The version of this program.
    pub version: &'static str,
    /// By name.
    pub dependencies: BTreeMap<&'static str, Dependency>,
}

/// All dependencies of a process, and whether it can work; cheap to clone.
#[derive(Clone)]
pub struct Health(Arc<Inner>);

struct Inner {
    probes: Vec<Probe>,
    needed: &'static [&'static str],
    can_work: Box<dyn Fn() -> bool + Send + Sync>,
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health").field("probes", &self.0.probes).field("needed", &self.0.needed).finish()
    }
}

impl Health {
    /// Of these dependencies. The process is ready while those that are `needed` answer and `can_work` says so.
    pub fn new(
        probes: Vec<Probe>,
        needed: &'static [&'static str],
        can_work: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Self {
        Health(Arc::new(Inner { probes, needed, can_work: Box::new(can_work) }))
    }

    /// Asks all of them at once, where they were not asked a moment ago.
    pub async fn report(&self) -> Report {
        let dependencies: BTreeMap<_, _> = join_all(self.0.probes.iter().map(Probe::state)).await.into_iter().collect();
        let all_up = dependencies.values().all(|dependency| dependency.status == State::Up);
        let status = if all_up { State::Up } else { State::Down };
        Report { status, version: env!("CARGO_PKG_VERSION"), dependencies }
    }

    /// Whether it can work now. What that does not need is not asked.
    pub async fn is_ready(&self) -> bool {
        let needed = self.0.probes.iter().filter(|probe| self.0.needed.contains(&probe.name));
        (self.0.can_work)()
            && join_all(needed.map(Probe::state)).await.iter().all(|(_, found)| found.status == State::Up)
    }

    /// Both, for Prometheus.
    pub async fn look(&self) -> Look {
        let Report { dependencies, .. } = self.report().await;
        let answers = |name: &&str| dependencies.get(name).is_some_and(|found| found.status == State::Up);
        let ready = (self.0.can_work)() && self.0.needed.iter().all(answers);
        Look { ready, dependencies }
    }
}

/// How a process was found to be.
#[derive(Debug)]
pub struct Look {
    ready: bool,
    dependencies: BTreeMap<&'static str, Dependency>,
}

impl Collector for Look {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut scrape = Scrape::new(&mut encoder);
        scrape.gauge("nexus_ready", "1 while this process can work: what /ready says.", i64::from(self.ready))?;
        let up = |found: &Dependency| i64::from(found.status == State::Up);
        let states = self.dependencies.iter().map(|(name, found)| (*name, up(found)));
        scrape.gauges(
            "nexus_dependency_up",
            "1 where what this process depends on answered when it was asked last, a second ago at most.",
            "dependency",
            states,
        )
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    fn probe(name: &'static str, answers: bool) -> Probe {
        Probe::new(name, move || async move { if answers { Ok(()) } else { Err("it is away".to_owned()) } })
    }

    #[tokio::test]
    async fn ready_needs_what_is_needed_and_the_process_itself() {
        let health =
            |can_work| Health::new(vec![probe("memory", true), probe("queue", false)], &["memory"], move || can_work);
        let (able, unable) = (health(true), health(false));
        assert!(able.is_ready().await && able.look().await.ready);
        assert!(!unable.is_ready().await && !unable.look().await.ready);
        assert_eq!(able.report().await.status, State::Down, "what is not needed counts in /health");
        let needy = Health::new(vec![probe("queue", false)], &["queue"], || true);
        assert!(!needy.is_ready().await && !needy.look().await.ready);
    }

    #[tokio::test]
    async fn who_does_not_answer_is_down() {
        let silent = Probe { patience: Duration::from_millis(1), ..Probe::new("queue", std::future::pending) };
        let report = Health::new(vec![silent], &["queue"], || true).report().await;
        assert_eq!(report.dependencies["queue"].status, State::Down);
        assert!(report.dependencies["queue"].latency_ms >= 1.0);
    }

    #[tokio::test]
    async fn however_many_ask_the_server_is_asked_once_in_a_while() {
        let (asked, is_up) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(true)));
        let health = |good_for| {
            let (asked, is_up) = (asked.clone(), is_up.clone());
            let probe = Probe::new("queue", move || {
                asked.fetch_add(1, Ordering::Relaxed);
                let is_up = is_up.clone();
                async move {
                    tokio::task::yield_now().await;
                    if is_up.load(Ordering::Relaxed) { Ok(()) } else { Err("it is away".to_owned()) }
                }
            });
            Health::new(vec![Probe { good_for, ..probe }], &["queue"], || true)
        };
        let remembering = health(Duration::from_secs(600));
        let found = async || {
            let found =
                join_all((0..100).map(|_| async { (remembering.report().await.status, remembering.is_ready().await) }));
            found.await.into_iter().all(|found| found == (State::Up, true))
        };
        assert!(found().await);
        is_up.store(false, Ordering::Relaxed);
        assert!(found().await, "what was found a moment ago stands");
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        let forgetting = health(Duration::ZERO);
        assert!(!forgetting.is_ready().await && !forgetting.is_ready().await);
        assert_eq!(asked.load(Ordering::Relaxed), 3);
    }
}
