//! The last frames, for clients that are behind or come back. Pure: the caller brings the time.
//!
//! What holds: revisions only rise; every frame with a revision above [`Ring::floor`] that was ever pushed is still here;
//! the newest frame is kept until its time is over, whatever its size.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Frame;

/// Frames in order of revision.
#[derive(Debug)]
pub(super) struct Ring {
    kept: VecDeque<Kept>,
    longest: Duration,
    most: usize,
    floor: i64,
    newest: i64,
    /// Frames ever pushed, and their bytes: the difference of two such sums is a backlog.
    pushed: Sum,
    why: Why,
}

#[derive(Debug)]
struct Kept {
    frame: Arc<Frame>,
    at: Instant,
    /// All that was pushed before it.
    before: Sum,
}

#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    frames: u64,
    bytes: u64,
}

/// Why nothing below the floor is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// This gateway began there.
    Began,
    /// It was there, for as long as the bounds allow.
    Dropped,
    /// etcd's history of that time went before this gateway could read it.
    Missed,
}

/// What waits behind a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Backlog {
    pub(super) frames: u64,
    pub(super) bytes: u64,
}

impl Ring {
    /// An empty one, at revision 0.
    pub(super) fn new(longest: Duration, most: usize) -> Self {
        let (pushed, why) = (Sum::default(), Why::Began);
        Ring { kept: VecDeque::new(), longest, most, floor: 0, newest: 0, pushed, why }
    }

    /// Empties it: what comes next comes after this revision.
    pub(super) fn restart(&mut self, revision: i64, why: Why) {
        self.kept.clear();
        (self.floor, self.newest, self.why) = (revision, revision, why);
    }

    /// Every frame after this revision is here.
    pub(super) fn floor(&self) -> (i64, Why) {
        (self.floor, self.why)
    }

    /// The last revision that is known.
    pub(super) fn newest(&self) -> i64 {
        self.newest
    }

    /// Frames ever pushed.
    pub(super) fn count(&self) -> u64 {
        self.pushed.frames
    }

    /// Takes a frame in; `false` for one that was here already.
    pub(super) fn push(&mut self, frame: Arc<Frame>, now: Instant) -> bool {
        let revision = frame.position.revision;
        if revision <= self.newest {
            return false;
        }
        self.newest = revision;
        let before = self.pushed;
        self.pushed = Sum { frames: before.frames + 1, bytes: before.bytes + frame.bytes() as u64 };
        self.kept.push_back(Kept { frame, at: now, before });
        self.expire(now);
        true
    }

    /// Lets go of what is too old, or too much.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some(first) = self.kept.front() {
            let too_much = self.kept.len() > 1 && self.bytes() > self.most as u64;
            let too_old = now.saturating_duration_since(first.at) > self.longest;
            if !too_much && !too_old {
                return;
            }
            (self.floor, self.why) = (first.frame.position.revision, Why::Dropped);
            self.kept.pop_front();
        }
    }

    /// How many frames are held, and their bytes.
    pub(super) fn held(&self) -> (u64, u64) {
        (self.kept.len() as u64, self.bytes())
    }

    /// What is held, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.pushed.bytes - self.kept.front().map_or(self.pushed.bytes, |first| first.before.bytes)
    }

    /// How much waits for somebody at this revision. `None`: some of it is gone.
    pub(super) fn backlog(&self, revision: i64) -> Option<Backlog> {
        if revision < self.floor {
            return None;
        }
        let from = self.start(revision);
        let bytes = self.kept.get(from).map_or(0, |first| self.pushed.bytes - first.before.bytes);
        Some(Backlog { frames: (self.kept.len() - from) as u64, bytes })
    }

    /// The next frames behind a revision, in order.
    pub(super) fn after(&self, revision: i64) -> impl Iterator<Item = &Arc<Frame>> {
        self.kept.range(self.start(revision)..).map(|kept| &kept.frame)
    }

    fn start(&self, revision: i64) -> usize {
        self.kept.partition_point(|kept| kept.frame.position.revision <= revision)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Content, Store};
    use super::*;
    use proptest::prelude::*;

    const LONGEST: Duration = Duration::from_secs(60);

    fn frame(revision: i64, events: usize) -> Arc<Frame> {
        let position = super::super::Position { store: Store::random(), revision };
        // Each byte of the name counts.
        let mut frame = Frame::new(position, "c", Content::Telemetry(Vec::new()));
        frame.content = Content::Events(vec![event(); events]);
        Arc::new(frame)
    }

    fn event() -> nexus_common::domain::Event {
        serde_json::from_value(serde_json::json!({
            "id": 1, "host_id": "h", "gpu_id": "0", "uuid": null, "at": 0, "kind": "xid", "condition": null,
            "severity": "notice", "since": 0, "code": null, "detail": "",
        }))
        .unwrap()
    }

    fn revisions(ring: &Ring, after: i64) -> Vec<i64> {
        ring.after(after).map(|frame| frame.position.revision).collect()
    }

    #[derive(Debug, Clone)]
    enum Act {
        Push { ahead: i64, size: usize },
        Repeat { back: i64 },
        Wait { seconds: u64 },
        Restart { ahead: i64 },
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            8 => (1i64..4, 0usize..6).prop_map(|(ahead, size)| Act::Push { ahead, size }),
            1 => (0i64..5).prop_map(|back| Act::Repeat { back }),
            2 => (1u64..50).prop_map(|seconds| Act::Wait { seconds }),
            1 => (0i64..5).prop_map(|ahead| Act::Restart { ahead }),
        ]
    }

    proptest! {
        #[test]
        fn all_frames_after_the_floor_are_here_and_none_is_too_old(acts in prop::collection::vec(act(), 1..80)) {
            let most = 10 * frame(1, 3).bytes();
            let mut ring = Ring::new(LONGEST, most);
            let (mut now, mut revision) = (Instant::now(), 0);
            let mut all: Vec<(i64, Instant)> = Vec::new();
            for act in acts {
                match act {
                    Act::Push { ahead, size } => {
                        revision += ahead;
                        prop_assert!(ring.push(frame(revision, size), now));
                        all.push((revision, now));
                    }
                    Act::Repeat { back } => prop_assert!(!ring.push(frame(revision - back, 1), now)),
                    Act::Wait { seconds } => {
                        now += Duration::from_secs(seconds);
                        ring.expire(now);
                    }
                    Act::Restart { ahead } => {
                        revision += ahead;
                        ring.restart(revision, Why::Missed);
                        all.clear();
                    }
                }
                let (floor, _) = ring.floor();
                let wanted: Vec<i64> = all.iter().map(|(at, _)| *at).filter(|at| *at > floor).collect();
                prop_assert_eq!(&revisions(&ring, floor), &wanted);
                prop_assert!(all.iter().all(|(at, pushed)| *at <= floor || now - *pushed <= LONGEST));
                let held: u64 = ring.after(floor).map(|frame| frame.bytes() as u64).sum();
                prop_assert_eq!(ring.bytes(), held);
                prop_assert!(held <= most as u64 || wanted.len() == 1);
                for at in floor..=revision {
                    let waits: Vec<_> = ring.after(at).collect();
                    let bytes = waits.iter().map(|frame| frame.bytes() as u64).sum();
                    prop_assert_eq!(ring.backlog(at), Some(Backlog { frames: waits.len() as u64, bytes }));
                }
                prop_assert_eq!(ring.backlog(floor - 1), None);
                prop_assert_eq!(ring.newest(), revision);
            }
        }
    }

    #[test]
    fn the_floor_says_why() {
        let mut ring = Ring::new(LONGEST, 1);
        let now = Instant::now();
        ring.restart(5, Why::Began);
        assert_eq!(ring.floor(), (5, Why::Began));
        ring.push(frame(7, 1), now);
        assert_eq!(ring.floor(), (5, Why::Began), "one frame is kept however large");
        ring.push(frame(9, 1), now);
        assert_eq!(ring.floor(), (7, Why::Dropped));
        assert_eq!(revisions(&ring, 7), [9]);
        assert_eq!(revisions(&ring, 20), [0; 0], "somebody ahead waits");
        assert_eq!(ring.count(), 2);
    }
}
