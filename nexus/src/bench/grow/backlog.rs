//! A queue that nobody takes from: what publishing costs at that depth, and how fast it is drained then.

use std::path::Path;

use anyhow::ensure;
use tokio::time::Instant;

use super::Point;
use crate::bench::profile::Profiler;
use crate::bench::stack::Stack;
use crate::bench::throughput::{Load, Queue, last_word, stored_all, write_file};

/// How fast it is drained, as the table calls it.
pub(super) const DRAINED: &str = "drained, rows/s";
/// Rows that are published on top, and measured.
const PROBE: u64 = 20_000;

/// Fills the queue with so many rows, publishes some more, then lets collectors take it all, which is what is looked at.
pub(super) async fn measure(dir: Option<&Path>, depth: u64, load: Load) -> anyhow::Result<Point> {
    let mut stack = Stack::start_to(dir, load.profile).await?;
    let client = stack.client().await?;
    let mut queue = Queue::follow(&client).await?;
    // Every GPU has been seen once, so that draining is no making of acquaintances; then nobody is there.
    stack.collectors(1).await?;
    let first = write_file(&stack, Load { rows: 1, ..load }, 4).await?;
    stream(&mut stack, &first.variables()).await?;
    queue.drained(&client, &stack).await?;
    stack.stop("collector").await?;
    let mut rows = 0;
    if depth > 0 {
        let file = write_file(&stack, Load { rows: depth, ..load }, 5).await?;
        stream(&mut stack, &file.variables()).await?;
        rows += file.rows;
    }
    let probe = write_file(&stack, Load { rows: PROBE, ..load }, 25).await?;
    let before = stack.spent("etcd");
    let said = stream(&mut stack, &probe.variables()).await?;
    let etcd = stack.spent("etcd");
    rows += probe.rows;
    queue.filled(rows).await?;
    let drained_rows = rows as f64;
    rows += first.rows;
    let health = client.health().await?;

    let begin = Instant::now();
    stack.collectors(load.collectors).await?;
    let profiler = Profiler::start(&stack, load.profile);
    queue.drained(&client, &stack).await?;
    let drained = begin.elapsed().as_secs_f64();
    let parts = Profiler::end(profiler).await?;
    ensure!(stored_all(&stack, rows).await? == 0);
    let published = last_word(&said)?;
    let figures = [
        ("publish p50, ms", published("publish_p50_ms")?),
        ("publish p99, ms", published("publish_p99_ms")?),
        ("published, rows/s", published("rows_per_second")?),
        ("etcd, µs a row", (etcd.cpu_seconds - before.cpu_seconds) * 1e6 / probe.rows as f64),
        ("etcd, MiB", etcd.peak_mib),
        ("etcd's file, MiB", health.file_bytes as f64 / f64::from(1 << 20)),
        (DRAINED, drained_rows / drained),
        ("collector, MiB", stack.spent("collector").peak_mib),
    ];
    Ok(Point::new(depth, figures.map(|(name, figure)| (name.to_owned(), figure))).seen(parts))
}

/// Publishes a file, however much waits.
async fn stream(stack: &mut Stack, variables: &[(&'static str, String)]) -> anyhow::Result<String> {
    stack.spawn("streamer", &[variables, &[("HIGH_WATER_ROWS", "1000000000".to_owned())]].concat())?;
    Ok(stack.ended("streamer").await?.0)
}
