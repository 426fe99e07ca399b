//! What a client wants of the feed. Pure.

use std::borrow::Cow;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use nexus_common::domain::Metric;

use super::{Content, Frame, Sample};
use crate::read::Values;

/// One wish: everything that is set has to hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Filter {
    /// Of this cluster.
    pub cluster_id: Option<String>,
    /// On this host.
    pub host_id: Option<String>,
    /// With this index on its host, or this UUID.
    pub gpu_id: Option<String>,
    /// These metrics only; all where there are none. Events are told whatever the metrics.
    pub metrics: Vec<Metric>,
}

/// The wishes of a client, by the name it gave each: it gets what any of them asks for.
#[derive(Debug, Clone)]
pub struct Filters(Vec<(String, Filter)>);

/// Of the same wishes, whatever their names.
impl PartialEq for Filters {
    fn eq(&self, other: &Self) -> bool {
        self.wishes().eq(other.wishes())
    }
}

impl Eq for Filters {}

impl Hash for Filters {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.wishes().for_each(|filter| filter.hash(state));
    }
}

/// What is left of a frame.
#[derive(Debug)]
pub enum Passed {
    /// All of it: the very frame.
    Whole(Arc<Frame>),
    /// A part of it.
    Part(Frame),
    /// Nothing.
    Nothing,
}

/// Metrics of one GPU.
pub(super) enum Chosen<'a> {
    All,
    These(Vec<&'a Metric>),
}

impl Chosen<'_> {
    pub(super) fn holds(&self, metric: &Metric) -> bool {
        match self {
            Chosen::All => true,
            Chosen::These(these) => these.contains(&metric),
        }
    }
}

impl Filter {
    /// Whether a GPU is wanted.
    pub fn wants(&self, cluster: &str, host: &str, gpu: &str, uuid: Option<&str>) -> bool {
        let holds = |wanted: &Option<String>, is: &str| wanted.as_ref().is_none_or(|wanted| wanted == is);
        holds(&self.cluster_id, cluster)
            && holds(&self.host_id, host)
            && (holds(&self.gpu_id, gpu) || (uuid.is_some() && self.gpu_id.as_deref() == uuid))
    }

    fn wants_all_of(&self, cluster: &str) -> bool {
        self.host_id.is_none()
            && self.gpu_id.is_none()
            && self.metrics.is_empty()
            && self.cluster_id.as_ref().is_none_or(|wanted| wanted == cluster)
    }
}

impl Filters {
    /// One wish without a name of the client's.
    pub fn of(filter: Filter) -> Self {
        Filters(vec![(String::new(), filter)])
    }

    /// None at all: nothing is wanted.
    pub fn none() -> Self {
        Filters(Vec::new())
    }

    /// Sets the wish of this name; a new one, or in the place of the old one.
    pub fn set(&mut self, id: &str, filter: Filter) {
        match self.0.iter_mut().find(|(known, _)| known == id) {
            Some((_, old)) => *old = filter,
            None => self.0.push((id.to_owned(), filter)),
        }
    }

    /// Takes back the wish of this name; `false` where there is none.
    pub fn remove(&mut self, id: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|(known, _)| known != id);
        self.0.len() < before
    }

    /// Whether there is a wish of this name.
    pub fn holds(&self, id: &str) -> bool {
        self.0.iter().any(|(known, _)| known == id)
    }

    /// How many wishes there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is wanted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn wishes(&self) -> impl Iterator<Item = &Filter> {
        self.0.iter().map(|(_, filter)| filter)
    }

    /// Whether everything of a cluster is wanted.
    pub(super) fn want_all_of(&self, cluster: &str) -> bool {
        self.wishes().any(|filter| filter.wants_all_of(cluster))
    }

    /// Whether a GPU is wanted.
    pub fn want(&self, cluster: &str, host: &str, gpu: &str, uuid: Option<&str>) -> bool {
        self.0.iter().any(|(_, filter)| filter.wants(cluster, host, gpu, uuid))
    }

    /// Whether anything of a cluster could be wanted.
    pub fn concern(&self, cluster: &str) -> bool {
        self.0.iter().any(|(_, filter)| filter.cluster_id.as_ref().is_none_or(|wanted| wanted == cluster))
    }

    /// Which metrics of a GPU are wanted.
    pub(super) fn chosen(&self, cluster: &str, host: &str, gpu: &str, uuid: Option<&str>) -> Chosen<'_> {
        let mut metrics = Vec::new();
        for (_, filter) in self.0.iter().filter(|(_, filter)| filter.wants(cluster, host, gpu, uuid)) {
            if filter.metrics.is_empty() {
                return Chosen::All;
            }
            metrics.extend(&filter.metrics);
        }
        Chosen::These(metrics)
    }

    /// What of a sample is wanted.
    pub fn values<'a>(&self, cluster: &str, sample: &'a Sample) -> Option<Cow<'a, Values>> {
        let chosen = self.chosen(cluster, &sample.host_id, &sample.gpu_id, sample.uuid.as_deref());
        if matches!(chosen, Chosen::All) {
            return Some(Cow::Borrowed(&sample.data));
        }
        let chosen: Vec<_> = sample.data.0.iter().filter(|(metric, _)| chosen.holds(metric)).cloned().collect();
        (!chosen.is_empty()).then_some(Cow::Owned(Values(chosen)))
    }

    /// What of a frame is wanted.
    pub fn pass(&self, frame: &Arc<Frame>) -> Passed {
        if self.want_all_of(&frame.cluster_id) {
            return Passed::Whole(Arc::clone(frame));
        }
        if !self.concern(&frame.cluster_id) {
            return Passed::Nothing;
        }
        let cluster = &*frame.cluster_id;
        let content = match &frame.content {
            Content::Telemetry(samples) => Content::Telemetry(
                samples
                    .iter()
                    .filter_map(|sample| Some(sample.with(self.values(cluster, sample)?.into_owned())))
                    .collect(),
            ),
            Content::Events(events) => {
                let wanted = |event: &&_| {
                    let nexus_common::domain::Event { host_id, gpu_id, uuid, .. } = *event;
                    self.want(cluster, host_id, gpu_id, uuid.as_deref())
                };
                Content::Events(events.iter().filter(wanted).cloned().collect())
            }
        };
        let part = Frame::new(frame.position, Arc::clone(&frame.cluster_id), content);
        if part.is_empty() {
            return Passed::Nothing;
        }
        let traced = frame.traced.clone();
        Passed::Part(Frame { left_out: frame.left_out, skipped: frame.skipped, traced, ..part })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn frame() -> Arc<Frame> {
        let sample = |host: &str, gpu: &str, uuid: Option<&str>| {
            json!({"host_id": host, "gpu_id": gpu, "uuid": uuid, "timestamp_us": 1,
                   "data": {"power_watts": 70, "temperature_celsius": 40, "slots": 3}})
        };
        let feed = json!({"v": 1, "batch": "b", "samples": [
            sample("h1", "0", Some("GPU-a")), sample("h1", "1", None), sample("h2", "0", None),
        ]});
        let position = "00000000000000ab.7".parse().unwrap();
        Arc::new(Frame::of(position, "c", serde_json::from_value(feed).unwrap()))
    }

    fn filter(cluster: Option<&str>, host: Option<&str>, gpu: Option<&str>, metrics: &[&str]) -> Filter {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let metrics = metrics.iter().map(|name| Metric::named(name)).collect();
        Filter { cluster_id: owned(cluster), host_id: owned(host), gpu_id: owned(gpu), metrics }
    }

    /// `host/gpu: metrics` of what passes.
    fn shown(filters: &Filters) -> Vec<String> {
        let frame = frame();
        let of = |frame: &Frame| {
            let line = |sample: &Sample| {
                let names: Vec<_> = sample.data.0.iter().map(|(metric, _)| metric.name().to_owned()).collect();
                format!("{}/{}: {}", sample.host_id, sample.gpu_id, names.join(" "))
            };
            frame.samples().iter().map(line).collect()
        };
        match filters.pass(&frame) {
            Passed::Whole(whole) => {
                assert!(Arc::ptr_eq(&whole, &frame), "the very frame");
                vec!["whole".to_owned()]
            }
            Passed::Part(part) => of(&part),
            Passed::Nothing => Vec::new(),
        }
    }

    #[test]
    fn whoever_wants_all_of_a_cluster_gets_the_very_frame() {
        assert_eq!(shown(&Filters::of(Filter::default())), ["whole"]);
        assert_eq!(shown(&Filters::of(filter(Some("c"), None, None, &[]))), ["whole"]);
        assert_eq!(shown(&Filters::of(filter(Some("d"), None, None, &[]))), [""; 0]);
        assert_eq!(shown(&Filters::none()), [""; 0]);
    }

    #[test]
    fn a_gpu_is_found_by_index_and_by_uuid() {
        let all = "temperature_celsius power_watts slots";
        assert_eq!(shown(&Filters::of(filter(None, None, Some("1"), &[]))), [format!("h1/1: {all}")]);
        assert_eq!(shown(&Filters::of(filter(None, None, Some("GPU-a"), &[]))), [format!("h1/0: {all}")]);
        assert_eq!(shown(&Filters::of(filter(None, Some("h2"), Some("GPU-a"), &[]))), [""; 0]);
        assert_eq!(
            shown(&Filters::of(filter(None, None, Some("0"), &["slots"]))),
            ["h1/0: slots", "h2/0: slots"],
            "a name outside the catalogue is as good"
        );
    }

    #[test]
    fn several_wishes_add_up_and_can_be_taken_back() {
        let mut filters = Filters::of(filter(None, Some("h2"), None, &["power"]));
        filters.set("b", filter(None, None, Some("0"), &["DCGM_FI_DEV_GPU_TEMP"]));
        assert_eq!(shown(&filters), ["h1/0: temperature_celsius", "h2/0: temperature_celsius power_watts"]);
        filters.set("b", filter(None, Some("h1"), Some("1"), &["power_draw"]));
        assert_eq!(shown(&filters), ["h1/1: power_watts", "h2/0: power_watts"]);
        assert!(filters.remove("b") && !filters.remove("b"));
        assert_eq!(shown(&filters), ["h2/0: power_watts"]);
        assert_eq!(filters.len(), 1);
    }
}
