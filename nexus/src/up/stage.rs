//! Components that start and stop together.

use std::sync::{Arc, Mutex};

use nexus_common::config::Invalid;
use nexus_common::servers::Guard;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::screen::Screen;
use super::{Component, Ended};

/// All components of one role.
#[derive(Debug)]
pub(super) struct Stage {
    stop: CancellationToken,
    components: JoinSet<Ended>,
}

impl Stage {
    pub(super) fn new() -> Self {
        Stage { stop: CancellationToken::new(), components: JoinSet::new() }
    }

    pub(super) fn start(&mut self, component: Component, guard: Arc<Mutex<Guard>>, screen: Arc<Screen>) {
        let stop = self.stop.clone();
        self.components.spawn(async move { component.keep(&guard, &screen, &stop).await });
    }

    /// Waits for a component that cannot work as it is configured; for ever where there is none.
    pub(super) async fn misconfigured(&mut self) -> anyhow::Error {
        while let Some(ended) = self.components.join_next().await {
            match ended {
                Ok(Ended::Misconfigured(line)) => return Invalid(line).into(),
                Ok(Ended::Finished | Ended::Stopped) => {}
                Err(error) => return error.into(),
            }
        }
        std::future::pending().await
    }

    /// Stops all of them at once and waits until they have drained.
    pub(super) async fn stop(&mut self) {
        self.stop.cancel();
        while self.components.join_next().await.is_some() {}
    }
}
