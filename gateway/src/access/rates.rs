//! How often a client may ask: a bucket of RATE_BURST tokens each, filled with RATE_LIMIT a second.
//!
//! Of a bucket one number is kept, the moment at which it will be full again ("generic cell rate algorithm"): a request
//! moves it on by the time one token takes, and is refused where it would lie further ahead than a whole bucket takes. One
//! whose moment is past is full, and needs not be kept: so memory is bounded by those who asked within the last moments, and
//! beyond [`MOST`] of them newcomers share a bucket.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::config::Config;

/// Buckets that are kept.
const MOST: usize = 65_536;

/// Why a request is refused: there is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("you ask more often than this gateway answers (RATE_LIMIT={per_second} a second); come back in {} s", self.seconds())]
pub(crate) struct TooOften {
    /// Tokens a second: RATE_LIMIT.
    pub(crate) per_second: u32,
    /// When there is one again.
    wait: Duration,
}

impl TooOften {
    /// Whole seconds after which there is a token, at least one.
    pub(crate) fn seconds(self) -> u64 {
        (self.wait.as_secs() + u64::from(self.wait.subsec_nanos() > 0)).max(1)
    }
}

/// Whose bucket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Client {
    /// Of a key's name.
    Name(Arc<str>),
    /// Of an address; of IPv6 the first 64 bits, since whoever has one of them has them all.
    Address(IpAddr),
    /// Of all who came when there were too many.
    Others,
}

impl Client {
    pub(super) fn at(address: IpAddr) -> Self {
        Client::Address(match address.to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
            address @ IpAddr::V4(_) => address,
        })
    }
}

/// All buckets.
#[derive(Debug)]
pub(super) struct Rates {
    per_second: u32,
    pace: Pace,
    began: Instant,
    /// When each is full again, in nanoseconds since `began`. Held for a look; never across an await.
    full_at: Mutex<HashMap<Client, u64>>,
}

/// How a bucket fills.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// Nanoseconds a token takes.
    token: u64,
    /// Nanoseconds a whole bucket takes.
    bucket: u64,
}

impl Pace {
    /// When the bucket is full again after a request now; or how long there is no token.
    fn take(self, full_at: u64, now: u64) -> Result<u64, u64> {
        let then = full_at.max(now) + self.token;
        let ahead = then - now;
        if ahead <= self.bucket { Ok(then) } else { Err(ahead - self.bucket) }
    }
}

impl Rates {
    /// `None`: without limit.
    pub(super) fn new(config: &Config) -> Option<Self> {
        let per_second = config.access.rate_limit;
        let token = 1_000_000_000_u64.checked_div(per_second.into())?.max(1);
        let pace = Pace { token, bucket: token * u64::from(config.access.rate_burst) };
        Some(Rates { per_second, pace, began: Instant::now(), full_at: Mutex::default() })
    }

    /// Takes a token; or says how long to wait for one.
    pub(super) fn admit(&self, client: Client) -> Result<(), TooOften> {
        let now = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX / 2);
        self.admit_at(client, now).map_err(|wait| TooOften { per_second: self.per_second, wait })
    }

    fn admit_at(&self, client: Client, now: u64) -> Result<(), Duration> {
        let mut all = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST && !all.contains_key(&client) {
            all.retain(|_, full_at| *full_at > now);
        }
        let client = if all.len() >= MOST && !all.contains_key(&client) { Client::Others } else { client };
        let full_at = all.get(&client).copied().unwrap_or(0);
        let then = self.pace.take(full_at, now).map_err(Duration::from_nanos)?;
        all.insert(client, then);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// Two requests a second, three at once.
    fn rates() -> Rates {
        let pace = Pace { token: SECOND / 2, bucket: 3 * SECOND / 2 };
        Rates { per_second: 2, pace, began: Instant::now(), full_at: Mutex::default() }
    }

    fn address(text: &str) -> Client {
        Client::at(text.parse().unwrap())
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let (rates, one) = (rates(), address("192.0.2.1"));
        let ask = |now| rates.admit_at(one.clone(), now);
        assert_eq!([ask(0), ask(0), ask(0)], [Ok(()); 3]);
        assert_eq!(ask(0), Err(Duration::from_millis(500)));
        assert_eq!(ask(SECOND / 4), Err(Duration::from_millis(250)), "a refusal costs nothing");
        assert_eq!([ask(SECOND / 2), ask(SECOND)], [Ok(()); 2]);
        assert!(ask(SECOND).is_err());
        // Others have buckets of their own, and a rest fills one.
        assert_eq!(rates.admit_at(address("192.0.2.2"), SECOND), Ok(()));
        assert_eq!([ask(60 * SECOND), ask(60 * SECOND), ask(60 * SECOND)], [Ok(()); 3]);
        assert!(ask(60 * SECOND).is_err());
    }

    #[test]
    fn who_waits_is_told_whole_seconds_and_never_none() {
        let of = |wait| TooOften { per_second: 2, wait };
        let waits = [Duration::ZERO, Duration::from_millis(1), Duration::from_secs(2), Duration::from_millis(2_001)];
        assert_eq!(waits.map(|wait| of(wait).seconds()), [1, 1, 2, 3]);
        assert!(of(waits[3]).to_string().ends_with("(RATE_LIMIT=2 a second); come back in 3 s"));
    }

    #[test]
    fn whoever_has_a_network_has_one_bucket() {
        assert_eq!(address("2001:db8::1"), address("2001:db8::ffff:1"));
        assert_ne!(address("2001:db8::1"), address("2001:db8:0:1::1"));
        assert_eq!(address("::ffff:192.0.2.1"), address("192.0.2.1"));
    }

    #[test]
    fn clients_without_number_take_no_memory_without_bound() {
        let rates = rates();
        let of = |n: u32| Client::Address(IpAddr::from(n.to_be_bytes()));
        for n in 0..u32::try_from(MOST).unwrap() + 3 {
            assert_eq!(rates.admit_at(of(n), 1), Ok(()));
        }
        // The last three share one bucket: it is empty now, for every newcomer.
        assert!(rates.admit_at(of(u32::MAX), 1).is_err());
        assert!(rates.full_at.lock().unwrap().len() <= MOST + 1);
        // Those who were here keep their own; and when all are full again there is room.
        assert_eq!(rates.admit_at(of(7), 1), Ok(()));
        assert_eq!(rates.admit_at(of(u32::MAX), 10 * SECOND), Ok(()));
        assert_eq!(rates.full_at.lock().unwrap().len(), 1);
    }
}
