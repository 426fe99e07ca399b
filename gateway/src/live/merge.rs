//! Several frames as one: the newest value of each GPU and metric, and every event. Pure.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use nexus_common::domain::{Event, Metric};

use super::{Content, Filters, Frame, Position, Sample};
use crate::read::{Time, Values};

/// The most samples one message holds that is not a frame as it was stored.
pub(super) const PIECE: usize = 500;

/// The most events that are kept while frames are merged; the newest.
const MOST_EVENTS: usize = 1_000;

/// What has been taken in.
#[derive(Debug, Default)]
pub(super) struct Merge(BTreeMap<Arc<str>, Cluster>);

#[derive(Debug, Default)]
struct Cluster {
    frames: u64,
    gpus: BTreeMap<Place, BTreeMap<Metric, (Time, f64)>>,
    events: Vec<Event>,
    /// Samples that no frame held.
    samples_left_out: usize,
    events_left_out: usize,
}

/// Host, index, and the GPU itself: an index can pass from one to another.
type Place = (Arc<str>, Arc<str>, Option<Arc<str>>);

impl Merge {
    /// Takes in what is wanted of a frame.
    pub(super) fn take(&mut self, frame: &Frame, filters: &Filters) {
        if !filters.concern(&frame.cluster_id) || frame.is_empty() {
            return;
        }
        let cluster = self.0.entry(Arc::clone(&frame.cluster_id)).or_default();
        let before = (cluster.gpus.len(), cluster.events.len());
        let mut wanted = false;
        for sample in frame.samples() {
            if let Some(values) = filters.values(&frame.cluster_id, sample) {
                cluster.add(sample, &values);
                wanted = true;
            }
        }
        let happened = frame
            .events()
            .iter()
            .filter(|event| filters.want(&frame.cluster_id, &event.host_id, &event.gpu_id, event.uuid.as_deref()));
        cluster.events.extend(happened.cloned());
        let excess = cluster.events.len().saturating_sub(MOST_EVENTS);
        cluster.events.drain(..excess);
        cluster.events_left_out += excess;
        cluster.samples_left_out += frame.left_out;
        wanted |= cluster.events.len() + excess > before.1;
        cluster.frames += u64::from(wanted);
    }

    /// Lets go of what is no longer wanted.
    pub(super) fn keep(&mut self, filters: &Filters) {
        for (id, cluster) in &mut self.0 {
            cluster.gpus.retain(|(host, gpu, uuid), values| {
                let chosen = filters.chosen(id, host, gpu, uuid.as_deref());
                values.retain(|metric, _| chosen.holds(metric));
                !values.is_empty()
            });
            cluster.events.retain(|event| filters.want(id, &event.host_id, &event.gpu_id, event.uuid.as_deref()));
        }
    }

    /// Whether there is nothing to show.
    pub(super) fn is_empty(&self) -> bool {
        self.0.values().all(Cluster::is_empty)
    }

    /// What was taken in, in pieces. The last one carries the position behind all of it, those before it the one that
    /// the client had: whoever is cut in between comes back for the whole. With `told`, the first of each cluster says
    /// how many frames it stands for besides itself.
    pub(super) fn frames(self, before: Position, behind: Position, told: bool) -> Vec<Frame> {
        let mut frames = Vec::new();
        for (cluster_id, cluster) in self.0 {
            let first = frames.len();
            let (merged, left_out, events_left_out) =
                (cluster.frames, cluster.samples_left_out, cluster.events_left_out);
            let mut add = |content, left_out| {
                let frame = Frame::new(before, Arc::clone(&cluster_id), content);
                frames.push(Frame { left_out, ..frame });
            };
            let mut samples: Vec<Sample> = cluster.gpus.into_iter().map(sample).collect();
            let mut left_out = left_out;
            while !samples.is_empty() {
                let rest = samples.split_off(PIECE.min(samples.len()));
                add(Content::Telemetry(samples), std::mem::take(&mut left_out));
                samples = rest;
            }
            if !cluster.events.is_empty() {
                add(Content::Events(cluster.events), events_left_out);
            }
            let pieces = (frames.len() - first) as u64;
            if let Some(first) = frames.get_mut(first).filter(|_| told) {
                first.skipped = merged.saturating_sub(pieces);
            }
        }
        if let Some(last) = frames.last_mut() {
            last.position = behind;
        }
        frames
    }
}

impl Cluster {
    fn is_empty(&self) -> bool {
        self.gpus.is_empty() && self.events.is_empty()
    }

    fn add(&mut self, sample: &Sample, values: &Values) {
        let place = (Arc::clone(&sample.host_id), Arc::clone(&sample.gpu_id), sample.uuid.clone());
        let newest = self.gpus.entry(place).or_default();
        for (metric, value) in &values.0 {
            match newest.entry(metric.clone()) {
                Entry::Vacant(vacant) => _ = vacant.insert((sample.timestamp, *value)),
                Entry::Occupied(mut known) if known.get().0 <= sample.timestamp => {
                    known.insert((sample.timestamp, *value));
                }
                Entry::Occupied(_) => {}
            }
        }
    }
}

/// The time is that of the newest value.
fn sample(((host_id, gpu_id, uuid), values): (Place, BTreeMap<Metric, (Time, f64)>)) -> Sample {
    let timestamp = values.values().map(|(at, _)| *at).max().unwrap_or(Time(nexus_common::domain::Timestamp(0)));
    let data = Values(values.into_iter().map(|(metric, (_, value))| (metric, value)).collect());
    Sample { host_id, gpu_id, uuid, timestamp, data }
}

#[cfg(test)]
mod tests {
    use super::super::Filter;
    use super::*;
    use nexus_common::domain::Timestamp;
    use proptest::prelude::*;

    fn position(revision: i64) -> Position {
        Position { store: "00000000000000ab".parse().unwrap(), revision }
    }

    /// Cluster, GPU, time, metric, value.
    type Reading = (u8, u8, i64, u8, f64);

    fn frame(revision: i64, cluster: u8, readings: &[Reading]) -> Frame {
        let sample = |(_, gpu, time, metric, value): &Reading| Sample {
            host_id: "h".into(),
            gpu_id: gpu.to_string().into(),
            uuid: None,
            timestamp: Time(Timestamp(*time)),
            data: Values(vec![(Metric::Known(*metric), *value)]),
        };
        let samples = readings.iter().map(sample).collect();
        Frame::new(position(revision), format!("c{cluster}"), Content::Telemetry(samples))
    }

    proptest! {
        #[test]
        fn the_newest_value_of_each_gpu_and_metric_remains(
            readings in prop::collection::vec((0u8..2, 0u8..3, 0i64..20, 0u8..3, 0f64..100.0), 1..60),
        ) {
            let (mut merge, mut model) = (Merge::default(), BTreeMap::new());
            let filters = Filters::of(Filter::default());
            for (revision, reading) in (1..).zip(&readings) {
                merge.take(&frame(revision, reading.0, &[*reading]), &filters);
                let (cluster, gpu, time, metric, value) = *reading;
                let known: &mut (i64, f64) = model.entry((cluster, gpu, metric)).or_insert((time, value));
                if known.0 <= time {
                    *known = (time, value);
                }
            }
            let frames = merge.frames(position(0), position(99), true);
            let mut shown = BTreeMap::new();
            for frame in &frames {
                let cluster: u8 = frame.cluster_id[1..].parse().unwrap();
                for sample in frame.samples() {
                    let newest = sample.data.0.iter().map(|(metric, value)| {
                        let Metric::Known(metric) = metric else { unreachable!() };
                        let gpu: u8 = sample.gpu_id.parse().unwrap();
                        assert!(shown.insert((cluster, gpu, *metric), *value).is_none());
                        model[&(cluster, gpu, *metric)].0
                    });
                    prop_assert_eq!(newest.max(), Some(sample.timestamp.0.0));
                }
            }
            let model: BTreeMap<_, _> = model.into_iter().map(|(place, (_, value))| (place, value)).collect();
            prop_assert_eq!(shown, model);
            let (last, others) = frames.split_last().unwrap();
            prop_assert_eq!(last.position, position(99));
            prop_assert!(others.iter().all(|frame| frame.position == position(0)));
            let stood_for: u64 = frames.iter().map(|frame| frame.skipped + 1).sum();
            prop_assert_eq!(stood_for, readings.len() as u64, "every frame is accounted for");
        }
    }

    #[test]
    fn a_large_fleet_comes_in_pieces() {
        let mut merge = Merge::default();
        let filters = Filters::of(Filter::default());
        for gpu in 0..200 {
            merge.take(&frame(i64::from(gpu), 0, &[(0, gpu, 1, 0, 1.0)]), &filters);
        }
        let many: Vec<Sample> = (0..1_200)
            .map(|n| Sample {
                host_id: format!("h{n}").into(),
                ..frame(1, 0, &[(0, 0, 1, 0, 1.0)]).samples()[0].clone()
            })
            .collect();
        merge.take(&Frame::new(position(300), "c0", Content::Telemetry(many)), &filters);
        let frames = merge.frames(position(1), position(300), true);
        let sizes: Vec<_> = frames.iter().map(|frame| (frame.samples().len(), frame.skipped)).collect();
        assert_eq!(sizes, [(500, 198), (500, 0), (400, 0)]);
    }

    #[test]
    fn what_is_not_wanted_is_not_merged() {
        let mut merge = Merge::default();
        let filters = Filters::of(Filter { gpu_id: Some("7".to_owned()), ..Filter::default() });
        merge.take(&frame(1, 0, &[(0, 1, 1, 0, 1.0)]), &filters);
        assert!(merge.is_empty());
        assert!(merge.frames(position(0), position(1), true).is_empty());
    }
}
