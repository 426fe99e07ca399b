//! The processes of a round: who runs, who is frozen, and who has to be started again.

use std::path::PathBuf;

use nexus_common::testing::Proxy;
use nix::sys::signal::Signal;

use crate::process::Process;
use crate::world::World;

/// Streamers and collectors, and the lines they speak through.
pub(crate) struct Crew {
    pub(crate) world: World,
    /// One to each member of etcd.
    pub(crate) to_etcd: Vec<Proxy>,
    pub(crate) to_postgres: Proxy,
    pub(crate) streamers: Vec<Streamer>,
    pub(crate) collectors: Vec<Process>,
    wanted: usize,
    batch_rows: String,
}

/// The streamer of one file.
pub(crate) struct Streamer {
    pub(crate) file: PathBuf,
    pub(crate) process: Option<Process>,
    pub(crate) done: bool,
}

impl Crew {
    pub(crate) async fn new(mut world: World, files: Vec<PathBuf>, collectors: usize, batch_rows: u64) -> Crew {
        let mut to_etcd = Vec::new();
        for member in world.members() {
            to_etcd.push(Proxy::to(member.endpoint()).await);
        }
        let to_postgres = Proxy::to(format!("127.0.0.1:{}", world.postgres.port())).await;
        let streamer = |file| Streamer { file, process: None, done: false };
        let mut crew = Crew {
            world,
            to_etcd,
            to_postgres,
            streamers: files.into_iter().map(streamer).collect(),
            collectors: Vec::new(),
            wanted: collectors,
            batch_rows: batch_rows.to_string(),
        };
        crew.muster();
        crew
    }

    /// Starts whoever should run and does not. A streamer that ended well has published its file.
    pub(crate) fn muster(&mut self) {
        self.collectors.retain_mut(|collector| collector.has_ended().is_none());
        while self.collectors.len() < self.wanted {
            self.hire("");
        }
        for index in 0..self.streamers.len() {
            let streamer = &mut self.streamers[index];
            match streamer.process.as_mut().map(Process::has_ended) {
                Some(None) => continue,
                Some(Some(status)) if status.success() => streamer.done = true,
                _ => {}
            }
            if !self.streamers[index].done {
                self.send(index, "");
            }
        }
    }

    /// Another collector.
    pub(crate) fn hire(&mut self, failpoints: &str) {
        let collector = self.start("collector", failpoints, &[]);
        self.collectors.push(collector);
    }

    /// A streamer for a file, in the place of whoever is there.
    pub(crate) fn send(&mut self, index: usize, failpoints: &str) {
        let file = self.streamers[index].file.to_str().unwrap().to_owned();
        let (batch_rows, files) = (self.batch_rows.clone(), file);
        // Every other one cuts its batches into several transactions, which are sent before the ones before are answered.
        let operations = if index.is_multiple_of(2) { "24" } else { "128" };
        let slowly = [
            ("CSV_FILE", files.as_str()),
            ("BATCH_SIZE", batch_rows.as_str()),
            ("MAX_TXN_OPS", operations),
            ("STREAM_INTERVAL", "20ms"),
        ];
        let process = self.start("streamer", failpoints, &slowly);
        self.streamers[index].process = Some(process);
    }

    pub(crate) fn start(&self, component: &str, failpoints: &str, environment: &[(&str, &str)]) -> Process {
        let endpoints: Vec<_> = self.to_etcd.iter().map(Proxy::endpoint).collect();
        let (endpoints, port) = (endpoints.join(","), self.to_postgres.port().to_string());
        let mut all = vec![("ETCD_ENDPOINTS", endpoints.as_str()), ("DB_PORT", port.as_str()), ("LOG_LEVEL", "info")];
        all.extend(environment);
        if !failpoints.is_empty() {
            all.push(("FAILPOINTS", failpoints));
        }
        self.world.start(component, &all)
    }

    /// Every collector gets the signal.
    pub(crate) fn signal_collectors(&mut self, signal: Signal) {
        for collector in &mut self.collectors {
            if collector.has_ended().is_none() {
                collector.signal(signal);
            }
        }
    }

    /// Lines carry again, and nobody is frozen.
    pub(crate) fn heal(&mut self) {
        self.to_etcd.iter().for_each(Proxy::heal);
        self.to_postgres.heal();
        self.signal_collectors(Signal::SIGCONT);
        for process in self.streamers.iter_mut().filter_map(|streamer| streamer.process.as_mut()) {
            if process.has_ended().is_none() {
                process.signal(Signal::SIGCONT);
            }
        }
    }

    /// Whether every file is published.
    pub(crate) fn is_done(&self) -> bool {
        self.streamers.iter().all(|streamer| streamer.done)
    }
}
