//! Which lane a source belongs to: named after its content, so that growing and renaming change nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use nexus_common::config::Invalid;
use nexus_common::queue::Lane;
use tokio::sync::OwnedMutexGuard;

use crate::context::Context;
use crate::position::Position;
use crate::source::{Checkpoint, Source, Stripe};

/// A lane for a source, and where it stands. The source is left behind the last row published.
pub(crate) struct Berth {
    pub(crate) lane: Lane,
    pub(crate) position: Position,
    /// Two sources of one content (a copy, a link, a zipped twin) are one lane: the second must not fence the first.
    pub(crate) held: Held,
}

/// This process's hold on a lane.
pub(crate) type Held = OwnedMutexGuard<()>;

/// The lanes this process works on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lanes(Arc<Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>>);

/// How a source is going to be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Once, to its end.
    Once,
    /// Round and round, with time stamps of now.
    Looping,
    /// As it grows.
    Following,
}

/// Files with one beginning and different rows behind it each get a lane; more than this many is a mistake.
const NAMESAKES: u32 = 1_000;

/// Finds the source's lane and opens it. `None`: there is no row to name it after, or another source of this process
/// has the same content.
pub(crate) async fn berth(context: &Context, source: &mut Source, manner: Manner) -> anyhow::Result<Option<Berth>> {
    let mut fresh = Position { file: source.name().to_owned(), ..Position::default() };
    if !source.is_resumable() {
        tracing::warn!("{} cannot be resumed: after a stop, what was not read is not known", source.name());
        let name = format!("stream-{:016x}", rand::random::<u64>());
        let held = context.lanes.of(&name).lock_owned().await;
        return Ok(Some(open(context, &name, fresh, held).await?));
    }
    let Some(fingerprint) = source.fingerprint().map(str::to_owned) else {
        tracing::info!(file = source.name(), "no rows");
        return Ok(None);
    };
    fresh.clock.latest_us = other_divisions(context, &fingerprint, manner).await?;
    for namesake in 1..=NAMESAKES {
        let name = name(&fingerprint, namesake, context.stripe);
        if stored(context, source, &name).await? == Stored::OtherFile {
            tracing::debug!(lane = name, file = source.name(), "begins alike, but is another file");
            continue;
        }
        let lane = context.lanes.of(&name);
        let held = match lane.clone().try_lock_owned() {
            Ok(held) => held,
            Err(_) if manner != Manner::Following => {
                tracing::info!(file = source.name(), lane = name, "left out: another source has the same content");
                return Ok(None);
            }
            Err(_) => {
                tracing::info!(file = source.name(), lane = name, "waits: another source has the same content");
                lane.lock_owned().await
            }
        };
        // Nobody in this process moves it any more: this look counts.
        let position = match stored(context, source, &name).await? {
            Stored::OtherFile => continue,
            Stored::Nothing => fresh,
            Stored::At(position) => begin_again(source, Position { file: fresh.file, ..position }, manner)?,
        };
        return reconcile(source, open(context, &name, position, held).await?).map(Some);
    }
    anyhow::bail!("{}: {NAMESAKES} files begin alike", source.name())
}

/// What a lane's cursor says of a source.
#[derive(PartialEq)]
enum Stored {
    Nothing,
    At(Position),
    OtherFile,
}

/// Looks, and leaves the source behind the last row published where it is the lane's.
async fn stored(context: &Context, source: &mut Source, name: &str) -> anyhow::Result<Stored> {
    let Some(cursor) = Lane::look(&context.client, &context.keys, name).await? else { return Ok(Stored::Nothing) };
    let position: Position = serde_json::from_value(cursor.position)
        .with_context(|| format!("lane {name}: the position in its cursor is unreadable"))?;
    Ok(match &position.last {
        Some(last) if !source.resume(last)? => Stored::OtherFile,
        _ => Stored::At(position),
    })
}

/// A file that was looped and is now published once keeps its own time stamps: that is a pass of its own, from the start.
fn begin_again(source: &mut Source, mut position: Position, manner: Manner) -> anyhow::Result<Position> {
    if manner != Manner::Looping && position.clock.shift_us.is_some() {
        // No row has this checkpoint: the source stands at its start.
        source.resume(&Checkpoint::default())?;
        position.pass += 1;
        position.last = None;
        position.clock.next_pass();
    }
    Ok(position)
}

/// The cursor may have moved between the look and the opening (another process): the opened one counts.
fn reconcile(source: &mut Source, mut berth: Berth) -> anyhow::Result<Berth> {
    let opened: Position = serde_json::from_value(berth.lane.cursor().position.clone())?;
    if let Some(last) = opened.last
        && berth.position.pass <= opened.pass
        && berth.position.last != Some(last)
    {
        anyhow::ensure!(source.resume(&last)?, "{}: changed while its lane was opened", source.name());
        berth.position = Position { file: berth.position.file, ..opened };
    }
    Ok(berth)
}

async fn open(context: &Context, name: &str, position: Position, held: Held) -> anyhow::Result<Berth> {
    let mut lane = Lane::open(&context.client, &context.keys, name, &position.to_value(), context.message_ttl).await?;
    lane.count_retries(context.progress.retries());
    let cursor = lane.cursor();
    tracing::info!(
        file = position.file,
        lane = name,
        epoch = cursor.epoch,
        rows = cursor.rows,
        pass = position.pass,
        after_byte = position.last.map_or(0, |last| last.end),
        "lane opened"
    );
    Ok(Berth { lane, position, held })
}

pub(crate) fn name(fingerprint: &str, namesake: u32, stripe: Stripe) -> String {
    let Stripe { index, count } = stripe;
    match namesake {
        1 => format!("{fingerprint}-{index}of{count}"),
        more => format!("{fingerprint}-{more}-{index}of{count}"),
    }
}

/// The fingerprint of the source that a lane is named after; `None` for a stream's lane, which no source can be known by.
pub fn fingerprint_of(lane: &str) -> Option<&str> {
    let (fingerprint, stripe) = lane.split_once('-')?;
    let is_fingerprint = fingerprint.len() == 16 && fingerprint.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_fingerprint && stripe.contains("of")).then_some(fingerprint)
}

/// A file that was begun in k parts is finished in k parts: any other division would publish rows twice. A loop may be
/// divided anew, each pass is a replay; its time goes on where the others' stood.
async fn other_divisions(context: &Context, fingerprint: &str, manner: Manner) -> anyhow::Result<Option<i64>> {
    let count = context.stripe.count;
    let mut latest_us = None;
    for name in Lane::named(&context.client, &context.keys, &format!("{fingerprint}-")).await? {
        let theirs = name.rsplit_once("of").and_then(|(_, count)| count.parse::<u64>().ok());
        let Some(theirs) = theirs.filter(|theirs| *theirs != count) else { continue };
        if manner != Manner::Looping {
            return Err(Invalid(format!(
                "STRIPE divides this file by {count}, but it was begun divided by {theirs}: \
                 run {theirs} streamers with STRIPE=0/{theirs} to {}/{theirs}",
                theirs - 1
            ))
            .into());
        }
        if let Some(cursor) = Lane::look(&context.client, &context.keys, &name).await?
            && let Ok(position) = serde_json::from_value::<Position>(cursor.position)
        {
            latest_us = latest_us.max(position.clock.latest_us);
        }
    }
    Ok(latest_us)
}

impl Lanes {
    fn of(&self, name: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut lanes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.entry(name.to_owned()).or_default().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_tells_the_fingerprint_it_was_named_after() {
        let stripe = Stripe { index: 1, count: 3 };
        for namesake in [1, 7] {
            assert_eq!(fingerprint_of(&name("0123456789abcdef", namesake, stripe)), Some("0123456789abcdef"));
        }
        for other in ["stream-0123456789abcdef", "redrive-7", "republish-12", ""] {
            assert_eq!(fingerprint_of(other), None, "{other}");
        }
    }
}
