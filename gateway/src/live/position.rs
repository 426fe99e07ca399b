//! Where a client stands in the feed.

use std::fmt;
use std::str::FromStr;

/// The random id of an etcd's data: revisions of another one mean nothing here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Store(u64);

impl Store {
    /// One that no other etcd has.
    pub fn random() -> Self {
        Store(rand::random())
    }
}

/// Sixteen hexadecimal digits.
impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Store {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let plain = text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        u64::from_str_radix(text, 16).ok().filter(|_| plain).map(Store).ok_or(())
    }
}

/// Behind the frame of this revision: whoever stands here has seen it and everything before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    /// Whose revision.
    pub store: Store,
    /// The revision.
    pub revision: i64,
}

/// A text that is no position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "is no position; it is written as the feed gives it: 16 hexadecimal digits, a full stop and a revision, such as 0123456789abcdef.42"
)]
pub struct NoPosition;

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.store, self.revision)
    }
}

impl FromStr for Position {
    type Err = NoPosition;

    fn from_str(text: &str) -> Result<Self, NoPosition> {
        let (store, revision) = text.split_once('.').ok_or(NoPosition)?;
        let plain = !revision.is_empty() && revision.bytes().all(|byte| byte.is_ascii_digit());
        let revision = revision.parse().ok().filter(|_| plain).ok_or(NoPosition)?;
        Ok(Position { store: store.parse().map_err(|()| NoPosition)?, revision })
    }
}

impl serde::Serialize for Position {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_position_reads_back(store: u64, revision in 0..i64::MAX) {
            let position = Position { store: Store(store), revision };
            prop_assert_eq!(position.to_string().parse(), Ok(position));
        }
    }

    #[test]
    fn what_is_no_position_is_refused() {
        for text in ["", "12", "0123456789abcdef", "0123456789abcdef.", "0123456789abcdef.-1", "0123456789abcdef.+1"] {
            assert_eq!(text.parse::<Position>(), Err(NoPosition), "{text}");
        }
        for text in ["0123456789ABCDEF.1", "+123456789abcdef.1", "0123456789abcdef.99999999999999999999"] {
            assert_eq!(text.parse::<Position>(), Err(NoPosition), "{text}");
        }
    }
}
