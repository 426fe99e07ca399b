//! `nexus queue watch`: what happens in the queue, as it happens.

use std::collections::HashMap;
use std::io::Write;
use std::time::Duration;

use clap::Args;
use nexus_common::domain::Timestamp;
use nexus_common::etcd::{Scope, follow};
use nexus_common::queue::{Inspector, Keys};
use nexus_common::shutdown;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::scene::{Ended, Event, Scene, What};
use crate::operator::servers::Servers;
use crate::operator::table::count;
use crate::operator::words::{Time, age_ms, counted, json, piped, span};

/// Show batches as they are published, claimed, acknowledged, given back, lost or expired, until Ctrl-C
///
/// By watch on the manifests and claims, one percent of the data; messages are not read.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  nexus queue watch
  nexus queue watch --json | jq -r 'select(.event == \"lost\") | .batch'

What the words mean:
  published     a streamer put it into the queue
  claimed       a collector took it
  acknowledged  its rows are in PostgreSQL, and it left the queue
  released      its collector gave it back; no attempt is counted
  lost          its collector's session ended; another takes it over
  expired       its messages outlived MESSAGE_TTL; the next claim records that")]
pub(crate) struct Options {
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,

    #[command(flatten, next_help_heading = "Servers")]
    servers: Servers,
}

/// An acknowledgement's two ends arrive within this, in a healthy etcd.
const SETTLING: Duration = Duration::from_millis(300);
/// How often leases are asked for.
const LEASES: Duration = Duration::from_secs(5);

#[derive(Debug)]
enum Change {
    Manifest(nexus_common::etcd::Change),
    Claim(nexus_common::etcd::Change),
    Attempt(nexus_common::etcd::Change),
}

#[derive(Serialize)]
struct Line<'a> {
    at: Time,
    event: What,
    batch: String,
    published_at: Time,
    age_ms: i64,
    rows: Option<u64>,
    messages: Option<usize>,
    file: Option<&'a str>,
    lines: Option<[u64; 2]>,
    collector: Option<&'a str>,
    attempts: u32,
}

/// Watches until a signal, or until nobody reads any more.
///
/// # Errors
/// Where etcd does not answer at the start.
pub(super) async fn run(options: &Options) -> anyhow::Result<()> {
    let stop = shutdown::on_signal()?;
    let inspector = options.servers.inspector().await?;
    // A first look, so that an etcd that is not there is said, and not waited for in silence.
    inspector.members().await.map_err(|error| options.servers.etcd_failed(error))?;
    let (tell, heard) = mpsc::unbounded_channel();
    tokio::select! {
        () = listen(&inspector, &tell) => Ok(()),
        shown = show(&inspector, heard, options.json) => shown,
        () = stop.cancelled() => Ok(()),
    }
}

/// Follows the three families, each on a watch of its own.
async fn listen(inspector: &Inspector, tell: &mpsc::UnboundedSender<Change>) {
    let (client, keys): (_, &Keys) = (inspector.client(), inspector.keys());
    let manifests = Scope::all("batch", keys.manifests());
    let claims = Scope::all("claim", keys.claims());
    let attempts = Scope::all("attempt", keys.attempts());
    tokio::join!(
        follow(client, &manifests, |change| tell.send(Change::Manifest(change)).is_ok()),
        follow(client, &claims, |change| tell.send(Change::Claim(change)).is_ok()),
        follow(client, &attempts, |change| tell.send(Change::Attempt(change)).is_ok()),
    );
}

async fn show(inspector: &Inspector, mut heard: mpsc::UnboundedReceiver<Change>, as_json: bool) -> anyhow::Result<()> {
    let mut scene = Scene::default();
    let (mut settle, mut look) = (interval(SETTLING), interval(LEASES));
    settle.set_missed_tick_behavior(MissedTickBehavior::Delay);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut deadlines = HashMap::new();
    let mut greeted = false;
    loop {
        let events = tokio::select! {
            change = heard.recv() => match change {
                Some(Change::Manifest(change)) => {
                    if matches!(change, nexus_common::etcd::Change::Interrupted) {
                        eprintln!("nexus: the watch broke; going on as soon as etcd answers");
                    }
                    scene.manifest(change)
                }
                Some(Change::Claim(change)) => scene.claim(change),
                Some(Change::Attempt(change)) => {
                    scene.attempt(change);
                    Vec::new()
                }
                None => return Ok(()),
            },
            _ = settle.tick() => {
                let due = scene.unsettled();
                settled(inspector, &mut scene, due).await
            }
            _ = look.tick() => expired(inspector, &mut scene, &mut deadlines).await,
        };
        if !greeted && scene.is_complete() {
            greeted = true;
            let (batches, rows, held) = scene.depth();
            let (batches, rows, held) = (counted(batches, "batch"), counted(rows, "row"), count(held));
            eprintln!("watching: {batches} ({rows}) in the queue, {held} in flight; times are UTC, Ctrl-C ends");
        }
        let mut out = std::io::stdout().lock();
        if !piped(|| events.iter().try_for_each(|event| line(&mut out, event, as_json)).and_then(|()| out.flush()))? {
            return Ok(());
        }
    }
}

/// What became of claims that ended. An etcd that does not answer now is asked again in the next round.
async fn settled(inspector: &Inspector, scene: &mut Scene, due: Vec<Ended>) -> Vec<Event> {
    let mut events = Vec::new();
    for ended in due {
        if let Ok(standee) = inspector.standee(&ended.batch).await {
            events.extend(scene.settle(ended, standee.map(|standee| standee.attempts)));
        }
    }
    events
}

/// Batches whose lease is gone. A lease is asked for when it could be over, as far as is known.
async fn expired(inspector: &Inspector, scene: &mut Scene, deadlines: &mut HashMap<i64, Instant>) -> Vec<Event> {
    let (mut events, now, leases) = (Vec::new(), Instant::now(), scene.leases());
    deadlines.retain(|lease, _| leases.binary_search(lease).is_ok());
    for lease in leases {
        if deadlines.get(&lease).is_some_and(|deadline| *deadline > now) {
            continue;
        }
        match inspector.client().time_left(lease).await {
            Ok(Some(left)) => drop(deadlines.insert(lease, now + left)),
            Ok(None) => events.extend(scene.lease_gone(lease)),
            Err(_) => break,
        }
    }
    events
}

fn line(out: &mut impl Write, event: &Event, as_json: bool) -> std::io::Result<()> {
    let source = event.manifest.as_ref().map(|manifest| &manifest.source);
    let line = Line {
        at: Time(Timestamp::now()),
        event: event.what,
        batch: event.batch.to_string(),
        published_at: Time(Timestamp::from_millis(event.batch.published_ms)),
        age_ms: age_ms(event.batch.published_ms),
        rows: event.manifest.as_ref().map(|manifest| manifest.rows),
        messages: event.manifest.as_ref().map(|manifest| manifest.messages),
        file: source.map(|source| source.file.as_str()),
        lines: source.map(|source| source.lines),
        collector: event.collector.as_deref(),
        attempts: event.attempts,
    };
    if as_json { json(out, &line) } else { writeln!(out, "{}", for_people(&line)) }
}

fn for_people(line: &Line<'_>) -> String {
    let time = line.at.0.to_string();
    let clock = time.get(11..23).or(time.get(11..19)).unwrap_or(&time);
    let rows = line.rows.map_or_else(|| "? rows".to_owned(), |rows| counted(rows, "row"));
    let place = match (line.file, line.lines) {
        (Some(file), Some([first, last])) => format!("{file}:{first}-{last}"),
        _ => "unreadable manifest".to_owned(),
    };
    let collector = line.collector.unwrap_or("?");
    let age = span(line.age_ms);
    let rest = match line.event {
        What::Published => place,
        What::Claimed if line.attempts > 1 => format!("by {collector} after {age}, try {}", line.attempts),
        What::Claimed => format!("by {collector} after {age}"),
        What::Acknowledged => match line.collector {
            Some(collector) => format!("by {collector} after {age}"),
            None => format!("after {age}"),
        },
        What::Released => format!("by {collector}; no attempt counted"),
        What::Lost => {
            format!("by {collector}: its session ended; {} so far", counted(u64::from(line.attempts), "claim"))
        }
        What::Expired => format!("unread after {age}: {place}"),
    };
    let word = match line.event {
        What::Published => "published",
        What::Claimed => "claimed",
        What::Acknowledged => "acknowledged",
        What::Released => "released",
        What::Lost => "LOST",
        What::Expired => "EXPIRED",
    };
    format!("{clock:<12}  {word:<12}  {}  {rows}  {rest}", line.batch)
}
