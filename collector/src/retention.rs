//! The duty to let go of what is older than RETENTION.
//!
//! The oldest collector does it. While two take themselves for the oldest, locks in PostgreSQL let one drop a partition, and
//! the other finds it gone. A turn that is cut off has dropped whole partitions or nothing.

use std::time::Duration;

use nexus_common::db::Error;
use nexus_common::domain::Timestamp;
use tokio::time::{sleep, timeout};

use crate::worker::Shared;
use crate::write::Dropper;

/// Days end rarely; rows of old days may come at any time.
const EVERY: Duration = Duration::from_secs(600);
/// What was in use is tried again soon, and a server that did not answer.
const AGAIN: Duration = Duration::from_secs(30);
/// Days of a large cluster take minutes each; after this nobody answers any more.
const DEADLINE: Duration = Duration::from_secs(30 * 60);
/// How soon a collector that has become the oldest, or has its server back, begins.
const STANDING_BY: Duration = Duration::from_secs(1);

/// Looks now and then, for ever.
pub(crate) async fn retain(shared: &Shared, dropper: &Dropper) {
    let (mut wait, mut fails) = (STANDING_BY, false);
    loop {
        sleep(wait).await;
        // While PostgreSQL is away the breaker finds out when it is back.
        if shared.breaker.is_open() || !shared.board.view().is_elder() {
            wait = STANDING_BY;
            continue;
        }
        let turn = timeout(DEADLINE, dropper.turn(Timestamp::now())).await;
        match turn.unwrap_or_else(|_| Err(Error::transient("PostgreSQL does not answer"))) {
            Ok(dropped) => {
                (wait, fails) = (if dropped.busy > 0 { AGAIN } else { EVERY }, false);
                for partition in &dropped.partitions {
                    tracing::info!(partition, "dropped: older than RETENTION");
                }
            }
            Err(error) => {
                wait = AGAIN;
                if std::mem::replace(&mut fails, true) {
                    tracing::debug!(%error, ?wait, "cannot drop what is older than RETENTION yet");
                } else {
                    tracing::warn!(%error, ?wait, "cannot drop what is older than RETENTION; trying again");
                }
            }
        }
    }
}
