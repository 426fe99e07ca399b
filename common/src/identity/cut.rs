//! Keys and tickets cut out of text that others will read. No part of Nexus writes one anywhere; this is for texts that
//! came from outside, such as a path that somebody pasted a key into.

use std::borrow::Cow;

/// What begins a key, and a ticket.
const MARKS: [&[u8]; 2] = [b"nxk_", b"nxt_"];
const MARK_BYTES: usize = 4;

/// The text without what follows the beginning of a key.
pub fn cut(text: &[u8]) -> Cow<'_, [u8]> {
    let Some(first) = find(text) else { return Cow::Borrowed(text) };
    let mut kept = Vec::with_capacity(text.len());
    let (mut rest, mut next) = (text, Some(first));
    while let Some(at) = next {
        let (before, from) = rest.split_at(at + MARK_BYTES);
        kept.extend_from_slice(before);
        kept.extend_from_slice("…".as_bytes());
        let end = from.iter().position(|byte| !is_of_a_key(*byte)).unwrap_or(from.len());
        rest = &from[end..];
        next = find(rest);
    }
    kept.extend_from_slice(rest);
    Cow::Owned(kept)
}

/// The same for a text.
pub fn cut_text(text: &str) -> Cow<'_, str> {
    match cut(text.as_bytes()) {
        Cow::Borrowed(_) => Cow::Borrowed(text),
        Cow::Owned(kept) => Cow::Owned(String::from_utf8_lossy(&kept).into_owned()),
    }
}

fn find(text: &[u8]) -> Option<usize> {
    text.windows(MARK_BYTES).position(|window| MARKS.contains(&window))
}

fn is_of_a_key(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

#[cfg(test)]
mod tests {
    use super::super::{Key, Role};
    use super::*;

    #[test]
    fn a_key_is_cut_out_wherever_it_stands() {
        let key = Key::new(Role::Operator);
        let text = format!("GET /{}?a=nxt_abc&b {{\"k\":\"{}\"}}", key.reveal(), key.reveal());
        assert_eq!(cut_text(&text), "GET /nxk_…?a=nxt_…&b {\"k\":\"nxk_…\"}");
        assert_eq!(cut(b"nxk_"), "nxk_…".as_bytes());
        assert!(matches!(cut(b"nothing of the sort"), Cow::Borrowed(_)));
        assert_eq!(cut(b""), &b""[..]);
    }
}
