//! Which lane a source belongs to: named after its content, so that growing and renaming change nothing.

use anyhow::Context as _;
use nexus_common::config::Invalid;
use nexus_common::queue::Lane;

use crate::context::Context;
use crate::position::Position;
use crate::source::{Source, Stripe};

/// A lane for a source, and where it stands. The source is left behind the last row published.
pub(crate) struct Berth {
    pub(crate) lane: Lane,
    pub(crate) position: Position,
}

/// Files with one beginning and different rows behind it each get a lane; more than this many is a mistake.
const NAMESAKES: u32 = 1_000;

/// Finds the source's lane and opens it. `None`: there is no row in the source to name it after.
pub(crate) async fn berth(context: &Context, source: &mut Source) -> anyhow::Result<Option<Berth>> {
    let fresh = Position { file: source.name().to_owned(), ..Position::default() };
    if !source.is_resumable() {
        tracing::warn!("{} cannot be resumed: after a stop, what was not read is not known", source.name());
        let name = format!("stream-{:016x}", rand::random::<u64>());
        return Ok(Some(open(context, &name, fresh).await?));
    }
    let Some(fingerprint) = source.fingerprint().map(str::to_owned) else { return Ok(None) };
    refuse_other_division(context, &fingerprint).await?;
    for namesake in 1..=NAMESAKES {
        let name = name(&fingerprint, namesake, context.stripe);
        let Some(cursor) = Lane::look(&context.client, &context.keys, &name).await? else {
            return Ok(Some(open(context, &name, fresh).await?));
        };
        let stored: Position = serde_json::from_value(cursor.position)
            .with_context(|| format!("lane {name}: the position in its cursor is unreadable"))?;
        let same = match &stored.last {
            Some(last) => source.resume(last)?,
            None => true,
        };
        if same {
            let berth = open(context, &name, Position { file: fresh.file, ..stored }).await?;
            return Ok(Some(reconcile(source, berth)?));
        }
        tracing::debug!(lane = name, file = source.name(), "begins alike, but is another file");
    }
    anyhow::bail!("{}: {NAMESAKES} files begin alike", source.name())
}

/// The cursor may have moved between the look and the opening: the opened one counts.
fn reconcile(source: &mut Source, mut berth: Berth) -> anyhow::Result<Berth> {
    let opened: Position = serde_json::from_value(berth.lane.cursor().position.clone())?;
    if let Some(last) = opened.last
        && berth.position.last != Some(last)
    {
        anyhow::ensure!(source.resume(&last)?, "{}: changed while its lane was opened", source.name());
        berth.position = Position { file: berth.position.file, ..opened };
    }
    Ok(berth)
}

async fn open(context: &Context, name: &str, position: Position) -> anyhow::Result<Berth> {
    let lane = Lane::open(&context.client, &context.keys, name, &position.to_value(), context.message_ttl).await?;
    let cursor = lane.cursor();
    tracing::info!(
        file = position.file,
        lane = name,
        epoch = cursor.epoch,
        rows = cursor.rows,
        line = position.last.map_or(1, |last| last.next_line),
        "lane opened"
    );
    Ok(Berth { lane, position })
}

fn name(fingerprint: &str, namesake: u32, stripe: Stripe) -> String {
    let Stripe { index, count } = stripe;
    match namesake {
        1 => format!("{fingerprint}-{index}of{count}"),
        more => format!("{fingerprint}-{more}-{index}of{count}"),
    }
}

/// A file that was begun in k parts is finished in k parts: any other division would publish rows twice.
async fn refuse_other_division(context: &Context, fingerprint: &str) -> anyhow::Result<()> {
    let count = context.stripe.count;
    for name in Lane::named(&context.client, &context.keys, &format!("{fingerprint}-")).await? {
        let theirs = name.rsplit_once("of").and_then(|(_, count)| count.parse::<u64>().ok());
        if let Some(theirs) = theirs.filter(|theirs| *theirs != count) {
            return Err(Invalid(format!(
                "STRIPE divides this file by {count}, but it was begun divided by {theirs}: \
                 run {theirs} streamers with STRIPE=0/{theirs} to {}/{theirs}",
                theirs - 1
            ))
            .into());
        }
    }
    Ok(())
}
