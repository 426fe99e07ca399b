//! The live feed as subscriptions: the frames of `/ws`, and nothing added.

use std::str::FromStr;
use std::time::Duration;

use async_graphql::{Context, SimpleObject, Subscription};
use futures_util::{Stream, StreamExt};
use tokio::time::Instant;

use super::error::{Failure, Result, code};
use super::event::Event;
use super::sample::Sample;
use crate::live::{Content, Delivery, Filter, Filters, Frame, Live, Mode, Options, Position, interval, metrics};
use crate::read;

/// How long a client's position may stay as it is while what it does not want goes by.
const POSITION_EVERY: Duration = Duration::from_secs(10);

/// What is told as it is committed. Give the last `position` as `since` to go on where you were.
pub(super) struct Feed;

/// A message of the feed.
#[derive(SimpleObject)]
#[graphql(rename_fields = "snake_case")]
pub(super) struct LiveFrame {
    /// telemetry, events, gap, or position where nothing that is wanted happened up to here.
    r#type: &'static str,
    /// What to give as `since` after it.
    position: String,
    /// The number in it.
    revision: i64,
    /// The cluster it is about.
    cluster_id: Option<String>,
    /// What GPUs reported; null where it tells something else.
    samples: Option<Vec<Sample>>,
    /// What happened to GPUs; null where it tells something else.
    events: Option<Vec<Event>>,
    /// Frames that this one stands for besides itself, because the client was slower than the feed.
    skipped: u64,
    /// Samples or events that did not fit; whoever needs them asks a query.
    left_out: usize,
    /// What was not told, and will not be.
    gap: Option<LiveGap>,
}

/// What was not told.
#[derive(SimpleObject)]
#[graphql(rename_fields = "snake_case")]
pub(super) struct LiveGap {
    /// The last position before it.
    after: String,
    /// The first frame behind it, where there is one yet.
    before: Option<String>,
    /// Why, and where to ask for what is missing.
    reason: String,
}

#[Subscription(rename_fields = "snake_case", rename_args = "snake_case")]
#[allow(clippy::too_many_arguments)] // each is one the client can write
impl Feed {
    /// What GPUs report: the newest values (mode latest, merged for who is slower than the feed), or every frame (all).
    async fn telemetry(
        &self,
        context: &Context<'_>,
        cluster_id: Option<String>,
        host_id: Option<String>,
        #[graphql(desc = "With this index on its host, or this UUID.")] gpu_id: Option<String>,
        #[graphql(desc = "These metrics only.")] metrics: Option<Vec<String>>,
        #[graphql(desc = "latest or all.")] mode: Option<String>,
        #[graphql(desc = "The least time between two messages, e.g. 5s; in mode latest.")] interval: Option<String>,
        #[graphql(desc = "Go on behind this position.")] since: Option<String>,
    ) -> Result<impl Stream<Item = LiveFrame> + use<>> {
        let mode = mode.as_deref().filter(|mode| !mode.is_empty()).map(Mode::from_str).transpose();
        let mode = mode.map_err(|reason| Failure::argument("mode", reason))?.unwrap_or_default();
        let names = metrics.unwrap_or_default();
        let metrics = self::metrics(names.iter().map(String::as_str));
        let metrics = metrics.map_err(|reason| Failure::argument("metrics", reason))?;
        let pause = interval.as_deref().filter(|text| !text.is_empty()).map(|text| self::interval(text, mode));
        let interval = pause.transpose().map_err(|reason| Failure::argument("interval", reason))?.unwrap_or_default();
        let filters = Filters::of(Filter { cluster_id, host_id, gpu_id, metrics });
        let options = Options { filters, mode, interval, since: position(since.as_deref())? };
        stream(context, options, |content| matches!(content, Content::Telemetry(_)))
    }

    /// What happens to GPUs, each event as it is noticed.
    async fn events(
        &self,
        context: &Context<'_>,
        cluster_id: Option<String>,
        host_id: Option<String>,
        #[graphql(desc = "With this index on its host, or this UUID.")] gpu_id: Option<String>,
        #[graphql(desc = "Go on behind this position.")] since: Option<String>,
    ) -> Result<impl Stream<Item = LiveFrame> + use<>> {
        let filters = Filters::of(Filter { cluster_id, host_id, gpu_id, metrics: Vec::new() });
        // Every frame: of events none stands for another.
        let options =
            Options { filters, mode: Mode::All, interval: Duration::ZERO, since: position(since.as_deref())? };
        stream(context, options, |content| matches!(content, Content::Events(_)))
    }
}

fn position(since: Option<&str>) -> Result<Option<Position>> {
    let since = since.filter(|since| !since.is_empty()).map(str::parse::<Position>).transpose();
    since.map_err(|reason| Failure::argument("since", reason.to_string()))
}

/// What the feed delivers of this content, until the gateway stops.
fn stream(
    context: &Context<'_>,
    options: Options,
    wanted: fn(&Content) -> bool,
) -> Result<impl Stream<Item = LiveFrame> + use<>> {
    let live = context.data::<Live>().map_err(|_| {
        Failure::new(code::UNAVAILABLE, "the live feed is switched off on this gateway (ENABLE_WEBSOCKET=false)")
    })?;
    let subscription = live.hub.subscribe(options).map_err(|full| Failure::new(code::UNAVAILABLE, full.to_string()))?;
    let subscription = subscription.over("graphql");
    let told =
        futures_util::stream::unfold((subscription, Instant::now()), move |(mut subscription, mut told)| async move {
            loop {
                let delivery = subscription.next().await;
                let frame = match &delivery {
                    Delivery::Frame(frame) if wanted(&frame.content) => {
                        subscription.sent(&delivery);
                        LiveFrame::of(frame)
                    }
                    Delivery::Frame(frame) if told.elapsed() < POSITION_EVERY => {
                        let _ = frame;
                        continue;
                    }
                    Delivery::Frame(_) | Delivery::Position(_) => LiveFrame::at("position", delivery.position()),
                    Delivery::Gap(gap) => LiveFrame {
                        gap: Some(LiveGap {
                            after: gap.after.to_string(),
                            before: gap.before.map(|before| before.to_string()),
                            reason: gap.reason.to_string(),
                        }),
                        ..LiveFrame::at("gap", gap.position)
                    },
                };
                told = Instant::now();
                return Some((frame, (subscription, told)));
            }
        });
    Ok(told.take_until(live.stop.clone().cancelled_owned()))
}

impl LiveFrame {
    fn at(r#type: &'static str, position: Position) -> Self {
        LiveFrame {
            r#type,
            position: position.to_string(),
            revision: position.revision,
            cluster_id: None,
            samples: None,
            events: None,
            skipped: 0,
            left_out: 0,
            gap: None,
        }
    }

    fn of(frame: &Frame) -> Self {
        let cluster_id = &*frame.cluster_id;
        let (samples, events) = match &frame.content {
            Content::Telemetry(samples) => (Some(samples.iter().map(|one| sample(cluster_id, one)).collect()), None),
            Content::Events(events) => (None, Some(events.iter().map(|one| Event::live(cluster_id, one)).collect())),
        };
        LiveFrame {
            cluster_id: Some(cluster_id.to_owned()),
            samples,
            events,
            skipped: frame.skipped,
            left_out: frame.left_out,
            ..LiveFrame::at(frame.kind(), frame.position)
        }
    }
}

fn sample(cluster_id: &str, sample: &crate::live::Sample) -> Sample {
    Sample::from(read::Sample {
        cluster_id: cluster_id.to_owned(),
        host_id: sample.host_id.to_string(),
        gpu_id: sample.gpu_id.to_string(),
        uuid: sample.uuid.as_ref().map(ToString::to_string),
        timestamp: sample.timestamp,
        data: sample.data.clone(),
    })
}
