use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Hub;
use crate::Config;
use crate::config::Bounds;

/// What the protocols need to serve the feed. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Live {
    /// Where the frames are.
    pub hub: Hub,
    /// How much clients may ask for, and how silent they may be.
    pub bounds: Bounds,
    /// Origins whose pages may connect, besides the gateway's own; `*` is any.
    pub origins: Vec<String>,
    /// Ends all clients.
    pub stop: CancellationToken,
    /// Those clients whose connection is no HTTP request any more.
    pub clients: TaskTracker,
}

impl Live {
    /// As configured, until `stop`; `None` where the feed is switched off.
    pub fn new(config: &Config, hub: &Hub, stop: &CancellationToken) -> Option<Self> {
        config.enable_websocket.then(|| Live {
            hub: hub.clone(),
            bounds: config.bounds.clone(),
            origins: if config.enable_cors { config.cors_origins.clone() } else { Vec::new() },
            stop: stop.clone(),
            clients: TaskTracker::new(),
        })
    }
}
