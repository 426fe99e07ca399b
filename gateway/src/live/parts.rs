//! What filters leave of the newest frame, worked out and encoded once for all clients that ask for the same.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::{Filters, Frame, Passed, Position};

/// Parts of one frame only, so that no more are kept than clients can ask for. Whoever is behind makes its own.
#[derive(Debug, Default)]
pub(super) struct Parts(Mutex<OfNewest>);

#[derive(Debug, Default)]
struct OfNewest {
    position: Option<Position>,
    parts: HashMap<Filters, Arc<Part>>,
}

type Part = OnceLock<Option<Arc<Frame>>>;

impl Parts {
    /// What is wanted of a frame that has anything in it.
    pub(super) fn of(&self, frame: &Arc<Frame>, filters: &Filters) -> Option<Arc<Frame>> {
        if filters.want_all_of(&frame.cluster_id) || !filters.concern(&frame.cluster_id) {
            return passed(filters, frame);
        }
        let Some(part) = self.part(frame.position, filters) else { return passed(filters, frame) };
        part.get_or_init(|| passed(filters, frame)).clone()
    }

    /// Held for a look only: what the part is comes after. `None` for a frame that is not the newest.
    fn part(&self, position: Position, filters: &Filters) -> Option<Arc<Part>> {
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let follows = |known: Position| known.store != position.store || known.revision < position.revision;
        if newest.position.is_none_or(follows) {
            *newest = OfNewest { position: Some(position), parts: HashMap::new() };
        }
        if newest.position != Some(position) {
            return None;
        }
        if let Some(part) = newest.parts.get(filters) {
            return Some(Arc::clone(part));
        }
        Some(Arc::clone(newest.parts.entry(filters.clone()).or_default()))
    }
}

/// What is wanted of a frame that has anything in it, worked out anew.
pub(super) fn passed(filters: &Filters, frame: &Arc<Frame>) -> Option<Arc<Frame>> {
    match filters.pass(frame) {
        Passed::Whole(frame) => (!frame.is_empty()).then_some(frame),
        Passed::Part(part) => Some(Arc::new(part)),
        Passed::Nothing => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Filter;
    use super::*;
    use serde_json::json;

    fn frame(revision: i64) -> Arc<Frame> {
        let samples = ["a", "b"]
            .map(|host| json!({"host_id": host, "gpu_id": "0", "timestamp_us": 1, "data": {"power_watts": revision}}));
        let feed = json!({"v": 1, "batch": "b", "samples": samples});
        let position = format!("00000000000000ab.{revision}").parse().unwrap();
        Arc::new(Frame::of(position, "c", serde_json::from_value(feed).unwrap()))
    }

    fn of_host(name: &str, host: &str) -> Filters {
        let mut filters = Filters::none();
        filters.set(name, Filter { host_id: Some(host.to_owned()), ..Filter::default() });
        filters
    }

    #[test]
    fn clients_that_want_the_same_share_a_part() {
        let (parts, frame) = (Parts::default(), frame(7));
        let one = parts.of(&frame, &of_host("x", "a")).unwrap();
        assert!(Arc::ptr_eq(&one, &parts.of(&frame, &of_host("y", "a")).unwrap()), "whatever they call it");
        let other = parts.of(&frame, &of_host("x", "b")).unwrap();
        assert_eq!((&*one.samples()[0].host_id, &*other.samples()[0].host_id), ("a", "b"));
        assert!(parts.of(&frame, &of_host("x", "nobody")).is_none());
        assert!(Arc::ptr_eq(&frame, &parts.of(&frame, &Filters::of(Filter::default())).unwrap()));
    }

    #[test]
    fn only_parts_of_the_newest_frame_are_kept() {
        let (parts, filters, frames) = (Parts::default(), of_host("x", "a"), [frame(7), frame(8)]);
        let of = |frame| parts.of(frame, &filters).unwrap();
        let early = of(&frames[0]);
        assert!(!Arc::ptr_eq(&early, &of(&frames[1])));
        assert_eq!(parts.0.lock().unwrap().parts.len(), 1);
        let late = of(&frames[0]);
        assert!(!Arc::ptr_eq(&early, &late), "made for who is behind");
        assert_eq!(late.text(), early.text());
    }
}
