//! Tickets: what a browser shows instead of a key where it can send no header (EventSource), once and at once.
//!
//! A ticket stands in a URL, so it is worth little: it is good for half a minute, for one live connection, for reading, and
//! at the gateway that gave it. It ends with its key.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nexus_common::identity::{Digest, Role};

use super::Identity;

/// How long a ticket is good.
pub(crate) const GOOD_FOR: Duration = Duration::from_secs(30);
/// Tickets that are kept.
const MOST: usize = 10_000;
/// What every ticket begins with.
const PREFIX: &str = "nxt_";

/// Those that were given and not used; by digest, as keys are.
#[derive(Debug, Default)]
pub(super) struct Tickets(Mutex<HashMap<Digest, (Identity, Instant)>>);

impl Tickets {
    /// A new one; `None` where as many are about as may be.
    pub(super) fn give(&self, to: Identity, now: Instant) -> Option<String> {
        let mut given = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if given.len() >= MOST {
            given.retain(|_, (_, until)| *until > now);
        }
        if given.len() >= MOST {
            return None;
        }
        let secret: [u8; 32] = rand::random();
        let ticket = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(secret));
        given.insert(Digest::of(&ticket), (Identity { role: Role::Reader, ..to }, now + GOOD_FOR));
        Some(ticket)
    }

    /// Whose it is; it is worth nothing after that.
    pub(super) fn take(&self, ticket: &str, now: Instant) -> Option<Identity> {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&Digest::of(ticket));
        taken.filter(|(identity, until)| *until > now && !identity.until.is_cancelled()).map(|(identity, _)| identity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_good_once_and_not_for_long() {
        let (tickets, now) = (Tickets::default(), Instant::now());
        let operator = Identity { role: Role::Operator, ..Identity::anonymous() };
        let [one, late, ended] = [(); 3].map(|()| tickets.give(operator.clone(), now).unwrap());
        assert_eq!(tickets.take(&one, now).map(|identity| identity.role), Some(Role::Reader));
        assert!(tickets.take(&one, now).is_none() && tickets.take("nxt_", now).is_none());
        assert!(tickets.take(&late, now + GOOD_FOR).is_none());
        operator.until.cancel();
        assert!(tickets.take(&ended, now).is_none(), "its key is gone");
    }

    #[test]
    fn there_are_no_more_than_may_be() {
        let (tickets, now) = (Tickets::default(), Instant::now());
        for _ in 0..MOST {
            assert!(tickets.give(Identity::anonymous(), now).is_some());
        }
        assert!(tickets.give(Identity::anonymous(), now).is_none());
        assert!(tickets.give(Identity::anonymous(), now + GOOD_FOR).is_some(), "old ones make room");
    }
}
