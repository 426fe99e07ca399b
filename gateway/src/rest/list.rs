//! A part of a list, in the form the caller wants it.
//!
//! As JSON the page says where the next one starts; the other forms have no room for that, so that it stands in the
//! headers of every form: `Link: <...>; rel="next"`, and `x-next-cursor`. A page of buckets says their step likewise.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

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

/// A page of buckets.
#[derive(Serialize)]
struct Stepped<'a, T, S> {
    #[serde(flatten)]
    page: &'a Page<T>,
    step: String,
    step_seconds: S,
}

impl<T: Row> List<T> {
    fn body(&self) -> anyhow::Result<(&'static str, Vec<u8>)> {
        let (shape, page) = (&self.shape, &self.page);
        let room = || Vec::with_capacity(T::ROOM * (page.items.len() + 1));
        Ok(match (shape.format, shape.step) {
            (Format::Json, None) => {
                let mut body = room();
                serde_json::to_writer(&mut body, page)?;
                ("application/json", body)
            }
            (Format::Json, Some(step)) => {
                let stepped = Stepped { page, step: step.to_string(), step_seconds: step.seconds() };
                let mut body = room();
                serde_json::to_writer(&mut body, &stepped)?;
                ("application/json", body)
            }
            (Format::Ndjson, _) => {
                let mut body = room();
                for item in &page.items {
                    serde_json::to_writer(&mut body, item)?;
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
    use super::*;

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
