use std::sync::Arc;
use std::time::Duration;

use nexus_common::etcd::Client;
use nexus_common::queue::Keys;
use tokio_util::sync::CancellationToken;

use crate::berth::Lanes;
use crate::fit::Fit;
use crate::gate::Gate;
use crate::pace::Pace;
use crate::progress::Progress;
use crate::source::Stripe;

/// What all sources of a streamer share; a clone for each.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) keys: Keys,
    pub(crate) lanes: Lanes,
    pub(crate) stripe: Stripe,
    pub(crate) message_ttl: Duration,
    /// How many of all batches are traced, from 0 to 1.
    pub(crate) traced_share: f64,
    pub(crate) fit: Fit,
    pub(crate) pace: Pace,
    pub(crate) gate: Gate,
    pub(crate) progress: Arc<Progress>,
    pub(crate) stop: CancellationToken,
    /// Told to stop, and what is under way has had its time.
    pub(crate) given_up: CancellationToken,
}
