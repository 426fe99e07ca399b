//! A history that was never streamed: the registry comes through the pipeline, its past is written into PostgreSQL directly.
//!
//! That is how a year is measured within minutes. What is written looks as if scrapes had brought it: the same partitions,
//! the same order. Newest values are the pipeline's.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use nexus_common::domain::Timestamp;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use super::say;
use super::stack::Stack;

/// The file of the scrape that every GPU is known by.
pub(super) const NOW: &str = "now.csv";
/// Values of one GPU and time.
pub(super) const METRICS: u64 = 10;
/// Seconds of a day.
const DAY: i64 = 86_400;
/// How long the first scrape may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// The GPUs whose history it is: so many hosts of eight, the last one of seven.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fleet {
    pub(super) hosts: u32,
}

impl Fleet {
    /// At least so many GPUs, but one.
    pub(super) fn of(gpus: u32) -> Fleet {
        Fleet { hosts: gpus.div_ceil(8) }
    }

    pub(super) fn gpus(self) -> u32 {
        self.hosts * 8 - 1
    }

    /// Lets one scrape of now through the pipeline: hosts, GPUs and newest values are there.
    pub(super) async fn register(self, stack: &mut Stack) -> anyhow::Result<()> {
        let csv = stack.file(NOW);
        let now = Timestamp::now().to_string();
        let made = Command::new(std::env::current_exe()?)
            .args(["generate", "--hosts", &self.hosts.to_string(), "--seconds", "1", "--interval", "1"])
            .args(["--start", &now, "--out"])
            .arg(&csv)
            .status()
            .await?;
        ensure!(made.success(), "nexus generate: {made}");
        let variables = [
            ("CSV_FILE", csv.display().to_string()),
            ("BATCH_SIZE", "10000".to_owned()),
            ("STREAM_INTERVAL", "0s".to_owned()),
        ];
        stack.stream(&variables).await?;
        let (expected, started) = (u64::from(self.gpus()), Instant::now());
        while samples(stack).await? < expected {
            if started.elapsed() > PATIENCE {
                bail!("not every GPU was stored within {PATIENCE:?}");
            }
            sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }
}

/// Writes these days of every registered GPU, counted back from today (1 is yesterday), a reading every `interval` seconds.
/// Then PostgreSQL has looked after them as its own upkeep would have, over a year.
pub(super) async fn fill(stack: &Stack, days: std::ops::RangeInclusive<u32>, interval: u32) -> anyhow::Result<()> {
    say(&format!("writing days {} to {} ago, a reading every {interval} s", days.start(), days.end()));
    let today = Timestamp::now().as_millis().div_euclid(DAY * 1_000);
    for back in days {
        let day = i32::try_from(today - i64::from(back))?;
        let (from, to) = (Timestamp::of_day(day).to_string(), Timestamp::of_day(day + 1).to_string());
        let of_day = |sql: &str| {
            sql.replace(":name", &from[..10].replace('-', ""))
                .replace(":from", &from)
                .replace(":to", &to)
                .replace(":interval", &interval.to_string())
        };
        stack.tell(&of_day(include_str!("make_day.sql"))).await?;
        let both = format!("{};\n{}", include_str!("fill_day.sql"), include_str!("note_day.sql"));
        stack.tell(&of_day(&both)).await?;
    }
    rolled_up(stack).await?;
    stack.tell("VACUUM (ANALYZE)").await
}

/// A collector that rolls up what is put down at once.
pub(super) async fn collector(stack: &mut Stack) -> anyhow::Result<()> {
    let soon = [("ROLLUP_INTERVAL", "200ms".to_owned()), ("ROLLUP_SETTLE", "1s".to_owned())];
    stack.collectors_with(1, &soon).await
}

/// Waits until every hour is rolled up, as hours of the past are.
async fn rolled_up(stack: &Stack) -> anyhow::Result<()> {
    let (mut known, mut since) = (i64::MAX, Instant::now());
    loop {
        let rows = stack.ask(include_str!("left.sql")).await?;
        let left: i64 = rows.first().context("no count")?.get(0);
        if left == 0 {
            return Ok(());
        }
        if left != known {
            (known, since) = (left, Instant::now());
        } else if since.elapsed() > PATIENCE {
            bail!("{left} hours are left to be rolled up, and nothing moves for {PATIENCE:?}");
        }
        sleep(Duration::from_millis(500)).await;
    }
}

/// How many samples there are.
pub(super) async fn samples(stack: &Stack) -> anyhow::Result<u64> {
    let rows = stack.ask(include_str!("../count.sql")).await?;
    Ok(u64::try_from(rows.first().context("no count")?.get::<_, i64>(0))?)
}
