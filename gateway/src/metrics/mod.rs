//! What this gateway tells Prometheus, in its text format 0.0.4.
//!
//! What the process knows of itself lies in a registry that is built once; what somebody else has to be asked for is asked
//! at the scrape, each by a collector of its own (`audit.rs`). To add a metric: register it in [`Metrics::new`] and keep a
//! handle on it where it changes, or a collector beside the books in [`Metrics::text`]. Never one series a lane or a GPU.

mod audit;
mod fleet;

use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::text::encode_registry;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::audit::Auditor;
use audit::Books;
pub use fleet::Fleet;

/// What [`Metrics::text`] is.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The longest a scrape waits for somebody else. Prometheus gives up after 10 s, unless it is told otherwise.
const PATIENCE: Duration = Duration::from_secs(5);

/// This gateway's metrics; cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    auditor: Auditor,
    fleet: Fleet,
}

impl Metrics {
    /// With the books that `auditor` looks into, and the GPUs of `fleet`.
    pub fn new(auditor: Auditor, fleet: Fleet) -> Self {
        let mut registry = Registry::default();
        let build = Family::<[(&str, &str); 1], Gauge>::default();
        build.get_or_create(&[("version", env!("CARGO_PKG_VERSION"))]).set(1);
        registry.register("nexus_build_info", "Always 1; the version of this gateway is the label", build);
        Metrics(Arc::new(Inner { registry, auditor, fleet }))
    }

    /// All of them as they are now, after at most five seconds: what cannot be asked for until then is left out, and said
    /// to be.
    ///
    /// # Errors
    /// Where they cannot be written down: a fault of ours.
    pub async fn text(&self) -> Result<String, fmt::Error> {
        let Inner { registry, auditor, fleet } = &*self.0;
        let mut asked = Registry::default();
        let (books, gpus) = tokio::join!(Books::look(auditor, PATIENCE), fleet.look(PATIENCE));
        // Its clusters are those of PostgreSQL: the label is its own.
        asked.register_collector(Box::new(gpus));
        let cluster = ("cluster".into(), auditor.cluster_id().to_owned().into());
        asked.sub_registry_with_label(cluster).register_collector(Box::new(books));
        let mut text = String::new();
        encode_registry(&mut text, registry)?;
        encode_registry(&mut text, &asked)?;
        classic(&text)
    }
}

/// OpenMetrics as the older text format: there a counter is described under the name that its samples have.
fn classic(text: &str) -> Result<String, fmt::Error> {
    let mut classic = String::with_capacity(text.len());
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let counter = |line: &str| Some(line.strip_prefix("# TYPE ")?.strip_suffix(" counter")?.to_owned());
        let described = line.strip_prefix("# HELP ").and_then(|line| line.split_once(' '));
        match (described, counter(line), lines.peek().and_then(|next| counter(next))) {
            (Some((name, help)), _, Some(next)) if name == next => writeln!(classic, "# HELP {name}_total {help}")?,
            (_, Some(name), _) => writeln!(classic, "# TYPE {name}_total counter")?,
            _ => writeln!(classic, "{line}")?,
        }
    }
    Ok(classic)
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    #[test]
    fn a_counter_is_described_under_its_own_name() {
        let (counter, gauge) = (Counter::<u64>::default(), Gauge::<i64>::default());
        counter.inc_by(3);
        let mut registry = Registry::default();
        registry.register("answers", "Answers given", counter);
        registry.register("open", "Open now", gauge);
        let mut text = String::new();
        encode_registry(&mut text, &registry).unwrap();
        assert_eq!(
            classic(&text).unwrap(),
            "# HELP answers_total Answers given.\n# TYPE answers_total counter\nanswers_total 3\n\
             # HELP open Open now.\n# TYPE open gauge\nopen 0\n"
        );
    }
}
