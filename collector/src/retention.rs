//! The duty to let go of what is older than RETENTION.
//!
//! The oldest collector does it. While two take themselves for the oldest, locks in PostgreSQL let one drop a partition, and
//! the other finds it gone. A turn that is cut off has dropped whole partitions or nothing.

use std::time::Duration;

use nexus_common::db::Error;
use nexus_common::domain::Timestamp;
use tokio::time::{sleep, timeout};

use crate::worker::{Shared, store_deadline};
use crate::write::Dropper;

/// Days end rarely; rows of old days may come at any time.
const EVERY: Duration = Duration::from_secs(600);
/// What was in use is tried again soon.
const AGAIN: Duration = Duration::from_secs(30);

/// Looks now and then, for ever.
pub(crate) async fn retain(shared: &Shared, dropper: &Dropper) {
    // Not with the start: who leads is not known yet.
    let mut wait = AGAIN;
    loop {
        sleep(wait).await;
        // While PostgreSQL is away the breaker finds out when it is back.
        if shared.breaker.is_open() || !shared.board.view().is_elder() {
            wait = AGAIN;
            continue;
        }
        let turn = timeout(store_deadline(), dropper.turn(Timestamp::now())).await;
        match turn.unwrap_or_else(|_| Err(Error::transient("PostgreSQL does not answer"))) {
            Ok(dropped) => {
                for partition in &dropped.partitions {
                    tracing::info!(partition, "dropped: older than RETENTION");
                }
                wait = if dropped.busy > 0 { AGAIN } else { EVERY };
            }
            Err(error) => {
                tracing::warn!(%error, "cannot drop what is older than RETENTION; trying again");
                wait = EVERY;
            }
        }
    }
}
