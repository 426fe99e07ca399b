//! Traces: the way of one batch through all processes, told to an OpenTelemetry receiver (OTLP over HTTP, protobuf).
//!
//! - Off unless OTEL_EXPORTER_OTLP_ENDPOINT is set; then a span costs nothing and no value in etcd grows.
//! - Whoever begins a trace decides whether it is sampled: the streamer for a batch, a client for its request. All behind
//!   follow the `traceparent` that came with the manifest, the feed or the request.
//! - A [`Span`] is a step of one batch, or a request: never a row, never a client.
//! - A receiver at `https://` has to be whom it says, and what it is shown (OTEL_EXPORTER_OTLP_HEADERS) is in no log.
//! - Nobody waits for the receiver. Spans wait in a bounded queue, are sent once, and counted: sent, failed, dropped.
//!
//! As with the log, there is one of these in a process: started by the component, used wherever a step is done.
//!
//! # Deliberately absent
//!
//! Spans for what happens inside a step (that is what metrics are for), trying again (a trace is a sample anyway).

mod context;
mod line;
mod receiver;
mod sending;
mod span;
mod wire;

use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use context::{Context, trace_id};
pub use receiver::Receiver;
pub use sending::counted;
pub use span::{Kind, Span, Value};

use crate::config::{Invalid, Traced, hostname};
use receiver::Target;
use sending::{Courier, DROPPED, QUEUE};
use span::Ended;
use wire::Origin;

/// How long the last spans may take when the process ends.
const FAREWELL: Duration = Duration::from_secs(2);

static QUEUED: OnceLock<mpsc::Sender<Ended>> = OnceLock::new();

/// What sends the spans of this process, until it is stopped.
#[derive(Debug)]
pub struct Traces {
    stop: CancellationToken,
    sending: JoinSet<()>,
}

/// From now on spans of this process are sent. `service`: its name, such as `nexus-streamer`. Without a receiver nothing
/// is. A second start (tests in one process) keeps the first receiver.
///
/// # Errors
/// A certificate or headers that cannot be used.
pub fn start(traced: &Traced, service: &'static str, cluster_id: &str) -> Result<Traces, Invalid> {
    let (stop, mut sending) = (CancellationToken::new(), JoinSet::new());
    if let Some(target) = Target::of(traced)? {
        let (tell, spans) = mpsc::channel(QUEUE);
        if QUEUED.set(tell).is_ok() {
            tracing::info!(receiver = %target.uri, service, "traces are sent");
            if target.tells_secrets_in_the_clear() {
                tracing::warn!(
                    "OTEL_EXPORTER_OTLP_HEADERS go over the network in the clear: the receiver has no https://"
                );
            }
            let origin = Origin { service, cluster_id: cluster_id.to_owned(), host: hostname() };
            sending.spawn(Courier::new(target, origin).run(spans, stop.clone()));
        }
    }
    Ok(Traces { stop, sending })
}

impl Traces {
    /// Sends what waits, within two seconds.
    pub async fn stop(mut self) {
        self.stop.cancel();
        let _ = tokio::time::timeout(FAREWELL, async { while self.sending.join_next().await.is_some() {} }).await;
    }
}

/// Whether spans are sent at all.
pub fn on() -> bool {
    QUEUED.get().is_some()
}

/// Hands a span over, or drops it where the receiver is too slow: whoever ends a span goes on at once.
fn hand_over(span: Ended) {
    if let Some(queue) = QUEUED.get()
        && queue.try_send(span).is_err()
    {
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
}
