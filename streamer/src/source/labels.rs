//! Prometheus label lists: `name="value",…`, as the `labels_raw` column holds them.

use std::borrow::Cow;

/// Calls `take` with each label in turn; an error says what is wrong with the list.
///
/// Braces around the list, blanks between labels, a comma behind the last and values without quotes are all fine.
/// In quotes `\\`, `\"` and `\n` are escapes, and a backslash before anything else is itself.
pub(crate) fn each<'a>(list: &'a str, mut take: impl FnMut(&'a str, Cow<'a, str>)) -> Result<(), String> {
    let list = list.trim_ascii();
    let mut rest = list.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')).unwrap_or(list).trim_ascii();
    while !rest.is_empty() {
        let equals = memchr::memchr(b'=', rest.as_bytes()).ok_or("labels: a name without =")?;
        let (name, after) = (rest[..equals].trim_ascii(), &rest[equals + 1..]);
        if name.is_empty() {
            return Err("labels: a value without a name".to_owned());
        }
        let after = after.trim_ascii_start();
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => unquote(quoted).ok_or("labels: a quote is not closed")?,
            None => {
                let end = after.find(',').unwrap_or(after.len());
                (Cow::Borrowed(after[..end].trim_ascii_end()), &after[end..])
            }
        };
        take(name, value);
        let after = after.trim_ascii_start();
        rest = match after.strip_prefix(',') {
            Some(rest) => rest.trim_ascii_start(),
            None if after.is_empty() => after,
            None => return Err(format!("labels: no comma behind {name}")),
        };
    }
    Ok(())
}

/// The value up to the quote that closes it, and what follows that quote.
fn unquote(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let end = memchr::memchr2(b'"', b'\\', text.as_bytes())?;
    if text.as_bytes()[end] == b'"' {
        return Some((Cow::Borrowed(&text[..end]), &text[end + 1..]));
    }
    let mut value = text[..end].to_owned();
    let mut rest = text[end..].chars();
    loop {
        match rest.next()? {
            '"' => return Some((Cow::Owned(value), rest.as_str())),
            '\\' => match rest.next()? {
                'n' => value.push('\n'),
                escaped @ ('"' | '\\') => value.push(escaped),
                other => value.extend(['\\', other]),
            },
            other => value.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(list: &str) -> Result<Vec<(String, String)>, String> {
        let mut found = Vec::new();
        each(list, |name, value| found.push((name.to_owned(), value.into_owned())))?;
        Ok(found)
    }

    fn pairs(pairs: &[(&str, &str)]) -> Result<Vec<(String, String)>, String> {
        Ok(pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    #[test]
    fn a_list_is_read_in_order() {
        assert_eq!(all(r#"a="1",b="x,y=""#).map(|found| found.len()), Ok(2));
        assert_eq!(all(r#"{a="1", b="a \"q\" \\ \n \d",}"#), pairs(&[("a", "1"), ("b", "a \"q\" \\ \n \\d")]));
        assert_eq!(all("a=1, b=two words"), pairs(&[("a", "1"), ("b", "two words")]));
        assert_eq!(all(""), pairs(&[]));
    }

    #[test]
    fn a_broken_list_says_where() {
        assert_eq!(all("a"), Err("labels: a name without =".to_owned()));
        assert_eq!(all("=1"), Err("labels: a value without a name".to_owned()));
        assert_eq!(all("a=\"1"), Err("labels: a quote is not closed".to_owned()));
        assert_eq!(all("a=\"1\"b=\"2\""), Err("labels: no comma behind a".to_owned()));
    }

    proptest! {
        #[test]
        fn any_value_survives(value in any::<String>()) {
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let list = format!("a=\"{escaped}\",b=\"1\"");
            prop_assert_eq!(all(&list), pairs(&[("a", &value), ("b", "1")]));
        }
    }
}
