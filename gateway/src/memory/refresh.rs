//! Keeps the memory as PostgreSQL has it.

use std::collections::HashSet;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use nexus_common::retry::Retry;
use tokio::time::{Instant, sleep_until};

use super::{Fleet, Memory};
use crate::read::{Loader, Part};

/// How soon a look follows the last one when something is known to be missing.
const SOON: Duration = Duration::from_millis(200);
/// How often while the feed cannot be trusted.
const OFTEN: Duration = Duration::from_secs(2);
/// A look waits at least this many times as long as the last one took: a tenth of the time at most.
const REST: u32 = 10;

/// Looks into PostgreSQL again and again, for ever. One that is away is tried until it answers: what is in memory stands
/// meanwhile.
pub async fn refresh(memory: &Memory, mut loader: Loader, interval: Duration) {
    let mut retry = Retry::call();
    loop {
        let started = Instant::now();
        memory.0.wanting.store(false, Ordering::Release);
        match look(memory, &mut loader).await {
            Ok(()) => {
                retry.reset();
                if !memory.0.seeded.swap(true, Ordering::AcqRel) {
                    tracing::info!(took = ?started.elapsed(), "the newest values are in memory");
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the newest values could not be compared with PostgreSQL; trying again");
                memory.0.wanting.store(true, Ordering::Release);
                tokio::time::sleep(retry.next_wait()).await;
                continue;
            }
        }
        let took = started.elapsed();
        loop {
            // Registered before it is looked at: a wish that comes between the two is not lost.
            let woken = memory.0.wake.notified();
            let pause = if memory.0.wanting.load(Ordering::Acquire) {
                SOON
            } else if memory.is_fed() {
                interval
            } else {
                OFTEN.min(interval)
            };
            let due = started + took + pause.max(took * REST);
            tokio::select! {
                () = sleep_until(due) => break,
                () = woken => {}
            }
        }
    }
}

/// One whole look. It comes in parts, so that neither it nor the lock takes much at a time.
async fn look(memory: &Memory, loader: &mut Loader) -> Result<(), crate::read::Error> {
    // Of a server that is not the one we know everything is forgotten, but only once the new one has told what it holds.
    let mut anew = loader.is_other_server().await?.then(Fleet::default);
    let (mut found, mut named) = (HashSet::new(), HashSet::new());
    let mut after = None;
    loop {
        let part = loader.next(after).await?;
        let last = part.last;
        found.extend(part.gpus.iter().map(|entry| entry.gpu.identity.id));
        match &mut anew {
            Some(fleet) => enter(fleet, part, &mut named),
            None => enter(&mut memory.write(), part, &mut named),
        }
        match last {
            Some(last) => after = Some(last),
            None => break,
        }
    }
    let signs = loader.signs().await?;
    let replaced = anew.is_some();
    let settle = |fleet: &mut Fleet| {
        fleet.settle(&found, &named);
        fleet.remember(signs);
    };
    match anew {
        None => settle(&mut memory.write()),
        Some(mut fleet) => {
            settle(&mut fleet);
            *memory.0.fleet.write().unwrap_or_else(PoisonError::into_inner) = fleet;
        }
    }
    loader.settled();
    if replaced {
        // What the feed told while the new one was read went into the old one.
        memory.want();
    }
    Ok(())
}

fn enter(fleet: &mut Fleet, part: Part, named: &mut HashSet<(String, Option<String>)>) {
    for (cluster_id, host_id) in part.names {
        fleet.name(&cluster_id, host_id.as_deref());
        named.insert((cluster_id.clone(), None));
        named.insert((cluster_id, host_id));
    }
    for entry in part.gpus {
        fleet.enter(entry);
    }
}
