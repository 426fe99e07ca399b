use std::borrow::Cow;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode_registry;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::{looked_at, text::classic};
use crate::component::commit;
use crate::{logging, traces};

/// What [`Metrics::text`] is.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a process tells Prometheus. Everything bears the cluster's name, but what is said of the process itself.
#[derive(Debug)]
pub struct Metrics {
    cluster_id: String,
    own: Registry,
    process: Registry,
}

impl Metrics {
    /// With what every component tells: which it is, how much it logs, and what its process uses.
    pub fn new(component: &'static str, cluster_id: &str) -> Self {
        let mut own = Registry::with_labels(of_cluster(cluster_id));
        let build = Family::<[(&'static str, &'static str); 3], Gauge>::default();
        let labels = [("component", component), ("version", env!("CARGO_PKG_VERSION")), ("commit", commit())];
        build.get_or_create(&labels).set(1);
        own.register("nexus_build_info", "Always 1; what it is, its version and its commit are the labels", build);
        own.register_collector(looked_at(|scrape| {
            let help = "Lines logged as warnings and as errors, whether or not LOG_LEVEL lets them through.";
            scrape.counters("nexus_log_events", help, "level", logging::counted())
        }));
        own.register_collector(looked_at(|scrape| {
            let help =
                "Spans of traces: taken by the receiver, not taken by it, and dropped because too many waited for it.";
            scrape.counters("nexus_trace_spans", help, "outcome", traces::counted())
        }));
        #[allow(unused_mut)]
        let mut process = Registry::default();
        #[cfg(target_os = "linux")]
        process.register_collector(looked_at(super::process::tell));
        Metrics { cluster_id: cluster_id.to_owned(), own, process }
    }

    /// Where further ones are registered.
    pub fn registry(&mut self) -> &mut Registry {
        &mut self.own
    }

    /// All of them as they are now, and what was `asked` for this once.
    ///
    /// # Errors
    /// Where they cannot be written down: a fault of ours.
    pub fn text(&self, asked: impl IntoIterator<Item = Box<dyn Collector>>) -> Result<String, fmt::Error> {
        self.text_with(asked, [])
    }

    /// The same with what is of several clusters and bears their names itself.
    ///
    /// # Errors
    /// Where they cannot be written down: a fault of ours.
    pub fn text_with(
        &self,
        asked: impl IntoIterator<Item = Box<dyn Collector>>,
        of_clusters: impl IntoIterator<Item = Box<dyn Collector>>,
    ) -> Result<String, fmt::Error> {
        let (mut once, mut named) = (Registry::with_labels(of_cluster(&self.cluster_id)), Registry::default());
        asked.into_iter().for_each(|collector| once.register_collector(collector));
        of_clusters.into_iter().for_each(|collector| named.register_collector(collector));
        let mut text = String::new();
        for registry in [&self.own, &once, &named, &self.process] {
            encode_registry(&mut text, registry)?;
        }
        classic(&text)
    }
}

fn of_cluster(cluster_id: &str) -> impl Iterator<Item = (Cow<'static, str>, Cow<'static, str>)> {
    std::iter::once(("cluster".into(), cluster_id.to_owned().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_but_the_process_bears_the_clusters_name() {
        let mut metrics = Metrics::new("streamer", "a \"b\"");
        let rows = prometheus_client::metrics::counter::Counter::<u64>::default();
        metrics.registry().register("nexus_rows", "Rows", rows.clone());
        rows.inc_by(7);
        let asked = looked_at(|scrape| scrape.gauge("nexus_asked", "Asked.", 1_i64));
        let text = metrics.text([asked]).unwrap();
        let samples = || text.lines().filter(|line| !line.starts_with('#'));
        assert!(samples().any(|line| line == r#"nexus_rows_total{cluster="a \"b\""} 7"#), "{text}");
        assert!(samples().any(|line| line == r#"nexus_asked{cluster="a \"b\""} 1"#), "{text}");
        for line in samples() {
            let bears_it = line.contains("{cluster=");
            assert!(
                if line.starts_with("nexus_") { bears_it } else { line.starts_with("process_") && !bears_it },
                "{line}"
            );
        }
        if cfg!(target_os = "linux") {
            assert!(samples().any(|line| line.starts_with("process_resident_memory_bytes ")), "{text}");
        }
    }
}
