//! The way of a traced batch from the feed to its clients: one span a frame, however many clients get it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use nexus_common::queue::{BatchId, Feed};
use nexus_common::traces::{Kind, Span, on};

use super::{Frame, Hub};

/// A frame's batch and its trace, from the moment the feed told it. What is left of the frame for a client shares it.
#[derive(Debug)]
pub(super) struct Traced {
    traceparent: String,
    batch: String,
    told: SystemTime,
    delivered: AtomicBool,
}

impl Traced {
    /// `None` where the batch is not traced, or this process does not trace.
    pub(super) fn of(feed: &Feed) -> Option<Self> {
        let traceparent = feed.traceparent.as_ref().filter(|_| on())?.clone();
        let (batch, told) = (feed.batch.clone(), SystemTime::now());
        Some(Traced { traceparent, batch, told, delivered: AtomicBool::new(false) })
    }

    /// A client has it: the first one ends the span.
    pub(super) fn delivered(&self, frame: &Frame, hub: &Hub, protocol: &'static str) {
        if self.delivered.swap(true, Ordering::Relaxed) {
            return;
        }
        let Some(span) = Span::behind(Some(&self.traceparent), "deliver", Kind::Consumer) else { return };
        let span = match self.batch.parse::<BatchId>() {
            Ok(batch) => batch.on(span),
            Err(_) => span,
        };
        span.from(self.told)
            .with("nexus.position", frame.position.to_string())
            .with("nexus.samples", frame.samples().len())
            .with("nexus.clients", hub.clients())
            .with("nexus.protocol", protocol)
            .end();
    }
}
