//! The newest values out of memory, piece by piece: what a client gets that has nothing yet, or is too far behind.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use super::merge::PIECE;
use super::{Content, Filters, Frame, Position, Sample};
use crate::memory::Newest;
use crate::read::{Time, Values};

/// Whether a GPU is wanted: cluster, host, index, UUID.
type Wanted<'a> = &'a dyn Fn(&str, &str, &str, Option<&str>) -> bool;

/// [`crate::memory::Memory::newest`].
pub(super) type Walk<'a> = &'a dyn Fn(Wanted<'_>, &mut dyn FnMut(&Newest<'_>));

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

    /// The next piece, of one cluster. `None`: that was all. `walk` shows the wanted GPUs, in the same order each time.
    pub(super) fn next(&mut self, walk: Walk<'_>, all: &Filters, position: Position) -> Option<Frame> {
        let filters = self.filters.as_ref().unwrap_or(all);
        loop {
            let (passed, looked) = (Cell::new(0), Cell::new(0));
            let piece = RefCell::new((None::<Arc<str>>, Vec::new()));
            // The memory asks about one GPU after the other, and shows those that are wanted: it has `ended` where the
            // piece is full or the next cluster begins, and `looked` at what is in this piece.
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
            walk(&wanted, &mut |newest| {
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

#[cfg(test)]
mod tests {
    use super::super::Filter;
    use super::*;
    use nexus_common::domain::{Metric, Timestamp};
    use proptest::prelude::*;

    /// Cluster and GPU of each piece that is shown of a fleet: so many GPUs in each cluster.
    fn shown(fleet: &[u16], filter: Filter, skipped: u64) -> Vec<(String, u64, Vec<String>)> {
        let walk: Walk<'_> = &|wanted, show| {
            for (cluster, gpus) in fleet.iter().enumerate() {
                for gpu in 0..*gpus {
                    let (cluster_id, gpu_id) = (format!("c{cluster}"), gpu.to_string());
                    if wanted(&cluster_id, "h", &gpu_id, None) {
                        // Every third has nothing but what nobody asks for.
                        let metric = if gpu % 3 == 2 { "slots" } else { "xid" };
                        show(&Newest {
                            cluster_id: &cluster_id,
                            host_id: "h",
                            gpu_id: &gpu_id,
                            uuid: None,
                            timestamp: Timestamp(1),
                            values: vec![(Metric::named(metric), 0.0, Timestamp(1))],
                        });
                    }
                }
            }
        };
        let (mut showing, all) = (Showing::new(None, skipped), Filters::of(filter));
        let position = "00000000000000ab.7".parse().unwrap();
        let pieces = std::iter::from_fn(|| showing.next(walk, &all, position));
        let of = |frame: Frame| {
            let gpus = frame.samples().iter().map(|sample| sample.gpu_id.to_string()).collect();
            (frame.cluster_id.to_string(), frame.skipped, gpus)
        };
        pieces.map(of).collect()
    }

    proptest! {
        #[test]
        fn every_wanted_gpu_is_shown_once_in_pieces_of_one_cluster(
            fleet in prop::collection::vec(0u16..1_300, 1..4), choosy: bool,
        ) {
            let metrics = if choosy { vec![Metric::named("xid")] } else { Vec::new() };
            let pieces = shown(&fleet, Filter { metrics, ..Filter::default() }, 9);
            let expected: Vec<_> = fleet.iter().enumerate().flat_map(|(cluster, gpus)| {
                let gpus = (0..*gpus).filter(move |gpu| !choosy || gpu % 3 != 2);
                gpus.map(move |gpu| (format!("c{cluster}"), gpu.to_string()))
            }).collect();
            let all: Vec<_> = pieces.iter().flat_map(|(cluster, _, gpus)| {
                gpus.iter().map(move |gpu| (cluster.clone(), gpu.clone()))
            }).collect();
            prop_assert_eq!(all, expected);
            prop_assert!(pieces.iter().all(|(_, _, gpus)| (1..=PIECE).contains(&gpus.len())));
            let skipped: Vec<u64> = pieces.iter().map(|(_, skipped, _)| *skipped).filter(|skipped| *skipped > 0).collect();
            prop_assert_eq!(skipped, if pieces.is_empty() { vec![] } else { vec![9] });
        }
    }

    #[test]
    fn one_gpu_of_many_is_one_piece() {
        let filter = Filter { cluster_id: Some("c1".to_owned()), gpu_id: Some("700".to_owned()), ..Filter::default() };
        assert_eq!(shown(&[900, 900], filter, 0), [("c1".to_owned(), 0, vec!["700".to_owned()])]);
    }
}
