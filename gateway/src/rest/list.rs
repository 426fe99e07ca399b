//! A part of a list, in the form the caller wants it.
//!
//! As JSON the page says where the next one starts; the other forms have no room for that, so that it stands in the
//! headers of every form: `Link: <...>; rel="next"`, and `x-next-cursor`. A page of buckets says their step likewise.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::to_writer;

use super::format::Format;
use super::problem::Problem;
use super::query::Query;
use super::table::{self, Row};
use crate::read::{Cursor, Page, Step};

/// The cursor of the next page.
pub(super) const NEXT: HeaderName = HeaderName::from_static("x-next-cursor");
/// The step of the buckets.
pub(super) const STEP: HeaderName = HeaderName::from_static("x-step");

/// What a handler answers.
pub(super) type Answer<T> = Result<List<T>, Problem>;

/// A question for a list.
#[derive(Debug)]
pub(super) struct Ask {
    uri: Uri,
    headers: HeaderMap,
}

impl<S: Send + Sync> FromRequestParts<S> for Ask {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Ask { uri: parts.uri.clone(), headers: parts.headers.clone() })
    }
}

impl Ask {
    /// The parameters, of which these are known besides `format`, and the form of the answer.
    pub(super) fn read(self, known: &[&[&str]]) -> Result<(Query, Shape), Problem> {
        let query = Query::of(&self.uri, &[known, &[&["format"]]].concat())?;
        let format = Format::of(query.text("format"), &self.headers)?;
        Ok((query, Shape { uri: self.uri, format, step: None, metrics: None }))
    }
}

/// What an answer will look like, settled before the database is bothered.
#[derive(Debug)]
pub(super) struct Shape {
    uri: Uri,
    format: Format,
    step: Option<Step>,
    metrics: Option<Vec<String>>,
}

impl Shape {
    /// What was asked.
    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// In which form it is answered.
    pub(super) fn format(&self) -> Format {
        self.format
    }

    /// Buckets of this length.
    pub(super) fn step(self, step: Option<Step>) -> Self {
        Shape { step, ..self }
    }

    /// These metrics were asked for.
    pub(super) fn metrics(self, metrics: Option<Vec<String>>) -> Self {
        Shape { metrics, ..self }
    }

    /// The answer.
    pub(super) fn list<T>(self, page: Page<T>) -> List<T> {
        List { shape: self, page }
    }
}

/// One page in its form.
#[derive(Debug)]
pub(super) struct List<T> {
    shape: Shape,
    page: Page<T>,
}

impl<T: Row> List<T> {
    fn body(&self) -> anyhow::Result<(&'static str, Vec<u8>)> {
        let (shape, page) = (&self.shape, &self.page);
        let room = || Vec::with_capacity(T::ROOM * (page.items.len() + 1));
        Ok(match (shape.format, shape.step) {
            (Format::Json, step) => {
                let mut body = room();
                json(&mut body, page, step)?;
                ("application/json", body)
            }
            (Format::Ndjson, _) => {
                let mut body = room();
                for item in &page.items {
                    item.json(&mut body)?;
                    body.push(b'\n');
                }
                ("application/x-ndjson", body)
            }
            (Format::Csv, _) => {
                ("text/csv; charset=utf-8; header=present", table::csv(&page.items, shape.metrics.as_deref())?)
            }
        })
    }
}

/// The page as serde writes it, and the step of its buckets.
fn json<T: Row>(body: &mut Vec<u8>, page: &Page<T>, step: Option<Step>) -> serde_json::Result<()> {
    body.extend_from_slice(b"{\"items\":[");
    for (at, item) in page.items.iter().enumerate() {
        if at > 0 {
            body.push(b',');
        }
        item.json(body)?;
    }
    body.extend_from_slice(b"],\"next_cursor\":");
    to_writer(&mut *body, &page.next_cursor)?;
    if let Some(step) = step {
        body.extend_from_slice(b",\"step\":");
        to_writer(&mut *body, &step.to_string())?;
        body.extend_from_slice(b",\"step_seconds\":");
        to_writer(&mut *body, &step.seconds())?;
    }
    body.push(b'}');
    Ok(())
}

/// A page as it is sent.
#[derive(Debug)]
pub(super) struct Written {
    /// What was asked.
    pub(super) uri: Uri,
    /// Its media type.
    pub(super) kind: &'static str,
    pub(super) body: Vec<u8>,
    /// Where the next page starts.
    pub(super) next: Option<Cursor>,
    pub(super) step: Option<Step>,
}

impl<T: Row> List<T> {
    /// Puts it in its form.
    pub(super) fn write(self) -> Result<Written, Problem> {
        let (kind, body) =
            self.body().map_err(|error| Problem::internal(format!("an answer cannot be written: {error:#}")))?;
        Ok(Written { uri: self.shape.uri, kind, body, next: self.page.next_cursor, step: self.shape.step })
    }
}

impl<T: Row> IntoResponse for List<T> {
    fn into_response(self) -> Response {
        self.write().into_response()
    }
}

impl IntoResponse for Written {
    fn into_response(self) -> Response {
        let Written { uri, kind, body, next, step } = self;
        let mut response = ([(header::CONTENT_TYPE, HeaderValue::from_static(kind))], body).into_response();
        let mut say = |name, text: String| {
            if let Ok(value) = HeaderValue::try_from(text) {
                response.headers_mut().insert(name, value);
            }
        };
        if let Some(next) = &next {
            say(header::LINK, link(&uri, next));
            say(NEXT, next.to_string());
        }
        if let Some(step) = step {
            say(STEP, step.to_string());
        }
        response
    }
}

/// The same question with the next page's cursor.
fn link(uri: &Uri, next: &Cursor) -> String {
    let kept = uri.query().unwrap_or_default().split('&').filter(|pair| {
        let name = pair.split('=').next().unwrap_or_default();
        !pair.is_empty() && name != "cursor"
    });
    let mut link = format!("<{}?", plain(uri.path()));
    for pair in kept {
        link.push_str(&plain(pair));
        link.push('&');
    }
    format!("{link}cursor={next}>; rel=\"next\"")
}

/// Nothing that would end the link or cannot stand in a header.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>' | b'"') {
            plain.push(char::from(byte));
        } else {
            plain.push_str(&format!("%{byte:02X}"));
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_page_is_written_as_serde_does() {
        #[derive(serde::Serialize)]
        struct Item(u8);
        impl Row for Item {
            const FIELDS: &'static [&'static str] = &[];
        }
        let cursor: Cursor = "eyJuIjpbImEiLCIiXX0".parse().unwrap();
        for (items, next_cursor) in [(0, None), (1, None), (3, Some(cursor))] {
            let page = Page { next_cursor, ..Page::whole((0..items).map(Item).collect()) };
            let (mut plain, mut stepped) = (Vec::new(), Vec::new());
            json(&mut plain, &page, None).unwrap();
            assert_eq!(String::from_utf8(plain).unwrap(), serde_json::to_string(&page).unwrap());
            json(&mut stepped, &page, Step::new(Duration::from_secs(90)).ok()).unwrap();
            let mut whole = serde_json::to_string(&page).unwrap();
            whole.insert_str(whole.len() - 1, r#","step":"90s","step_seconds":90"#);
            assert_eq!(String::from_utf8(stepped).unwrap(), whole);
        }
    }

    #[test]
    fn a_link_asks_the_same_question_further_on() {
        let cursor: Cursor = "eyJuIjpbImEiLCIiXX0".parse().unwrap();
        let of = |uri: &str| link(&uri.parse().unwrap(), &cursor);
        assert_eq!(of("/api/v1/clusters"), "</api/v1/clusters?cursor=eyJuIjpbImEiLCIiXX0>; rel=\"next\"");
        assert_eq!(
            of("/api/v1/hosts?cursor=old&limit=2&cluster_id=%3E"),
            "</api/v1/hosts?limit=2&cluster_id=%3E&cursor=eyJuIjpbImEiLCIiXX0>; rel=\"next\""
        );
    }
}
