//! Spans on their way to the receiver: collected for a second, sent once, counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, HeaderValue, Request, Uri, header};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::line::Line;
use super::receiver::Target;
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
    /// Its address, for people.
    receiver: Uri,
    /// What every request begins with: secret.
    head: HeaderMap,
    origin: Origin,
    line: Line,
    /// The receiver took the last ones.
    reached: bool,
}

impl Courier {
    pub(super) fn new(target: Target, origin: Origin) -> Self {
        let Target { uri: receiver, tls, headers: mut head } = target;
        let host = receiver.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
        head.extend(host.map(|host| (header::HOST, host)));
        head.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        let line = Line::new(&receiver, tls);
        Courier { receiver, head, origin, line, reached: true }
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

    async fn send(&mut self, spans: Vec<u8>) -> Result<(), String> {
        let path = self.receiver.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::post(path).body(Body::from(spans)).map_err(|error| error.to_string())?;
        *request.headers_mut() = self.head.clone();
        let asked = async {
            let answer = self.line.ask(request).await?;
            let status = answer.status();
            // Read to its end, so that the connection serves the next ones too.
            let _ = to_bytes(Body::new(answer.into_body()), ANSWER_BYTES).await;
            if status.is_success() { Ok(()) } else { Err(format!("it answers {status}")) }
        };
        timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}")))
    }
}
