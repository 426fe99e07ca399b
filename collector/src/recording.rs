//! The duty to look at every GPU now and then: what is the matter with it is remembered, and what happens is told, in
//! PostgreSQL and on the live feed.
//!
//! The oldest collector does it. While two take themselves for the oldest, a lock in PostgreSQL lets one look at a time,
//! and what one has told the other finds told. The live feed comes after COMMIT: what cannot be put there is told in
//! PostgreSQL all the same. Nothing that fails here stops anything else.

use std::time::Duration;

use nexus_common::db::Error as DbError;
use nexus_common::domain::Timestamp;
use nexus_common::etcd::{Client, Error as EtcdError, Txn, TxnOp};
use nexus_common::queue::{Feed, Keys};
use nexus_common::retry::Retry;
use tokio::time::{Instant, sleep, timeout};

use crate::worker::{Shared, store_deadline};
use crate::write::{Recorder, Told};

/// A look may take one part in so many of the time.
const SHARE: u32 = 20;
/// A look that failed slowly says nothing about the next one.
const LONGEST_AFTER_FAILURE: Duration = Duration::from_secs(60);
/// How often a value is put before it is given up.
const TRIES: usize = 4;

/// Looks every `interval`, for ever; more rarely where a look takes long.
pub(crate) async fn record(shared: &Shared, recorder: &Recorder, client: &Client, keys: &Keys, interval: Duration) {
    let (mut wait, mut fails) = (interval, false);
    loop {
        sleep(wait).await;
        wait = interval;
        // While PostgreSQL is away the breaker finds out when it is back.
        if shared.breaker.is_open() || !shared.board.view().is_elder() {
            continue;
        }
        let started = Instant::now();
        let looked = timeout(store_deadline(), recorder.record(Timestamp::now())).await;
        let looked = looked.unwrap_or_else(|_| Err(DbError::transient("PostgreSQL does not answer")));
        let pause = started.elapsed() * SHARE;
        match looked {
            Ok(told) => {
                (wait, fails) = (interval.max(pause), false);
                if let Some(told) = told {
                    put(&told, client, keys).await;
                }
            }
            Err(error) => {
                wait = interval.max(pause.min(LONGEST_AFTER_FAILURE));
                if std::mem::replace(&mut fails, true) {
                    tracing::debug!(%error, ?wait, "cannot look at the GPUs yet");
                } else {
                    tracing::warn!(%error, ?wait, "cannot look at the GPUs; trying again");
                }
            }
        }
    }
}

/// Puts the events on the live feed, a few times if need be; a full etcd takes none.
async fn put(told: &Told, client: &Client, keys: &Keys) {
    if told.left_out > 0 {
        tracing::warn!(
            told = told.events.len(),
            left_out = told.left_out,
            "more happened than the live feed takes: the rest is in the database"
        );
    }
    for value in Feed::encode_events(&told.events, told.left_out) {
        let mut retry = Retry::call();
        for left in (0..TRIES).rev() {
            let put = Txn::new().and_then([TxnOp::put(keys.feed(), value.as_slice(), None)]);
            match client.txn(put).await {
                Ok(_) => break,
                Err(error @ EtcdError::NoSpace) => {
                    tracing::debug!(%error, "events are not told live");
                    return;
                }
                Err(error) if left == 0 || !error.is_transient() => {
                    tracing::warn!(%error, "events are not told live");
                    return;
                }
                Err(_) => sleep(retry.next_wait()).await,
            }
        }
    }
}
