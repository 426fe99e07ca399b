//! The duty to roll hours up, so that questions over long times read few rows.
//!
//! The oldest collector does it, a little at a time: storing comes first, so behind it takes up to half of the time, and
//! nothing of it is urgent, because an hour that is not rolled up is read from its samples. While two take themselves for
//! the oldest, a lock in PostgreSQL lets one of them work. It ends between two turns or within one: a transaction that is not
//! committed has done nothing.

use std::time::Duration;

use nexus_common::db::Error;
use tokio::time::{Instant, sleep, timeout};

use crate::worker::{Shared, store_deadline};
use crate::write::Roller;

/// A turn that failed slowly says nothing about the next one.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Takes a turn every `interval`, for ever; one after the other where there is more to do, with pauses as long as the turns.
pub(crate) async fn roll(shared: &Shared, roller: &Roller, interval: Duration) {
    let (mut wait, mut fails) = (interval, false);
    loop {
        sleep(wait).await;
        wait = interval;
        // While PostgreSQL is away the breaker finds out when it is back.
        if shared.breaker.is_open() || !shared.board.view().is_elder() {
            continue;
        }
        let started = Instant::now();
        let turn = timeout(store_deadline(), roller.turn()).await;
        let pause = started.elapsed().min(LONGEST_PAUSE);
        match turn.unwrap_or_else(|_| Err(Error::transient("PostgreSQL does not answer"))) {
            Ok(turn) => {
                (wait, fails) = (if turn.behind { pause } else { interval }, false);
                if turn.hours > 0 {
                    tracing::debug!(hours = turn.hours, refused = turn.refused, behind = turn.behind, "rolled up");
                }
            }
            Err(error) => {
                wait = interval.max(pause);
                if std::mem::replace(&mut fails, true) {
                    tracing::debug!(%error, ?wait, "cannot roll up yet");
                } else {
                    tracing::warn!(%error, ?wait, "cannot roll up; trying again");
                }
            }
        }
    }
}
