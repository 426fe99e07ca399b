//! What this gateway tells Prometheus.
//!
//! What the process knows of itself lies in a registry that is built once, each figure registered by its owner; what somebody
//! else has to be asked for is asked at the scrape (`fleet.rs`), or before it where that takes long (`audit::Rounds`), and told by
//! a collector of its own (`audit.rs`). To add a metric: register it
//! where it changes (`register` of its room), or a collector beside the books in [`Metrics::text`]. Never one series a lane
//! or a GPU.

mod audit;
mod fleet;
mod requests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use nexus_common::domain::Timestamp;
use nexus_common::observe::{self, Counted, Gauge, Health, Registry};

use self::audit::Books;
use crate::audit::Rounds;
pub use fleet::Fleet;

pub use nexus_common::observe::CONTENT_TYPE;
pub(crate) use requests::Requests;

/// The longest a scrape waits for somebody else. Prometheus gives up after 10 s, unless it is told otherwise.
const PATIENCE: Duration = Duration::from_secs(5);

/// This gateway's metrics; cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    metrics: observe::Metrics,
    requests: Requests,
    connections: Gauge,
    health: Health,
    rounds: Rounds,
    fleet: Fleet,
}

impl Metrics {
    /// With what `register` adds, the state of `health`, the GPUs of `fleet`, and the books that
    /// `rounds` look into.
    pub fn new(rounds: Rounds, fleet: Fleet, health: Health, register: impl FnOnce(&mut Registry)) -> Self {
        let mut metrics = observe::Metrics::new("gateway", rounds.cluster_id());
        let (registry, connections) = (metrics.registry(), Gauge::default());
        let requests = Requests::new(registry);
        registry.register(
            "nexus_gateway_connections",
            "Connections of clients, the live ones among them",
            connections.clone(),
        );
        register(registry);
        Metrics(Arc::new(Inner { metrics, requests, connections, health, rounds, fleet }))
    }

    /// For the layer that counts requests.
    pub(crate) fn requests(&self) -> Requests {
        self.0.requests.clone()
    }

    /// A connection, for as long as it lasts.
    pub(crate) fn connection(&self) -> Counted {
        Counted::new(&self.0.connections)
    }

    /// All of them as they are now, after at most five seconds: what cannot be asked for until then is left out, and said
    /// to be.
    ///
    /// # Errors
    /// Where they cannot be written down: a fault of ours.
    pub async fn text(&self) -> Result<String, fmt::Error> {
        let Inner { metrics, health, rounds, fleet, .. } = &*self.0;
        let (look, gpus) = tokio::join!(health.look(), fleet.look(PATIENCE));
        let books = Books { known: rounds.ask(), now: Timestamp::now() };
        // Clusters of GPUs are those of PostgreSQL: the label is their own.
        metrics.text_with([Box::new(look) as Box<dyn observe::Collector>, Box::new(books)], [Box::new(gpus) as _])
    }
}
