//! The pages that people open in a browser, carried in the binary: nothing is loaded from elsewhere.
//!
//! `gateway/web` builds the GraphQL playground into `dist/`: one page, which is never kept, and the files it names.
//! Those carry a hash of their content in their name, so a browser may keep them for ever. A gateway that was built
//! without Node has no such files; its page says how to get them.

use std::borrow::Cow;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use rust_embed::RustEmbed;

use crate::rest::{Problem, Tail};

/// What `make build-web` made before this was compiled; empty where it did not run.
#[derive(RustEmbed)]
#[folder = "web/dist"]
#[allow_missing = true]
struct Built;

/// The page of a gateway without the playground.
const NOT_BUILT: &str = include_str!("not_built.html");

/// A year: what is named after its content never changes.
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// The page at `GET /graphql`.
pub(crate) fn playground() -> Response {
    page(Built::get("index.html").map(|file| file.data))
}

/// `GET /graphql/assets/{*path}`: a file that the page names.
pub(crate) async fn asset(Tail(path): Tail, headers: HeaderMap) -> Response {
    match Built::get(&format!("assets/{path}")) {
        Some(file) => kept(&path, file.data, &file.metadata.sha256_hash(), &headers),
        None => Problem::no_route(&format!("/graphql/assets/{path}")).into_response(),
    }
}

/// The page names the files of this very build: it has to be asked for each time.
fn page(built: Option<Cow<'static, [u8]>>) -> Response {
    let revalidated = [(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"))];
    let built = built.unwrap_or(Cow::Borrowed(NOT_BUILT.as_bytes()));
    (revalidated, Html(built)).into_response()
}

/// The file, or 304 where the client has it.
fn kept(name: &str, data: Cow<'static, [u8]>, hash: &[u8], asked: &HeaderMap) -> Response {
    let tag = tag(hash);
    let about = [(header::ETAG, tag.clone()), (header::CACHE_CONTROL, FOR_EVER)];
    if asked.get_all(header::IF_NONE_MATCH).iter().any(|known| names(known, &tag)) {
        return (StatusCode::NOT_MODIFIED, about).into_response();
    }
    (about, [(header::CONTENT_TYPE, content_type(name))], data).into_response()
}

/// A strong entity tag: the beginning of the content's SHA-256.
fn tag(hash: &[u8]) -> HeaderValue {
    let digits: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    HeaderValue::try_from(format!("\"{digits}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

/// Whether an `If-None-Match` names the tag. The comparison is the weak one, as RFC 9110 asks here.
fn names(known: &HeaderValue, tag: &HeaderValue) -> bool {
    let (Ok(known), Ok(tag)) = (known.to_str(), tag.to_str()) else { return false };
    known.split(',').map(str::trim).any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
}

/// By the ending: what the build makes. A browser told not to guess takes nothing else for a script or a style.
fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("html") => "text/html; charset=utf-8",
        Some("json" | "map") => "application/json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ttf") => "font/ttf",
        Some("woff2") => "font/woff2",
        Some("wasm") => "application/wasm",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests;
