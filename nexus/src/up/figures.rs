//! The live line: what flows through the queue, as etcd has it.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use nexus_common::etcd::Client;
use nexus_common::queue::{Cursor, Depth, Keys};

use super::Options;
use super::screen::Screen;
use crate::operator::table::count;

/// How often etcd is asked, and the line on a terminal rewritten.
const EVERY: Duration = Duration::from_secs(1);

/// How often there is one more line elsewhere.
const ELSEWHERE: Duration = Duration::from_secs(10);

/// Lanes whose cursors are read for the line.
const LANES: usize = 10_000;

/// Shows the line for ever. A queue that does not answer is said so, and asked again.
pub(super) async fn figures(options: &Options, screen: &Screen) -> Infallible {
    loop {
        if let Ok(client) = Client::of(&options.common) {
            let keys = Keys::new(&options.common.message_queue_prefix, &options.common.cluster_id);
            let (depth, follow) = Depth::follow(client.clone(), &keys);
            tokio::select! {
                () = follow => {}
                never = show(&client, &keys, &depth, screen) => match never {},
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

async fn show(
    client: &Client,
    keys: &Keys,
    depth: &tokio::sync::watch::Receiver<Option<Depth>>,
    screen: &Screen,
) -> Infallible {
    let pause = if screen.is_terminal() { EVERY } else { ELSEWHERE };
    let mut every = tokio::time::interval(EVERY);
    let (mut stored, mut since) = (None, Instant::now());
    loop {
        every.tick().await;
        if stored.is_some() && since.elapsed() < pause {
            continue;
        }
        let Some(queued) = *depth.borrow() else { continue };
        let Ok(lanes) = client.list(&keys.lanes(), LANES).await else {
            screen.live("the queue does not answer");
            continue;
        };
        let cursors = lanes.kvs.iter().filter_map(|kv| serde_json::from_slice::<Cursor>(kv.value()).ok());
        let published: u64 = cursors.map(|cursor| cursor.rows).sum();
        // A batch leaves the queue once its rows are committed. Both figures are read at nearly one moment.
        let now = published.saturating_sub(queued.rows).max(stored.unwrap_or_default());
        if let Some(before) = stored {
            let rate = (now - before) as f64 / since.elapsed().as_secs_f64().max(0.001);
            screen.live(&line(published, queued.rows, now, rate));
        }
        (stored, since) = (Some(now), Instant::now());
    }
}

fn line(published: u64, queued: u64, stored: u64, rate: f64) -> String {
    let [published, queued, stored, rate] = [published, queued, stored, rate.round() as u64].map(count);
    format!("rows: {published} published, {queued} queued, {stored} stored, {rate}/s")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(line(1_000, 0, 1_000, 12.4), "rows: 1,000 published, 0 queued, 1,000 stored, 12/s");
    }
}
