//! How long rows stand still when something dies under load.
//!
//! A collector that is killed leaves claims: time runs until the last batch it held was stored by others. etcd and PostgreSQL
//! are killed and started again at once: time runs until they answer, and from then until a batch is stored that was
//! published (etcd) or stored (PostgreSQL) after that. At the end of each the books balance.

use std::collections::HashSet;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use nexus_common::domain::Timestamp;
use nexus_common::etcd::Client;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::figures::Several;
use super::stack::{Stack, keys, within};
use super::throughput::{Load, Queue, stored_all, write_file};
use super::{Shape, say};

/// How often is looked.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// Rows that two collectors have before them, and how many of them are stored when one dies.
const BEFORE_A_KILL: u64 = 200_000;
const KNOWN: i64 = 50_000;
/// Rows flow for so long before a server dies.
const BEFORE_A_CRASH: Duration = Duration::from_secs(3);

/// What was measured.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    mode: &'static str,
    rate: u32,
    /// Batches that a collector held when it was killed.
    held_batches: Several,
    recoveries: Vec<(&'static str, Several)>,
}

/// Lets a collector, etcd and PostgreSQL die so many times.
///
/// # Errors
/// Where rows do not flow again, or the books do not balance.
pub(super) async fn measure(dir: Option<&Path>, rate: u32, times: u32) -> anyhow::Result<Figures> {
    let (mut held, mut taken_over) = (Vec::new(), Vec::new());
    let [mut etcd_back, mut etcd_flows, mut postgres_back, mut postgres_flows] = [const { Vec::new() }; 4];
    for time in 1..=times {
        say(&format!("recovery {time} of {times}"));
        let (batches, took) = collector(dir).await?;
        held.push(batches as f64);
        taken_over.push(took);
        let mut stack = Stack::start(dir).await?;
        stack.collectors(1).await?;
        stream(&mut stack, rate).await?;
        let (back, flows) = etcd(&mut stack).await?;
        etcd_back.push(back);
        etcd_flows.push(flows);
        let (back, flows) = postgres(&mut stack).await?;
        postgres_back.push(back);
        postgres_flows.push(flows);
        stack.stop("streamer").await?;
        let client = stack.client().await?;
        Queue::follow(&client).await?.drained(&client, &stack).await?;
        stack.audit().await?;
    }
    let all = [
        ("a collector killed, until what it held was stored by another", taken_over),
        ("etcd killed, until it answers", etcd_back),
        ("then until a batch is stored that was published since", etcd_flows),
        ("PostgreSQL killed, until it answers", postgres_back),
        ("then until a batch is stored", postgres_flows),
    ];
    let recoveries = all.into_iter().filter_map(|(what, all)| Some((what, Several::of(all)?))).collect();
    let held_batches = Several::of(held).context("nothing was tried")?;
    Ok(Figures { mode: "recovery", rate, held_batches, recoveries })
}

/// Kills the older of two collectors that have all they can do. How many batches it held, and the milliseconds until the
/// last of them was stored.
async fn collector(dir: Option<&Path>) -> anyhow::Result<(usize, f64)> {
    let mut stack = Stack::start(dir).await?;
    let load = Load {
        shape: Shape::Row,
        rows: BEFORE_A_KILL,
        gpus: 1_000,
        hosts: None,
        streamers: 1,
        collectors: 2,
        profile: false,
    };
    let file = write_file(&stack, load, 5).await?;
    stack.collectors(1).await?;
    let client = stack.client().await?;
    let members = client.list(&keys().members("collector"), 1).await?.kvs;
    let member = members.first().context("no collector is a member")?.key_str()?.to_owned();
    let id = member.rsplit('/').next().context("a member without an id")?.to_owned();
    stack.collectors(1).await?;
    stack.spawn("streamer", &file.variables())?;

    // Both know every GPU by then.
    within("the first rows", LOOK_EVERY, PATIENCE, async || Ok(stored(&stack).await? >= KNOWN)).await?;
    within("a batch in the collector's hands", LOOK_EVERY, PATIENCE, async || Ok(held(&client, &id).await?.len() > 1))
        .await?;
    stack.kill("collector").await?;
    let killed = Instant::now();
    // It can acknowledge nothing any more: what it holds is what others have to take over.
    let held = held(&client, &id).await?;
    within("the last of what it held", LOOK_EVERY, PATIENCE, async || {
        let found = client.list(&keys().manifests(), usize::MAX).await?.kvs;
        Ok(!found
            .iter()
            .any(|kv| kv.key_str().is_ok_and(|key| key.rsplit('/').next().is_some_and(|b| held.contains(b)))))
    })
    .await?;
    let took = killed.elapsed().as_secs_f64() * 1e3;
    stack.ended("streamer").await?;
    Queue::follow(&client).await?.drained(&client, &stack).await?;
    stored_all(&stack, file.rows).await?;
    Ok((held.len(), took))
}

/// Batches that a collector has claimed.
async fn held(client: &Client, id: &str) -> anyhow::Result<HashSet<String>> {
    let claims = client.list(&keys().claims(), usize::MAX).await?.kvs;
    let of_it = claims.iter().filter(|kv| kv.value() == id.as_bytes());
    Ok(of_it.filter_map(|kv| Some(kv.key_str().ok()?.rsplit('/').next()?.to_owned())).collect())
}

/// Lets rows flow at this rate, without an end.
async fn stream(stack: &mut Stack, rate: u32) -> anyhow::Result<()> {
    let load = Load {
        shape: Shape::Scrape,
        rows: u64::from(rate) * 30,
        gpus: 100,
        hosts: None,
        streamers: 1,
        collectors: 1,
        profile: false,
    };
    let file = write_file(stack, load, 5).await?;
    let batch = (rate / 20).clamp(10, 1_000);
    let pause = Duration::from_secs_f64(f64::from(batch) / f64::from(rate));
    let variables = [
        ("CSV_FILE", file.csv),
        ("LOOP_MODE", "true".to_owned()),
        ("BATCH_SIZE", batch.to_string()),
        ("STREAM_INTERVAL", format!("{}us", pause.as_micros())),
    ];
    stack.spawn("streamer", &variables)?;
    within("a first batch", LOOK_EVERY, PATIENCE, async || Ok(newest(stack).await?.1 > 0)).await?;
    sleep(BEFORE_A_CRASH).await;
    Ok(())
}

/// Milliseconds until etcd answers again, and from then until a batch is stored that was published since.
async fn etcd(stack: &mut Stack) -> anyhow::Result<(f64, f64)> {
    let killed = Instant::now();
    let (etcd, _) = stack.servers();
    etcd.kill().await?;
    etcd.restart().await?;
    let (back, since) = (Instant::now(), Timestamp::now().0);
    within("a batch after etcd's crash", LOOK_EVERY, PATIENCE, async || Ok(newest(stack).await?.0 > since)).await?;
    ensure!(stack.look().is_ok(), "a component did not survive etcd's crash");
    Ok(((back - killed).as_secs_f64() * 1e3, back.elapsed().as_secs_f64() * 1e3))
}

/// Milliseconds until PostgreSQL answers again, and from then until a batch is stored.
async fn postgres(stack: &mut Stack) -> anyhow::Result<(f64, f64)> {
    let killed = Instant::now();
    let (_, postgres) = stack.servers();
    postgres.kill().await?;
    postgres.restart().await?;
    let (back, since) = (Instant::now(), Timestamp::now().0);
    within("a batch after PostgreSQL's crash", LOOK_EVERY, PATIENCE, async || Ok(newest(stack).await?.1 > since))
        .await?;
    ensure!(stack.look().is_ok(), "a component did not survive PostgreSQL's crash");
    Ok(((back - killed).as_secs_f64() * 1e3, back.elapsed().as_secs_f64() * 1e3))
}

/// Rows stored so far.
async fn stored(stack: &Stack) -> anyhow::Result<i64> {
    Ok(stack.ask(include_str!("ledger.sql")).await?.first().context("no answer")?.get(0))
}

/// When the newest batch was published, and when the newest was stored, in microseconds since 1970.
async fn newest(stack: &Stack) -> anyhow::Result<(i64, i64)> {
    let rows = stack.ask(include_str!("newest.sql")).await?;
    let row = rows.first().context("no answer")?;
    Ok((row.get(0), row.get(1)))
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Several { median, min, max, .. } = self.held_batches;
        write!(
            f,
            "a killed collector held {median:.0} batches ({min:.0} to {max:.0}); servers died at {} rows/s",
            self.rate
        )?;
        write!(f, "\n{:<64} {:>10} {:>10} {:>10}", "", "median ms", "min ms", "max ms")?;
        for (what, Several { median, min, max, .. }) in &self.recoveries {
            write!(f, "\n{what:<64} {median:>10.0} {min:>10.0} {max:>10.0}")?;
        }
        Ok(())
    }
}
