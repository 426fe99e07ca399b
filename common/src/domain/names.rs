//! Names inside etcd keys: escaped so that a key always parses back.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

/// `_` and `/` separate the parts of a key, `%` escapes, and control characters would break a terminal.
const SEPARATORS: &AsciiSet = &CONTROLS.add(b'%').add(b'_').add(b'/');

/// The name as one part of a key. A name of only `-` is escaped too: `-` stands for "no name".
pub fn escape(name: &str) -> Cow<'_, str> {
    match name {
        "-" => Cow::Borrowed("%2D"),
        "" => Cow::Borrowed("-"),
        _ => utf8_percent_encode(name, SEPARATORS).into(),
    }
}

/// The name behind one part of a key; `None` when it is not valid UTF-8.
pub fn unescape(part: &str) -> Option<Cow<'_, str>> {
    match part {
        "-" => Some(Cow::Borrowed("")),
        _ => percent_decode_str(part).decode_utf8().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_name_survives_the_key(name in any::<String>()) {
            let part = escape(&name).into_owned();
            prop_assert!(!part.is_empty());
            prop_assert!(!part.contains(['_', '/']) && !part.chars().any(|c| c.is_ascii_control()));
            prop_assert_eq!(unescape(&part).unwrap(), name);
        }
    }
}
