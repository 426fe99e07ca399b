//! Traces: the way of one batch through all processes, told to an OpenTelemetry receiver (OTLP over HTTP, protobuf).
//!
//! - Off unless OTEL_EXPORTER_OTLP_ENDPOINT is set; then a span costs nothing and no value in etcd grows.
//! - Whoever begins a trace decides whether it is sampled: the streamer for a batch, a client for its request. All behind
//!   follow the `traceparent` that came with the manifest, the feed or the request.
//! - A [`Span`] is a step of one batch, or a request: never a row, never a client.
//! - Nobody waits for the receiver. Spans wait in a bounded queue, are sent once, and counted: sent, failed, dropped.
//!
//! As with the log, there is one of these in a process: started by the component, used wherever a step is done.
//!
//! # Deliberately absent
//!
//! Spans for what happens inside a step (that is what metrics are for), trying again (a trace is a sample anyway), TLS: a
//! receiver stands on this host or beside it, and forwards.

mod context;
mod sending;
mod span;
mod wire;

use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::http::Uri;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use context::{Context, trace_id};
pub use sending::counted;
pub use span::{Kind, Span, Value};

use crate::config::hostname;
use sending::{Courier, DROPPED, QUEUE};
use span::Ended;
use wire::Origin;

/// How long the last spans may take when the process ends.
const FAREWELL: Duration = Duration::from_secs(2);

static QUEUED: OnceLock<mpsc::Sender<Ended>> = OnceLock::new();

/// Where an OpenTelemetry receiver takes traces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receiver(Option<Uri>);

impl FromStr for Receiver {
    type Err = String;

    /// The base address, as the standard has it: `/v1/traces` is appended. Nothing is none.
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim().trim_end_matches('/');
        if text.is_empty() {
            return Ok(Receiver(None));
        }
        let uri = format!("{text}/v1/traces").parse::<Uri>().ok();
        match uri.filter(|uri| uri.scheme_str() == Some("http") && uri.host().is_some_and(|host| !host.is_empty())) {
            Some(uri) => Ok(Receiver(Some(uri))),
            None => Err("write it as http://localhost:4318; a receiver beside this host forwards by TLS".to_owned()),
        }
    }
}

/// What sends the spans of this process, until it is stopped.
#[derive(Debug)]
pub struct Traces {
    stop: CancellationToken,
    sending: JoinSet<()>,
}

/// From now on spans of this process are sent. `service`: its name, such as `nexus-streamer`. Without a receiver nothing
/// is. A second start (tests in one process) keeps the first receiver.
pub fn start(receiver: Option<&Receiver>, service: &'static str, cluster_id: &str) -> Traces {
    let (stop, mut sending) = (CancellationToken::new(), JoinSet::new());
    if let Some(Receiver(Some(uri))) = receiver {
        let (tell, spans) = mpsc::channel(QUEUE);
        if QUEUED.set(tell).is_ok() {
            tracing::info!(receiver = %uri, service, "traces are sent");
            let origin = Origin { service, cluster_id: cluster_id.to_owned(), host: hostname() };
            sending.spawn(Courier::new(uri.clone(), origin).run(spans, stop.clone()));
        }
    }
    Traces { stop, sending }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_is_a_plain_address() {
        let at = |text: &str| text.parse::<Receiver>().map(|Receiver(uri)| uri.map(|uri| uri.to_string()));
        assert_eq!(at("http://localhost:4318"), Ok(Some("http://localhost:4318/v1/traces".to_owned())));
        assert_eq!(at("http://otel:4318/tenant/"), Ok(Some("http://otel:4318/tenant/v1/traces".to_owned())));
        assert_eq!(at(" "), Ok(None));
        for refused in ["localhost:4318", "https://otel:4318", "http://", "no address"] {
            assert!(at(refused).is_err_and(|line| line.contains("http://localhost:4318")), "{refused}");
        }
    }
}
