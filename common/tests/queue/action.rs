//! What can happen to a queue, and how often.

use proptest::prelude::*;

pub(crate) const LANES: [&str; 2] = ["a", "b"];
pub(crate) const CONSUMERS: usize = 3;

/// What happens next. Numbers choose among what there is.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    Publish { lane: usize, hosts: Vec<u8> },
    Claim { consumer: usize, batch: usize },
    Ack { consumer: usize, which: usize, feed: bool },
    Release { consumer: usize, which: usize },
    Crash { consumer: usize },
    StaleAck { which: usize },
    StaleRelease { which: usize },
    StalePublish { which: usize },
    Expire { batch: usize },
    Reopen { lane: usize },
}

pub(crate) fn action() -> impl Strategy<Value = Action> {
    let (lane, consumer) = (0..LANES.len(), 0..CONSUMERS);
    prop_oneof![
        5 => (lane.clone(), prop::collection::vec(0u8..6, 1..6))
            .prop_map(|(lane, hosts)| Action::Publish { lane, hosts }),
        5 => (consumer.clone(), number()).prop_map(|(consumer, batch)| Action::Claim { consumer, batch }),
        4 => (consumer.clone(), number(), any::<bool>())
            .prop_map(|(consumer, which, feed)| Action::Ack { consumer, which, feed }),
        2 => consumer.clone().prop_map(|consumer| Action::Crash { consumer }),
        1 => number().prop_map(|which| Action::StaleAck { which }),
        1 => number().prop_map(|which| Action::StaleRelease { which }),
        1 => number().prop_map(|which| Action::StalePublish { which }),
        1 => (consumer, number()).prop_map(|(consumer, which)| Action::Release { consumer, which }),
        1 => number().prop_map(|batch| Action::Expire { batch }),
        1 => lane.prop_map(|lane| Action::Reopen { lane }),
    ]
}

fn number() -> impl Strategy<Value = usize> {
    any::<u16>().prop_map(usize::from)
}
