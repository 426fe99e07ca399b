//! Keeps the view up to date: by watch, or by listing every POLL_TIMEOUT.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nexus_common::etcd::{Change, Client, KeyValue, Scope, follow};
use nexus_common::queue::{BatchId, Keys, Manifest};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::view::{Pick, View, WINDOW};

/// The view, shared by the watchers that write it and the workers that take from it.
///
/// The mutex is a plain one: every critical section is a few map operations, and none awaits.
#[derive(Debug)]
pub(crate) struct Board {
    view: Mutex<View>,
    changed: Notify,
}

impl Board {
    pub(crate) fn new(me: &str) -> Self {
        Board { view: Mutex::new(View::new(me)), changed: Notify::new() }
    }

    pub(crate) fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `pick` finds work: registered for the wake-up before it looks.
    pub(crate) async fn next(&self, mut pick: impl FnMut(&mut View) -> Vec<Pick>) -> Vec<Pick> {
        loop {
            let changed = self.changed.notified();
            let next_free = {
                let mut view = self.view();
                let picks = pick(&mut view);
                if !picks.is_empty() {
                    // There may be more: hand the wake-up on to the next worker.
                    self.changed.notify_one();
                    return picks;
                }
                view.next_free()
            };
            let free = next_free.unwrap_or_else(|| Instant::now() + Duration::from_secs(1));
            tokio::select! {
                () = changed => (),
                () = tokio::time::sleep_until(free.max(Instant::now() + Duration::from_millis(50))) => (),
            }
        }
    }

    pub(crate) fn wake(&self) {
        self.changed.notify_one();
    }
}

/// Which part of the queue a follower follows.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Part {
    Manifests,
    Claims,
    Members,
}

/// Follows one part of the queue for ever.
pub(crate) async fn keep_up(board: &Board, client: &Client, keys: &Keys, part: Part, poll: Option<Duration>) {
    let scope = match part {
        Part::Manifests => Scope { limit: WINDOW, ..Scope::all("batch", keys.manifests()) },
        Part::Claims => Scope::all("claim", keys.claims()),
        Part::Members => Scope::all("member", keys.members("collector")),
    };
    loop {
        match poll {
            // Ends when the window wants to be filled again.
            None => follow(client, &scope, |change| board.take_in(part, change)).await,
            Some(pause) => {
                match client.list(&scope.prefix, scope.limit).await {
                    Ok(found) => _ = board.take_in(part, Change::Snapshot(found.kvs, found.revision)),
                    Err(error) => tracing::debug!(%error, "cannot list yet"),
                }
                tokio::time::sleep(pause).await;
            }
        }
    }
}

impl Board {
    /// Takes a change in; `false` when the queue should be listed again.
    fn take_in(&self, part: Part, change: Change) -> bool {
        let now = Instant::now();
        let mut view = self.view();
        match (part, change) {
            (Part::Manifests, Change::Snapshot(kvs, _)) => {
                view.reset_manifests(kvs.iter().filter_map(manifest_of).collect(), now);
            }
            (Part::Manifests, Change::Put(kv)) => {
                if let Some((batch, manifest, revision)) = manifest_of(&kv) {
                    view.put_manifest(batch, manifest, revision, now);
                }
            }
            (Part::Manifests, Change::Delete(key)) => {
                if let Some(batch) = Keys::batch_of(&key) {
                    view.drop_manifest(&batch);
                }
            }
            (Part::Claims, Change::Snapshot(kvs, _)) => {
                let claims = kvs.iter().filter_map(claim_of);
                view.reset_claims(claims.collect::<Vec<_>>(), now);
            }
            (Part::Claims, Change::Put(kv)) => {
                if let Some((batch, holder)) = claim_of(&kv) {
                    view.put_claim(batch, holder);
                }
            }
            (Part::Claims, Change::Delete(key)) => {
                if let Some(batch) = Keys::batch_of(&key) {
                    view.drop_claim(&batch, now);
                }
            }
            (Part::Members, Change::Snapshot(kvs, _)) => {
                let members = kvs.iter().filter_map(|kv| Some((id_of(kv.key_str().ok()?), kv.create_revision())));
                view.reset_members(members.collect(), now);
            }
            (Part::Members, Change::Put(kv)) => {
                if let Ok(key) = kv.key_str() {
                    view.put_member(id_of(key), kv.create_revision(), now);
                }
            }
            (_, Change::Interrupted | Change::Resumed) => return true,
            (Part::Members, Change::Delete(key)) => view.drop_member(&id_of(&key), now),
        }
        let go_on = !view.wants_relist();
        drop(view);
        self.wake();
        go_on || !matches!(part, Part::Manifests)
    }
}

/// A manifest that this version understands; a newer one is left for a newer collector.
fn manifest_of(kv: &KeyValue) -> Option<(BatchId, Manifest, i64)> {
    Some((Keys::batch_of(kv.key_str().ok()?)?, Manifest::decode(kv.value())?, kv.mod_revision()))
}

/// A claim, and who holds it.
fn claim_of(kv: &KeyValue) -> Option<(BatchId, &str)> {
    Some((Keys::batch_of(kv.key_str().ok()?)?, kv.value_str().ok()?))
}

fn id_of(key: &str) -> String {
    key.rsplit('/').next().unwrap_or(key).to_owned()
}
