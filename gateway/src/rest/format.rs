//! Which form an answer has: what `format=` says, or else what the caller accepts best.

use std::str::FromStr;

use axum::http::{HeaderMap, header};

use super::problem::Problem;

/// The forms of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Format {
    /// One document: `{"items": [...], "next_cursor": ...}`.
    Json,
    /// One item a line.
    Ndjson,
    /// One row an item, under a row of names.
    Csv,
}

/// A form with the word of `format=` and its media types, the first one ours. JSON stands first: it is what those get
/// who take anything.
const FORMS: [(Format, &str, &[&str]); 3] = [
    (Format::Json, "json", &["application/json"]),
    (Format::Ndjson, "ndjson", &["application/x-ndjson", "application/ndjson", "application/jsonl"]),
    (Format::Csv, "csv", &["text/csv"]),
];

impl Format {
    /// Of a request: `given` is `format=`.
    pub(super) fn of(given: Option<&str>, headers: &HeaderMap) -> Result<Self, Problem> {
        if let Some(word) = given {
            let found = FORMS.iter().find(|(_, known, _)| *known == word).map(|(format, ..)| *format);
            return found.ok_or_else(|| Problem::parameter("format", "write json, ndjson or csv"));
        }
        let accept: Vec<_> = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
        best(&accept.join(",")).ok_or_else(|| {
            let known = FORMS.map(|(_, _, types)| types[0]).join(", ");
            Problem::not_acceptable(format!("Accept names nothing there is; there are: {known}; or write format=json"))
        })
    }
}

/// The form that a list of media ranges likes best: by weight, then by how exactly it is named, then by who is named
/// first. Nothing at all is anything.
fn best(accept: &str) -> Option<Format> {
    let ranges: Vec<Range<'_>> = accept.split(',').filter_map(|text| Range::read(text.trim())).collect();
    if ranges.is_empty() && accept.trim().trim_matches(',').is_empty() {
        return Some(Format::Json);
    }
    let mut best: Option<(Rank, Format)> = None;
    for (format, _, types) in FORMS {
        // The most exact range decides on a form, whatever the others say.
        let named = ranges.iter().enumerate().filter_map(|(at, range)| Some((range.exactness(types)?, at, range)));
        let named = named.max_by_key(|(exactness, at, _)| (*exactness, usize::MAX - at));
        let Some((exactness, at, range)) = named.filter(|(_, _, range)| range.weight > 0) else { continue };
        let rank = (range.weight, exactness, usize::MAX - at);
        if best.is_none_or(|(other, _)| rank > other) {
            best = Some((rank, format));
        }
    }
    best.map(|(_, format)| format)
}

/// Weight, exactness, and how early it was named.
type Rank = (u16, u8, usize);

/// One media range of an `Accept`.
struct Range<'a> {
    family: &'a str,
    kind: &'a str,
    /// Thousandths.
    weight: u16,
}

impl<'a> Range<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let (family, kind) = parts.next()?.split_once('/')?;
        let weight = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
        let weight = weight.map_or(Some(1.0), |weight| f64::from_str(weight).ok())?;
        if !(0.0..=1.0).contains(&weight) {
            return None;
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // from 0 to 1000
        let weight = (weight * 1e3).round() as u16;
        Some(Range { family, kind, weight })
    }

    /// How exactly it names one of these media types, if it does.
    fn exactness(&self, types: &[&str]) -> Option<u8> {
        let of = |name: &str| {
            let (family, kind) = name.split_once('/')?;
            match (self.family, self.kind) {
                ("*", "*") => Some(0),
                (given, "*") if given.eq_ignore_ascii_case(family) => Some(1),
                (given, other) if given.eq_ignore_ascii_case(family) && other.eq_ignore_ascii_case(kind) => Some(2),
                _ => None,
            }
        };
        types.iter().filter_map(|name| of(name)).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_best_that_is_accepted_is_chosen() {
        for (accept, format) in [
            ("", Some(Format::Json)),
            ("*/*", Some(Format::Json)),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Some(Format::Json)),
            ("text/csv", Some(Format::Csv)),
            ("Text/CSV; header=present", Some(Format::Csv)),
            ("text/csv, */*", Some(Format::Csv)),
            ("text/*", Some(Format::Csv)),
            ("application/*", Some(Format::Json)),
            ("application/x-ndjson", Some(Format::Ndjson)),
            ("application/jsonl", Some(Format::Ndjson)),
            ("text/csv;q=0.5, application/json;q=0.9", Some(Format::Json)),
            ("application/json;q=0.5, text/csv", Some(Format::Csv)),
            ("text/csv, application/json", Some(Format::Csv)),
            ("*/*, application/json;q=0", Some(Format::Ndjson)),
            ("application/json;q=0", None),
            ("text/html", None),
            ("nonsense", None),
        ] {
            assert_eq!(best(accept), format, "{accept}");
        }
    }

    #[test]
    fn the_parameter_wins() {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, "text/csv".parse().unwrap());
        assert_eq!(Format::of(Some("ndjson"), &headers).unwrap(), Format::Ndjson);
        assert_eq!(Format::of(None, &headers).unwrap(), Format::Csv);
        assert!(Format::of(Some("xml"), &headers).is_err());
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(text in any::<String>()) {
            let _ = best(&text);
        }
    }
}
