//! The steps of a batch in this process, as spans: of the batches that are sampled, and of no other.

use std::time::SystemTime;

use nexus_common::queue::Draft;
use nexus_common::traces::{self, Kind, Span};

/// Decides whether a batch is traced, and whoever works on it later follows. Its rows were read from `reading` until
/// `ready`; the span that is returned is that of publishing, and stands in the manifest.
pub(crate) fn publishing(share: f64, draft: &mut Draft, reading: SystemTime, ready: SystemTime) -> Option<Span> {
    if !traces::on() || rand::random::<f64>() >= share {
        return None;
    }
    let about = |span| draft.source.on(span).with("nexus.rows", draft.rows);
    let read = about(Span::root("read", Kind::Internal)?.from(reading));
    let publish = about(read.child("publish", Kind::Producer)).with("nexus.messages", draft.messages.len());
    draft.traceparent = Some(publish.context().to_string());
    read.end_at(ready);
    Some(publish)
}
