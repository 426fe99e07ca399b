//! The streamer: reads CSV exports of GPU telemetry and publishes their rows into the queue, each once, whatever is
//! killed and started again.
//!
//! [`run`] is the whole component. Reading order: [`source`] how bytes become rows, `itinerary` which sources, `berth`
//! which lane a source belongs to, `voyage` how its rows are published, `replay` and `pace` when they are, `gate` when
//! they must wait.

pub mod source;

mod berth;
mod config;
mod context;
mod feeder;
mod fit;
mod gate;
mod held;
mod itinerary;
mod pace;
mod position;
mod progress;
mod replay;
mod traced;
mod voyage;

use std::sync::Arc;
use std::time::Duration;

pub use berth::fingerprint_of;
pub use config::Config;
use nexus_common::component::Answers;
use nexus_common::config::{Invalid, hostname};
use nexus_common::etcd::{self, Client};
use nexus_common::observe::{self, Health, Metrics, Observed, looked_at};
use nexus_common::queue::{Bounds, Depth, Keys, Role, Session};
use nexus_common::{tls, traces};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::berth::Lanes;
use crate::context::Context;
use crate::fit::Fit;
use crate::gate::{Gate, Limits, watch_space};
use crate::itinerary::{as_they_appear, in_turn, survey};
use crate::pace::Pace;
use crate::progress::Progress;
use crate::source::Options;

impl Config {
    /// Looks at the sources, and publishes nothing.
    ///
    /// # Errors
    /// Where [`run`] would refuse them.
    pub fn look(&self) -> Result<(), Invalid> {
        match self.follow {
            true => Ok(()),
            false => survey(&self.csv_file, &self.options()).map(drop),
        }
    }

    /// Where this streamer tells how it is.
    ///
    /// # Errors
    /// METRICS_ADDR names no place that could be asked.
    pub fn answers(&self) -> Result<Answers, Invalid> {
        Answers::given(self.watched.metrics_addr, METRICS_PORT)
    }

    fn options(&self) -> Options {
        Options {
            max_row_bytes: self.max_row_bytes,
            max_future: self.max_future,
            source_host: Some(self.source_host.clone().unwrap_or_else(hostname)),
            utc_offset: self.source_utc_offset,
            follow: self.follow,
            stripe: self.stripe,
        }
    }
}

/// Where metrics are served if nothing else is said.
const METRICS_PORT: u16 = 9101;
/// How long a stop waits for batches that etcd has not answered.
const LAST_BATCHES: Duration = Duration::from_secs(5);

/// Runs a streamer until its sources are published to the end (never, with LOOP_MODE or FOLLOW) or until `stop`: then
/// the batch in hand is finished, and the cursor tells the next start where to go on.
///
/// # Errors
/// [`nexus_common::config::Invalid`] where CSV_FILE or another variable is wrong; anything else where a source cannot be
/// read on, another streamer took a lane over, or etcd refuses for good.
pub async fn run(config: Config, stop: CancellationToken) -> anyhow::Result<()> {
    let traces = traces::start(&config.traced, "nexus-streamer", &config.common.cluster_id)?;
    let outcome = stream(config, stop).await;
    traces.stop().await;
    outcome
}

async fn stream(config: Config, stop: CancellationToken) -> anyhow::Result<()> {
    let options = config.options();
    let locations = if config.follow { Vec::new() } else { survey(&config.csv_file, &options)? };

    let client = Client::of(&config.common)?;
    let keys = Keys::new(&config.common.message_queue_prefix, &config.common.cluster_id);
    let listener = observe::listen(config.watched.metrics_addr, METRICS_PORT).await?;
    let mut background = JoinSet::new();
    let session_stop = CancellationToken::new();
    let (_session, keep_session) = Session::start(client.clone(), keys.clone(), Role::Streamer, session_stop.clone());
    let session = background.spawn(keep_session);
    let (depth, follow_depth) = Depth::follow(client.clone(), &keys);
    background.spawn(follow_depth);
    let progress = Arc::new(Progress::new(depth.clone())?);
    background.spawn({
        let observed = observed(&client, &keys, &progress, config.message_ttl);
        async move { match observe::serve(listener, observed).await {} }
    });
    let given_up = CancellationToken::new();
    background.spawn({
        let (stop, given_up) = (stop.clone(), given_up.clone());
        async move {
            stop.cancelled().await;
            tokio::time::sleep(LAST_BATCHES).await;
            given_up.cancel();
        }
    });
    let (tell_space, used_bytes) = watch::channel(0);
    background.spawn({
        let client = client.clone();
        async move { watch_space(&client, &tell_space).await }
    });
    background.spawn({
        let progress = progress.clone();
        async move { progress.tell().await }
    });

    let limits = Limits { rows: config.high_water_rows, bytes: config.etcd_quota_bytes / 5 * 4 };
    let context = Context {
        client,
        keys,
        lanes: Lanes::default(),
        stripe: config.stripe,
        message_ttl: config.message_ttl,
        traced_share: config.traced_share,
        fit: Fit::new(Bounds::new(config.batch_size as usize, config.common.max_txn_ops)),
        pace: Pace::new(config.batch_size, config.stream_interval),
        gate: Gate::new(depth, used_bytes, limits, progress.clone()),
        progress: progress.clone(),
        stop: stop.clone(),
        given_up: given_up.clone(),
    };
    let started = Instant::now();
    let under_way = async {
        match config.follow {
            true => as_they_appear(context, &config.csv_file, options).await,
            false => in_turn(context, locations, &options, config.loop_mode).await,
        }
    };
    let outcome = tokio::select! {
        outcome = under_way => outcome,
        // Only an etcd that does not answer keeps a stopped voyage from ending by itself.
        () = long_after(&stop) => Ok(()),
    };
    progress.last_word(started);
    session_stop.cancel();
    let _ = tokio::time::timeout(Duration::from_secs(3), async {
        while !session.is_finished() && background.join_next().await.is_some() {}
    })
    .await;
    outcome
}

/// What is told of this streamer.
fn observed(client: &Client, keys: &Keys, progress: &Arc<Progress>, message_ttl: Duration) -> Observed {
    let mut metrics = Metrics::new("streamer", keys.cluster_id());
    let registry = metrics.registry();
    client.register(registry);
    tls::register(registry, {
        let client = client.clone();
        move || client.expiries()
    });
    progress.register(registry);
    let progress = Arc::clone(progress);
    registry.register_collector(looked_at(move |scrape| {
        progress.held.tell(scrape)?;
        let help = "Rows that wait in the queue, as this streamer sees it.";
        scrape.gauge("nexus_streamer_queue_rows", help, progress.queued())?;
        let help = "Bytes of the source that are not published yet; 0 where its end is not known.";
        scrape.gauge("nexus_streamer_source_bytes_left", help, progress.bytes_left())?;
        let help = "MESSAGE_TTL: after so long in the queue a message expires.";
        scrape.gauge("nexus_message_ttl_seconds", help, message_ttl.as_secs_f64())
    }));
    Observed {
        metrics,
        health: Health::new(vec![etcd::probe(client.clone(), keys.lanes())], &[etcd::DEPENDENCY], || true),
    }
}

async fn long_after(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(Duration::from_secs(10)).await;
}
