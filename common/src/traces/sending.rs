//! Spans on their way to the receiver: collected for a second, sent once, counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{Request, Uri, header};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::span::Ended;
use super::wire::{Origin, encode};

/// Spans that wait at most, about a mebibyte; what comes while so many wait is dropped.
pub(super) const QUEUE: usize = 2048;
/// Spans of one request at most.
const BATCH: usize = 512;
/// How long spans wait for others.
const LINGER: Duration = Duration::from_secs(1);
/// How long the receiver may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most of an answer that is read.
const ANSWER_BYTES: usize = 64 << 10;

/// Spans that the receiver took.
static SENT: AtomicU64 = AtomicU64::new(0);
/// Spans that the receiver did not take: it was not there, too slow, or refused.
static FAILED: AtomicU64 = AtomicU64::new(0);
/// Spans that found the queue full.
pub(super) static DROPPED: AtomicU64 = AtomicU64::new(0);

/// What became of this process's spans.
pub fn counted() -> [(&'static str, u64); 3] {
    [("sent", &SENT), ("failed", &FAILED), ("dropped", &DROPPED)]
        .map(|(outcome, count)| (outcome, count.load(Ordering::Relaxed)))
}

/// Takes spans to the receiver.
pub(super) struct Courier {
    receiver: Uri,
    origin: Origin,
    client: Client<HttpConnector, Body>,
    /// The receiver took the last ones.
    reached: bool,
}

impl Courier {
    pub(super) fn new(receiver: Uri, origin: Origin) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Courier { receiver, origin, client, reached: true }
    }

    /// Until `stop`, and then what still waits.
    pub(super) async fn run(mut self, mut spans: mpsc::Receiver<Ended>, stop: CancellationToken) {
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                taken = spans.recv_many(&mut batch, BATCH) => if taken == 0 { return },
                () = stop.cancelled(), if !spans.is_closed() => {
                    spans.close();
                    continue;
                }
            }
            let full = async {
                while let room @ 1.. = BATCH - batch.len() {
                    if spans.recv_many(&mut batch, room).await == 0 {
                        break;
                    }
                }
            };
            tokio::select! { _ = timeout(LINGER, full) => (), () = stop.cancelled() => () }
            let count = batch.len();
            let sent = self.send(encode(&self.origin, batch.drain(..))).await;
            let outcome = if sent.is_ok() { &SENT } else { &FAILED };
            outcome.fetch_add(count as u64, Ordering::Relaxed);
            // Said once, not every second.
            match &sent {
                Ok(()) if !self.reached => tracing::info!(receiver = %self.receiver, "traces are sent again"),
                Err(error) if self.reached => {
                    tracing::warn!(receiver = %self.receiver, error, "traces cannot be sent; their spans are lost");
                }
                _ => {}
            }
            self.reached = sent.is_ok();
        }
    }

    async fn send(&self, spans: Vec<u8>) -> Result<(), String> {
        let request = Request::post(self.receiver.clone())
            .header(header::CONTENT_TYPE, "application/x-protobuf")
            .body(Body::from(spans))
            .map_err(|error| error.to_string())?;
        let asked = async {
            let answer = self.client.request(request).await.map_err(|error| reason(&error))?;
            let status = answer.status();
            // Read to its end, so that the connection serves the next ones too.
            let _ = to_bytes(Body::new(answer.into_body()), ANSWER_BYTES).await;
            if status.is_success() { Ok(()) } else { Err(format!("it answers {status}")) }
        };
        timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}")))
    }
}

/// What is at the bottom of it.
fn reason(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
