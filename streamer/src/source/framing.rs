//! Where a CSV record ends: a pure look at the bytes at hand.
//!
//! Records are what the `csv` crate takes for them: a quote is special at the start of a field only, two quotes in a
//! quoted field are one, a quoted field may hold line ends, and `\n`, `\r\n` and `\r` end a record. One thing is
//! different: a quote that was never closed must not swallow the rows behind it. So a record of several lines stands
//! only if it is not torn: at most `max_bytes` long, closed before the file ends, with as many fields as the header and
//! nothing but a comma or a line end behind the quote that closes a field. Of a torn record the first line alone is
//! given up, and the next line starts afresh.

use memchr::{memchr, memchr2, memchr3};

/// What a record has to keep to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// The longest record, without its line end.
    pub(crate) max_bytes: usize,
    /// Fields of the header; `None` while that is what is read.
    pub(crate) columns: Option<usize>,
}

/// What the bytes begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scan {
    /// Too few bytes to tell.
    More,
    /// A line end alone, of this many bytes.
    Blank(usize),
    /// A record of `content` bytes; with its line end it is `whole` bytes.
    Record {
        /// Without the line end.
        content: usize,
        /// With the line end.
        whole: usize,
    },
    /// No record: the first line is to be given up.
    Torn(Torn),
}

/// Why the first line is no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Torn {
    /// No end within the longest record.
    TooLong,
    /// The file ends inside quotes.
    Unterminated,
    /// The quotes only close in a later line, and wrongly so.
    Quote,
}

impl Torn {
    /// One line for the person who looks at it.
    pub(crate) fn reason(self, max_bytes: usize) -> String {
        match self {
            Torn::TooLong => format!("no end of the row within {max_bytes} bytes, the limit MAX_ROW_BYTES sets"),
            Torn::Unterminated => "a quote is not closed before the file ends".to_owned(),
            Torn::Quote => "a quote is not closed on its line".to_owned(),
        }
    }
}

/// Looks at what `bytes` begins with; `last` says that nothing will follow them.
pub(crate) fn scan(bytes: &[u8], last: bool, rules: Rules) -> Scan {
    if let Some(b'\n' | b'\r') = bytes.first() {
        return match line_end(bytes, 0, last) {
            Some(length) => Scan::Blank(length),
            None => Scan::More,
        };
    }
    // The verdict must not depend on how many bytes happen to be at hand: never look further than the limit.
    let window = &bytes[..bytes.len().min(rules.max_bytes.saturating_add(1))];
    let (content, fields) = match walk(window, rules) {
        Walk::End { content, fields } => (content, fields),
        Walk::Torn => return Scan::Torn(Torn::Quote),
        Walk::Open { .. } if window.len() > rules.max_bytes => return Scan::Torn(Torn::TooLong),
        Walk::Open { .. } if !last || bytes.is_empty() => return Scan::More,
        Walk::Open { quoted: true, .. } => return Scan::Torn(Torn::Unterminated),
        Walk::Open { quoted: false, fields } => (bytes.len(), fields),
    };
    let Some(ending) = line_end(bytes, content, last) else { return Scan::More };
    let several_lines = || memchr2(b'\n', b'\r', &bytes[..content]).is_some();
    if rules.columns.is_some_and(|columns| columns != fields) && several_lines() {
        return Scan::Torn(Torn::Quote);
    }
    Scan::Record { content, whole: content + ending }
}

/// Length of the line end at `at`, 0 at the end of the file; `None` when the next byte would tell.
pub(crate) fn line_end(bytes: &[u8], at: usize, last: bool) -> Option<usize> {
    match (bytes.get(at), bytes.get(at + 1)) {
        (Some(b'\r'), Some(b'\n')) => Some(2),
        (Some(b'\r'), None) if !last => None,
        (Some(_), _) => Some(1),
        (None, _) => last.then_some(0),
    }
}

enum Walk {
    /// The record's content is this long.
    End { content: usize, fields: usize },
    /// The bytes ended first, inside quotes or not.
    Open { quoted: bool, fields: usize },
    /// A quoted field over several lines that no writer of CSV wrote.
    Torn,
}

fn walk(window: &[u8], rules: Rules) -> Walk {
    let first_end = memchr2(b'\n', b'\r', window).unwrap_or(window.len());
    let mut at = 0;
    let mut fields = 1;
    loop {
        if window.get(at) == Some(&b'"') {
            let Some(closed) = close(window, at + 1) else { return Walk::Open { quoted: true, fields } };
            at = closed;
            let in_order = matches!(window.get(at), None | Some(b',' | b'\n' | b'\r'));
            if at > first_end && !in_order {
                return Walk::Torn;
            }
        }
        let Some(found) = memchr3(b',', b'\n', b'\r', &window[at..]) else {
            return Walk::Open { quoted: false, fields };
        };
        at += found;
        if window[at] != b',' {
            return Walk::End { content: at, fields };
        }
        at += 1;
        fields += 1;
        // Found out early, so that a file full of stray quotes is not scanned a limit's length for each of them.
        if at > first_end && rules.columns.is_some_and(|columns| fields > columns) {
            return Walk::Torn;
        }
    }
}

/// Just behind the quote that closes the field whose content starts at `at`.
fn close(window: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += memchr(b'"', &window[at..])? + 1;
        if window.get(at) != Some(&b'"') {
            return Some(at);
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules { max_bytes: 64, columns: Some(2) };

    fn whole(bytes: &[u8]) -> Scan {
        scan(bytes, true, RULES)
    }

    #[test]
    fn a_record_ends_at_a_line_end_outside_quotes() {
        assert_eq!(whole(b"a,b\nc,d\n"), Scan::Record { content: 3, whole: 4 });
        assert_eq!(whole(b"a,b\r\nc"), Scan::Record { content: 3, whole: 5 });
        assert_eq!(whole(b"a,b\rc"), Scan::Record { content: 3, whole: 4 });
        assert_eq!(whole(b"a,b"), Scan::Record { content: 3, whole: 3 });
        assert_eq!(whole(b"a,\"b\n\"\"c\"\nd"), Scan::Record { content: 9, whole: 10 });
        assert_eq!(whole(b"a\"b,c\n"), Scan::Record { content: 5, whole: 6 });
        assert_eq!(whole(b"\r\na,b"), Scan::Blank(2));
    }

    #[test]
    fn half_a_line_waits() {
        for bytes in [&b""[..], b"a,b", b"a,b\r", b"\r", b"a,\"b\n", b"a,\"b\""] {
            assert_eq!(scan(bytes, false, RULES), Scan::More, "{bytes:?}");
        }
    }

    #[test]
    fn an_open_quote_costs_its_line_only() {
        assert_eq!(whole(b"a,\"b\nc,d\n"), Scan::Torn(Torn::Unterminated));
        assert_eq!(whole(b"\"a\",\"b\n\"c\",\"d\"\n"), Scan::Torn(Torn::Quote));
        assert_eq!(whole(b"\"a\n\"c\",\"d\"\n"), Scan::Torn(Torn::Quote));
        assert_eq!(whole(b"\"a\nb\"\n"), Scan::Torn(Torn::Quote), "one field where the header has two");
    }

    #[test]
    fn the_limit_is_exact_and_the_same_for_any_bytes_at_hand() {
        let mut bytes = vec![b'x'; 64];
        bytes.extend(b"\r\n");
        assert_eq!(whole(&bytes), Scan::Record { content: 64, whole: 66 });
        bytes.insert(0, b'x');
        assert_eq!(whole(&bytes), Scan::Torn(Torn::TooLong));
        assert_eq!(scan(&bytes[..64], false, RULES), Scan::More);
        assert_eq!(scan(&bytes[..65], false, RULES), Scan::Torn(Torn::TooLong));
    }
}
