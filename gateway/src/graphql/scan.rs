//! A look at a query's text before it is parsed (pure): a parser walks what it gets, and walks deep where it is deep.

/// The most bytes of a query.
pub(super) const MAX_BYTES: usize = 64 << 10;

/// The most tokens of a query: names, numbers, texts and signs.
pub(super) const MAX_TOKENS: usize = 4_000;

/// How deep brackets may stand in each other.
pub(super) const MAX_BRACKETS: usize = 60;

/// # Errors
/// One line that names the limit.
pub(super) fn scan(query: &str) -> Result<(), String> {
    if query.len() > MAX_BYTES {
        return Err(format!("the query has {} bytes; at most {MAX_BYTES}", query.len()));
    }
    let bytes = query.as_bytes();
    let (mut at, mut tokens, mut brackets) = (0, 0_usize, 0_usize);
    while let Some(byte) = bytes.get(at) {
        let length = match byte {
            b' ' | b'\t' | b'\n' | b'\r' | b',' => {
                at += 1;
                continue;
            }
            b'#' => {
                at += bytes[at..].iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(bytes.len() - at);
                continue;
            }
            b'"' => text(&query[at..]),
            b'{' | b'[' | b'(' => {
                brackets += 1;
                if brackets > MAX_BRACKETS {
                    return Err(format!("brackets stand more than {MAX_BRACKETS} deep in each other"));
                }
                1
            }
            b'}' | b']' | b')' => {
                brackets = brackets.saturating_sub(1);
                1
            }
            byte if is_word(*byte) => bytes[at..].iter().take_while(|byte| is_word(**byte)).count(),
            _ => 1,
        };
        at += length;
        tokens += 1;
        if tokens > MAX_TOKENS {
            return Err(format!("the query has more than {MAX_TOKENS} tokens (names, numbers, signs); ask in parts"));
        }
    }
    Ok(())
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// How long the text is that starts here; one without an end goes on to the last byte.
fn text(rest: &str) -> usize {
    if let Some(block) = rest.strip_prefix("\"\"\"") {
        let end = block.match_indices("\"\"\"").find(|(at, _)| !block[..*at].ends_with('\\'));
        return end.map_or(rest.len(), |(at, _)| at + 6);
    }
    let mut escaped = false;
    let end = rest.bytes().skip(1).position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.map_or(rest.len(), |at| at + 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_too_much_is_named() {
        let refused = |query: String| scan(&query).unwrap_err();
        assert!(refused(" ".repeat(MAX_BYTES + 1)).contains("65537 bytes; at most 65536"));
        assert!(refused("a ".repeat(MAX_TOKENS + 1)).contains("4000 tokens"));
        assert!(refused("{a".repeat(MAX_BRACKETS + 1)).contains("60 deep"));
        assert!(refused("[".repeat(20_000)).contains("60 deep"));
        assert!(scan(&"a ".repeat(MAX_TOKENS)).is_ok());
        assert!(scan(&"{a}".repeat(1_000)).is_ok());
    }

    #[test]
    fn what_stands_in_texts_and_comments_does_not_count() {
        let brackets = "{".repeat(100);
        for query in [
            format!("{{ a(b: \"{brackets}\") }}"),
            format!("{{ a(b: \"\\\"{brackets}\") }}"),
            format!("{{ a(b: \"\"\"\\\"\"\"{brackets}\"\"\") }}"),
            format!("# {brackets}\n{{ a }}"),
        ] {
            assert_eq!(scan(&query), Ok(()), "{query}");
        }
        assert!(scan(&format!("{{ a(b: \"\\\\\" {brackets} }}")).is_err(), "the text ended before");
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(query in any::<String>()) {
            let _ = scan(&query);
        }

        #[test]
        fn quotes_end_somewhere(query in "[\"\\\\{}a \u{e4}\n#]{0,40}") {
            let _ = scan(&query);
        }
    }
}
