//! Snapshot and watch: what is below a prefix, and every change after it, through any number of broken connections.

use std::time::Duration;

use etcd_client::{EventType, KeyValue, WatchOptions};

use super::client::prefix_end;
use super::{Client, Error, Result};
use crate::retry::Retry;

/// The server answers a new watch at once; silence means a half-open connection.
const CREATE_DEADLINE: Duration = Duration::from_secs(8);

/// One step of what a follower sees.
#[derive(Debug)]
pub enum Change {
    /// This is all there is, at this revision: forget what was known. Comes first, and again after a gap.
    Snapshot(Vec<KeyValue>, i64),
    /// A key was put.
    Put(KeyValue),
    /// A key is gone: deleted, or expired.
    Delete(String),
    /// The watch broke: until the next change what is known may be behind. Nothing was missed unless a snapshot follows.
    Interrupted,
    /// The watch stands, for the first time or again: what comes now comes as it happens.
    Resumed,
}

/// What to follow.
#[derive(Debug, Clone)]
pub struct Scope {
    /// What it is called in metrics.
    pub name: &'static str,
    /// Keys that begin with this; it ends in `/`.
    pub prefix: String,
    /// The most keys a snapshot holds. Changes beyond it are told all the same.
    pub limit: usize,
}

impl Scope {
    /// Everything below the prefix.
    pub fn all(name: &'static str, prefix: impl Into<String>) -> Self {
        Scope { name, prefix: prefix.into(), limit: usize::MAX }
    }
}

/// Follows a prefix for ever: lists once, then watches from the next revision; when the connection breaks it resumes
/// behind the last revision seen; when that is compacted, or lies in the future of a rebuilt etcd, it lists again.
///
/// Ends only when `tell` says so by returning `false`, or by being dropped.
pub async fn follow(client: &Client, scope: &Scope, mut tell: impl FnMut(Change) -> bool) {
    let mut retry = Retry::call();
    let mut next = None;
    let meter = client.meter().watch(scope.name);
    let mut tell = |change: Change| {
        meter.note(&change);
        tell(change)
    };
    loop {
        let outcome = match next {
            None => match client.list(&scope.prefix, scope.limit).await {
                Ok(found) => {
                    next = Some(found.revision + 1);
                    if !tell(Change::Snapshot(found.kvs, found.revision)) {
                        return;
                    }
                    continue;
                }
                Err(error) => Err(error),
            },
            Some(from) => {
                let mut position = from;
                let outcome = watch(client, scope, &mut position, &mut tell).await;
                if position > from {
                    retry.reset();
                }
                next = Some(position);
                outcome
            }
        };
        match outcome {
            Ok(()) => return,
            Err(Error::Compacted) => {
                next = None;
                if !tell(Change::Interrupted) {
                    return;
                }
            }
            Err(error) => {
                tracing::debug!(prefix = scope.prefix, %error, "watch broke; going on");
                if !tell(Change::Interrupted) {
                    return;
                }
                tokio::time::sleep(retry.next_wait()).await;
            }
        }
    }
}

/// Watches from `position`, moving it along. `Ok`: the listener has had enough.
async fn watch(
    client: &Client,
    scope: &Scope,
    position: &mut i64,
    tell: &mut impl FnMut(Change) -> bool,
) -> Result<()> {
    let endpoint = client.current().await?;
    let options =
        WatchOptions::new().with_range(prefix_end(&scope.prefix)).with_start_revision(*position).with_fragment();
    let opened = tokio::time::timeout(CREATE_DEADLINE, async {
        let mut stream = endpoint.watch().watch(scope.prefix.as_str(), Some(options)).await?;
        let first = stream.message().await?;
        Ok::<_, Error>((stream, first))
    })
    .await;
    let (mut stream, first) = match opened {
        Ok(Ok(opened)) => opened,
        Ok(Err(error)) => {
            client.turn_from(&endpoint);
            return Err(error);
        }
        Err(_) => {
            client.turn_from(&endpoint);
            return Err(Error::Unavailable("no answer to a watch".to_owned()));
        }
    };
    // A store that is behind us was rebuilt or restored: what we know is of another life.
    let header_revision = first.as_ref().and_then(|response| response.header()).map_or(0, |header| header.revision());
    if first.as_ref().is_some_and(|response| response.created()) && header_revision + 1 < *position {
        return Err(Error::Compacted);
    }
    if first.as_ref().is_some_and(|response| response.created() && !response.canceled()) && !tell(Change::Resumed) {
        return Ok(());
    }
    let mut message = first;
    let mut outdates = std::pin::pin!(client.outdates(&endpoint));
    loop {
        let Some(response) = message else {
            client.turn_from(&endpoint);
            return Err(Error::Unavailable("the watch ended".to_owned()));
        };
        if response.compact_revision() > 0 {
            return Err(Error::Compacted);
        }
        if response.canceled() {
            // A watch is not told that its token has expired: it is denied.
            if endpoint.has_user && response.cancel_reason().contains("permission denied") {
                client.log_in_again(&endpoint).await;
            }
            client.turn_from(&endpoint);
            return Err(Error::Unavailable(response.cancel_reason().to_owned()));
        }
        let mut newest = *position;
        for event in response.events() {
            let Some(kv) = event.kv() else { continue };
            newest = newest.max(kv.mod_revision());
            let change = match event.event_type() {
                EventType::Put => Change::Put(kv.clone()),
                EventType::Delete => Change::Delete(String::from_utf8_lossy(kv.key()).into_owned()),
            };
            if !tell(change) {
                return Ok(());
            }
        }
        // Fragments share a revision: resuming behind it after a break would lose the others, so a repeat is safer.
        *position = newest.max(*position);
        message = tokio::select! {
            message = stream.message() => message?,
            () = &mut outdates => return Err(Error::Unavailable("watching anew, with other certificates".to_owned())),
        };
    }
}
