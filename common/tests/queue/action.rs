//! What can happen to a queue, and how often.

use proptest::prelude::*;

pub(crate) const LANES: [&str; 2] = ["a", "b"];
pub(crate) const CONSUMERS: usize = 3;

/// What happens next. Numbers choose among what there is.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    Publish {
        lane: usize,
        hosts: Vec<u8>,
    },
    /// Several batches, each sent before the one before is answered.
    Send {
        lane: usize,
        batches: Vec<Vec<u8>>,
    },
    Claim {
        consumer: usize,
        batch: usize,
    },
    Ack {
        consumer: usize,
        which: usize,
        feed: bool,
    },
    Release {
        consumer: usize,
        which: usize,
    },
    Crash {
        consumer: usize,
    },
    StaleAck {
        which: usize,
    },
    StaleRelease {
        which: usize,
    },
    StalePublish {
        which: usize,
    },
    Expire {
        batch: usize,
    },
    Reopen {
        lane: usize,
    },
    /// A batch that nobody could work on becomes dead letters.
    Bury {
        consumer: usize,
        which: usize,
    },
    /// Dead rows are noted as sent again, and published through a lane of their own, unless whoever does it dies between.
    Redrive {
        which: usize,
        dies: bool,
    },
    /// What was noted and not published is published; what was published is not.
    RedriveAgain,
    /// etcd's quota is used up while a lane publishes; so many batches are drained; then there is room again.
    Full {
        lane: usize,
        hosts: Vec<u8>,
        drained: usize,
    },
}

pub(crate) fn action() -> impl Strategy<Value = Action> {
    let (lane, consumer) = (0..LANES.len(), 0..CONSUMERS);
    let hosts = prop::collection::vec(0u8..6, 1..6);
    let full = (lane.clone(), hosts.clone(), 0..6_usize);
    // Filling an etcd takes long: seldom.
    prop_oneof![100 => often(lane, consumer, hosts), 1 => full.prop_map(|(lane, hosts, drained)| Action::Full { lane, hosts, drained })]
}

fn often(
    lane: std::ops::Range<usize>,
    consumer: std::ops::Range<usize>,
    hosts: impl Strategy<Value = Vec<u8>> + Clone + 'static,
) -> impl Strategy<Value = Action> {
    prop_oneof![
        3 => (lane.clone(), hosts.clone()).prop_map(|(lane, hosts)| Action::Publish { lane, hosts }),
        2 => (lane.clone(), prop::collection::vec(hosts, 2..4)).prop_map(|(lane, batches)| Action::Send { lane, batches }),
        5 => (consumer.clone(), number()).prop_map(|(consumer, batch)| Action::Claim { consumer, batch }),
        4 => (consumer.clone(), number(), any::<bool>())
            .prop_map(|(consumer, which, feed)| Action::Ack { consumer, which, feed }),
        2 => consumer.clone().prop_map(|consumer| Action::Crash { consumer }),
        1 => number().prop_map(|which| Action::StaleAck { which }),
        1 => number().prop_map(|which| Action::StaleRelease { which }),
        1 => number().prop_map(|which| Action::StalePublish { which }),
        1 => (consumer.clone(), number()).prop_map(|(consumer, which)| Action::Release { consumer, which }),
        1 => (consumer, number()).prop_map(|(consumer, which)| Action::Bury { consumer, which }),
        2 => (number(), any::<bool>()).prop_map(|(which, dies)| Action::Redrive { which, dies }),
        1 => Just(Action::RedriveAgain),
        1 => number().prop_map(|batch| Action::Expire { batch }),
        1 => lane.prop_map(|lane| Action::Reopen { lane }),
    ]
}

fn number() -> impl Strategy<Value = usize> {
    any::<u16>().prop_map(usize::from)
}
