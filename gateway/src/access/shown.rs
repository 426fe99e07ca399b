//! What a request shows of who sends it (pure): a key, a ticket, and the address it came from.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderValue, Uri, header};
use nexus_common::identity::Key;

use super::config::Network;

/// In front of a key among a WebSocket's protocols: the one header that a page can write there.
const PROTOCOL: &str = "nexus.key.";
/// The parameter that holds a ticket.
pub(crate) const TICKET: &str = "ticket";

/// What a request shows.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Shown {
    Nothing,
    Key(Key),
    Ticket(String),
    /// Something that is meant to be a key, and is none.
    NoKey,
}

impl Shown {
    /// Of a request. A key goes before a ticket, and of keys that of `Authorization`.
    pub(super) fn of(headers: &HeaderMap, uri: &Uri) -> Self {
        if let Some(bearer) = headers.get_all(header::AUTHORIZATION).iter().find_map(|value| bearer(value.as_bytes())) {
            return Shown::key(bearer);
        }
        let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
        let mut offered = offered.flat_map(|value| value.split(',')).map(str::trim);
        if let Some(key) = offered.find_map(|one| one.strip_prefix(PROTOCOL)) {
            return Shown::key(key);
        }
        let pairs = uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
        let ticket = pairs.into_iter().find(|(name, value)| *name == TICKET && !value.is_empty());
        ticket.map_or(Shown::Nothing, |(_, ticket)| Shown::Ticket(ticket.to_owned()))
    }

    /// Of what a GraphQL client says in `connection_init`.
    pub(super) fn of_greeting(greeting: &serde_json::Value) -> Self {
        let said = greeting.as_object().into_iter().flatten();
        let mut said = said.filter(|(name, _)| name.eq_ignore_ascii_case("authorization"));
        let Some((_, value)) = said.next() else { return Shown::Nothing };
        value.as_str().and_then(|value| bearer(value.as_bytes())).map_or(Shown::NoKey, Shown::key)
    }

    fn key(text: &str) -> Self {
        text.parse().map_or(Shown::NoKey, Shown::Key)
    }
}

/// What stands behind `Bearer`. Other schemes are none of ours: a proxy may have sent them.
fn bearer(value: &[u8]) -> Option<&str> {
    // What is no text is no key either.
    let value = std::str::from_utf8(value).unwrap_or("Bearer ?");
    let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
    scheme.eq_ignore_ascii_case("bearer").then_some(rest.trim())
}

/// What a proxy names its client in.
pub(super) const FORWARDED: &str = "x-forwarded-for";

/// Who is at the other end: the peer, or behind a proxy that is trusted whom that names. Each hop appends whom it saw, so
/// the list is read from its end, past those that are trusted; what anybody else wrote in front is not believed.
pub(super) fn client(peer: IpAddr, headers: &HeaderMap, proxies: &[Network]) -> IpAddr {
    let trusted = |address: IpAddr| proxies.iter().any(|network| network.holds(address));
    let mut client = peer.to_canonical();
    // As bytes: what somebody wrote in front must not hide what the proxy wrote behind it.
    let lines = headers.get_all(FORWARDED).iter().rev().map(HeaderValue::as_bytes);
    for named in lines.flat_map(|line| line.rsplit(|byte| *byte == b',')) {
        if !trusted(client) {
            break;
        }
        let named = std::str::from_utf8(named).ok().and_then(|named| address(named.trim()));
        let Some(address) = named else { break };
        client = address.to_canonical();
    }
    client
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`.
fn address(text: &str) -> Option<IpAddr> {
    let with_port = || text.parse::<std::net::SocketAddr>().ok().map(|address| address.ip());
    text.parse().ok().or_else(with_port).or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nexus_common::identity::Role;
    use serde_json::json;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        pairs.collect::<Vec<(header::HeaderName, header::HeaderValue)>>().into_iter().collect()
    }

    #[test]
    fn a_key_is_shown_in_a_header_or_among_the_protocols() {
        let key = Key::new(Role::Reader);
        let of = |name, value: &str| Shown::of(&headers(&[(name, value)]), &Uri::from_static("/ws?a=1"));
        let shown = || Shown::Key(key.clone());
        assert_eq!(of("authorization", &format!("Bearer {}", key.reveal())), shown());
        assert_eq!(of("authorization", &format!("bearer  {} ", key.reveal())), shown());
        assert_eq!(of("sec-websocket-protocol", &format!("nexus, nexus.key.{}", key.reveal())), shown());
        assert_eq!(of("authorization", "Bearer"), Shown::NoKey);
        assert_eq!(of("authorization", "Bearer secret"), Shown::NoKey);
        assert_eq!(of("sec-websocket-protocol", "nexus.key.secret"), Shown::NoKey);
        assert_eq!(of("sec-websocket-protocol", "graphql-transport-ws"), Shown::Nothing);
        assert_eq!(of("authorization", "Basic dXNlcjpwYXNz"), Shown::Nothing, "a proxy's");
        let url = format!("/ws?key={}", key.reveal()).parse().unwrap();
        assert_eq!(Shown::of(&HeaderMap::new(), &url), Shown::Nothing, "never in a URL");
    }

    #[test]
    fn a_ticket_stands_in_the_url() {
        let of = |uri| Shown::of(&HeaderMap::new(), &Uri::from_static(uri));
        assert_eq!(of("/ws?x=1&ticket=nxt_a"), Shown::Ticket("nxt_a".to_owned()));
        assert_eq!(of("/ws?ticket="), Shown::Nothing);
        assert_eq!(of("/ws"), Shown::Nothing);
    }

    #[test]
    fn a_greeting_may_hold_a_key() {
        let key = Key::new(Role::Reader);
        for name in ["authorization", "Authorization"] {
            let greeting = json!({ name: format!("Bearer {}", key.reveal()) });
            assert_eq!(Shown::of_greeting(&greeting), Shown::Key(key.clone()));
        }
        assert_eq!(Shown::of_greeting(&json!(null)), Shown::Nothing);
        assert_eq!(Shown::of_greeting(&json!({"other": 1})), Shown::Nothing);
        assert_eq!(Shown::of_greeting(&json!({"authorization": 1})), Shown::NoKey);
        assert_eq!(Shown::of_greeting(&json!({"authorization": key.reveal()})), Shown::NoKey);
    }

    #[test]
    fn only_trusted_proxies_say_who_comes() {
        let proxies = ["10.0.0.0/8".parse().unwrap(), "127.0.0.1".parse().unwrap()];
        let of = |peer: &str, named: &[(&'static str, &str)], proxies: &[Network]| {
            client(peer.parse().unwrap(), &headers(named), proxies).to_string()
        };
        let forwarded = [("x-forwarded-for", "192.0.2.66, 192.0.2.1, 10.0.0.7")];
        assert_eq!(of("127.0.0.1", &forwarded, &[]), "127.0.0.1", "nobody is trusted");
        assert_eq!(of("198.51.100.1", &forwarded, &proxies), "198.51.100.1", "that one is not");
        assert_eq!(of("127.0.0.1", &forwarded, &proxies), "192.0.2.1", "whom the last trusted one saw");
        assert_eq!(of("127.0.0.1", &[], &proxies), "127.0.0.1");
        assert_eq!(of("127.0.0.1", &[("x-forwarded-for", "nonsense, 10.0.0.7")], &proxies), "10.0.0.7");
        assert_eq!(of("127.0.0.1", &[("x-forwarded-for", "[2001:db8::1]:80")], &proxies), "2001:db8::1");
        let lines = [("x-forwarded-for", "192.0.2.66"), ("x-forwarded-for", "192.0.2.1")];
        assert_eq!(of("127.0.0.1", &lines, &proxies), "192.0.2.1");
        let no_text = HeaderValue::from_bytes(b"\xe9, 192.0.2.1").unwrap();
        let line = HeaderMap::from_iter([(header::HeaderName::from_static(FORWARDED), no_text)]);
        assert_eq!(client([127, 0, 0, 1].into(), &line, &proxies).to_string(), "192.0.2.1", "it hides nobody");
    }
}
