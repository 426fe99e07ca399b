//! Which pages may open a WebSocket. A browser asks nobody before it does (CORS does not hold for it) and sends the
//! page's origin; programs send none.

use axum::http::{HeaderMap, header};

/// Whether a request with these headers may connect: from a program, from a page of this very server, or from one of the
/// origins that may read answers.
pub(super) fn allowed(headers: &HeaderMap, origins: &[String]) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let Ok(origin) = origin.to_str() else { return false };
    let same = |allowed: &String| {
        let allowed = allowed.trim().trim_end_matches('/');
        allowed == "*" || allowed.eq_ignore_ascii_case(origin)
    };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let own = origin.split_once("://").zip(host).is_some_and(|((_, place), host)| place.eq_ignore_ascii_case(host));
    own || origins.iter().any(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(origin: Option<&str>, host: &str, origins: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        allowed(&headers, &origins.iter().map(|&origin| origin.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn pages_connect_from_here_and_from_where_they_may() {
        assert!(of(None, "gw:8080", &[]), "a program");
        assert!(of(Some("http://gw:8080"), "gw:8080", &[]), "a page of ours");
        assert!(!of(Some("http://gw:8081"), "gw:8080", &[]), "another port");
        assert!(!of(Some("http://evil.example"), "gw:8080", &[]));
        assert!(!of(Some("null"), "gw:8080", &["http://ok.example"]));
        assert!(of(Some("http://ok.example"), "gw:8080", &["http://other.example", " http://OK.example/"]));
        assert!(of(Some("http://evil.example"), "gw:8080", &["*"]));
    }
}
