use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nexus_common::domain::Timestamp;
use serde::{Deserialize, Serialize, Serializer};

use super::time::{FIRST, LAST};
use super::{Error, Order, Result, Step};

/// The place of a list's item, behind which the next page starts. Opaque to clients: they hand back what they got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(Place);

/// What an item is found again by; one form for each order there is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Place {
    /// Clusters and hosts, by their names.
    #[serde(rename = "n")]
    Name(String, String),
    /// GPUs: cluster, host, index, id.
    #[serde(rename = "g")]
    Gpu(String, String, String, i32),
    /// Samples: order, time, GPU id.
    #[serde(rename = "s")]
    Sample(Order, Timestamp, i32),
    /// Buckets: the same, and the bounds and the step the first page had.
    #[serde(rename = "b")]
    Bucket(Order, Timestamp, i32, Timestamp, Timestamp, Step),
    /// Events: order, time, number.
    #[serde(rename = "e")]
    Event(Order, Timestamp, i64),
    /// Dead letters and actions, the newest first: number.
    #[serde(rename = "d")]
    Number(i64),
}

impl Cursor {
    pub(super) fn at(place: Place) -> Self {
        Cursor(place)
    }

    pub(super) fn place(&self) -> &Place {
        &self.0
    }

    /// For a list that this cursor was not made for.
    pub(super) fn foreign() -> Error {
        Error::invalid("cursor", "belongs to another list or order; start again without it")
    }
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Written for the wire.
impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = serde_json::to_vec(&self.0).map_err(|_| fmt::Error)?;
        f.write_str(&URL_SAFE_NO_PAD.encode(text))
    }
}

impl FromStr for Cursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let place = URL_SAFE_NO_PAD.decode(text).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let place = place.filter(|place| match place {
            Place::Name(cluster, host) => stored(cluster) && stored(host),
            Place::Gpu(cluster, host, index, _) => stored(cluster) && stored(host) && stored(index),
            Place::Number(_) => true,
            Place::Sample(_, at, _) | Place::Event(_, at, _) => datable(*at),
            Place::Bucket(_, at, _, start, end, step) => {
                step.is_bounded() && [at, start, end].into_iter().all(|at| datable(*at))
            }
        });
        place
            .map(Cursor)
            .ok_or_else(|| Error::invalid("cursor", "is not one that was given out; start again without it"))
    }
}

/// PostgreSQL's text holds every character but this one.
fn stored(text: &str) -> bool {
    !text.contains('\0')
}

/// PostgreSQL's calendar holds it.
fn datable(at: Timestamp) -> bool {
    (FIRST..=LAST).contains(&at.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn place() -> impl Strategy<Value = Place> {
        let name = || "[^\0]*";
        let order = || prop_oneof![Just(Order::Newest), Just(Order::Oldest)];
        let time = || (FIRST..=LAST).prop_map(Timestamp);
        prop_oneof![
            (name(), name()).prop_map(|(cluster, host)| Place::Name(cluster, host)),
            (name(), name(), name(), any::<i32>()).prop_map(|(c, h, index, id)| Place::Gpu(c, h, index, id)),
            (order(), time(), any::<i32>()).prop_map(|(order, time, id)| Place::Sample(order, time, id)),
            (order(), time(), any::<i32>(), time(), time(), 1..=3_600_u64).prop_map(|(o, t, id, a, b, seconds)| {
                let step = Step::new(std::time::Duration::from_secs(seconds)).unwrap();
                Place::Bucket(o, t, id, a, b, step)
            }),
            (order(), time(), any::<i64>()).prop_map(|(order, time, id)| Place::Event(order, time, id)),
            any::<i64>().prop_map(Place::Number),
        ]
    }

    proptest! {
        #[test]
        fn a_cursor_comes_back_as_it_went(place in place()) {
            let text = Cursor::at(place.clone()).to_string();
            prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
            let cursor: Cursor = text.parse().unwrap();
            prop_assert_eq!(cursor.place(), &place);
        }

        #[test]
        fn no_text_breaks_it(text in any::<String>()) {
            let _ = text.parse::<Cursor>();
        }
    }
}
