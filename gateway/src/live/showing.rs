//! The newest values out of memory, piece by piece: what a client gets that has nothing yet, or is too far behind.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use super::merge::PIECE;
use super::{Content, Filters, Frame, Position, Sample};
use crate::memory::{Memory, Newest};
use crate::read::{Time, Values};

/// A walk through the memory that is under way. It holds no values: each piece is read when it is sent.
#[derive(Debug)]
pub(super) struct Showing {
    /// GPUs done with.
    done: usize,
    /// What it is about; `None` is everything the client wants.
    filters: Option<Filters>,
    /// Frames that the first piece stands for.
    skipped: u64,
}

impl Showing {
    pub(super) fn new(filters: Option<Filters>, skipped: u64) -> Self {
        Showing { done: 0, filters, skipped }
    }

    /// The next piece, of one cluster. `None`: that was all.
    pub(super) fn next(&mut self, memory: &Memory, all: &Filters, position: Position) -> Option<Frame> {
        let filters = self.filters.as_ref().unwrap_or(all);
        loop {
            let (passed, looked) = (Cell::new(0), Cell::new(0));
            let piece = RefCell::new((None::<Arc<str>>, Vec::new()));
            // The memory asks about one GPU after the other, and shows those that are wanted: `looked` stops where the
            // piece is full or the next cluster begins.
            let ended = Cell::new(false);
            let wanted = |cluster: &str, host: &str, gpu: &str, uuid: Option<&str>| {
                if ended.get() || !filters.want(cluster, host, gpu, uuid) {
                    return false;
                }
                passed.set(passed.get() + 1);
                if passed.get() <= self.done {
                    return false;
                }
                let full = match &*piece.borrow() {
                    (Some(of), samples) => **of != *cluster || samples.len() >= PIECE,
                    (None, _) => false,
                };
                ended.set(full);
                looked.set(looked.get() + usize::from(!full));
                !full
            };
            memory.newest(&wanted, &mut |newest| {
                let mut piece = piece.borrow_mut();
                piece.0.get_or_insert_with(|| newest.cluster_id.into());
                let sample = sample(newest);
                if let Some(values) = filters.values(newest.cluster_id, &sample).map(std::borrow::Cow::into_owned) {
                    piece.1.push(sample.with(values));
                }
            });
            self.done += looked.get();
            if looked.get() == 0 {
                return None;
            }
            let (cluster, samples) = piece.into_inner();
            if let Some(cluster) = cluster.filter(|_| !samples.is_empty()) {
                let skipped = std::mem::take(&mut self.skipped);
                return Some(Frame { skipped, ..Frame::new(position, cluster, Content::Telemetry(samples)) });
            }
        }
    }
}

fn sample(newest: &Newest<'_>) -> Sample {
    Sample {
        host_id: newest.host_id.into(),
        gpu_id: newest.gpu_id.into(),
        uuid: newest.uuid.map(Into::into),
        timestamp: Time(newest.timestamp),
        data: Values(newest.values.iter().map(|(metric, value, _)| (metric.clone(), *value)).collect()),
    }
}
