//! The steps of a batch in this process, as spans: of a batch whose manifest says that it is traced.

use std::time::Duration;

use nexus_common::queue::Claimed;
use nexus_common::traces::{Kind, Span};

use crate::work::Work;

/// This step of a batch, which begins now; `None` where nobody records it.
pub(crate) fn step(name: &'static str, claimed: &Claimed) -> Option<Span> {
    let span = Span::behind(claimed.manifest.traceparent.as_deref(), name, Kind::Consumer)?;
    Some(claimed.batch.on(span))
}

/// A flight that took so long has been committed: one span for each of its batches that is traced.
pub(crate) fn tell_stored(works: &[Work], took: Duration) {
    for work in works {
        if let Some(span) = step("store", &work.claimed) {
            span.took(took)
                .with("nexus.stored", work.stored())
                .with("nexus.dead", work.dead())
                .with("nexus.expired", work.expired)
                .with("nexus.flight_batches", works.len())
                .end();
        }
    }
}
