//! Where the feed is, and what is asked of it. Pure.

use std::fmt;

use nexus_common::config::Invalid;
use reqwest::Url;

use super::Options;

/// A gateway's WebSocket, with what was asked for.
#[derive(Debug)]
pub(super) struct Address {
    url: Url,
    given: String,
}

impl Address {
    /// What the options ask for.
    pub(super) fn of(options: &Options) -> Result<Self, Invalid> {
        let given = options.gateway.trim().trim_end_matches('/').to_owned();
        let wrong = |reason: &str| Invalid(format!("--gateway {given:?}: {reason}; write it as http://localhost:8080"));
        let mut url = Url::parse(&given).map_err(|error| wrong(&error.to_string()))?;
        let scheme = match url.scheme() {
            "http" | "ws" => "ws",
            "https" | "wss" => "wss",
            _ => return Err(wrong("that is no HTTP address")),
        };
        if url.host_str().is_none_or(str::is_empty) || url.set_scheme(scheme).is_err() {
            return Err(wrong("it names no host"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("it has more than a host, a port and a path"));
        }
        let path = format!("{}/ws", url.path().trim_end_matches('/'));
        url.set_path(&path);
        let metrics = options.metric.join(",");
        let mode = if options.all { "all" } else { "latest" };
        let asked = [
            ("mode", Some(mode)),
            ("cluster_id", options.cluster.as_deref()),
            ("host_id", options.host.as_deref()),
            ("gpu_id", options.gpu.as_deref()),
            ("metrics", Some(metrics.as_str()).filter(|metrics| !metrics.is_empty())),
        ];
        let asked = asked.into_iter().filter_map(|(name, value)| Some((name, value?)));
        url.query_pairs_mut().extend_pairs(asked);
        Ok(Address { url, given })
    }

    /// The same from a position on.
    pub(super) fn url(&self, since: Option<&str>) -> Url {
        let mut url = self.url.clone();
        if let Some(since) = since {
            url.query_pairs_mut().append_pair("since", since);
        }
        url
    }
}

/// As the user wrote it.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.given)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        options: Options,
    }

    fn address(arguments: &[&str]) -> Result<Address, String> {
        let program = Program::try_parse_from([&["tail"], arguments].concat()).unwrap();
        Address::of(&program.options).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_asked_for_stands_in_the_address() {
        let given = ["--gateway", "http://gw:8080/", "--host", "a b", "--gpu", "0", "--metric", "x", "--metric", "y&z"];
        let address = address(&given).unwrap();
        assert_eq!(
            address.url(Some("ab.1")).as_str(),
            "ws://gw:8080/ws?mode=latest&host_id=a+b&gpu_id=0&metrics=x%2Cy%26z&since=ab.1"
        );
        assert_eq!(address.to_string(), "http://gw:8080");
    }

    #[test]
    fn https_is_a_websocket_over_tls() {
        let address = address(&["--gateway", "https://gw"]).unwrap();
        assert_eq!(address.url(None).as_str(), "wss://gw/ws?mode=latest");
    }

    #[test]
    fn a_path_in_front_is_kept() {
        let address = address(&["--gateway", "http://gw/nexus/", "--all", "--cluster", "c"]).unwrap();
        assert_eq!(address.url(None).as_str(), "ws://gw/nexus/ws?mode=all&cluster_id=c");
    }

    #[test]
    fn an_address_that_cannot_work_is_one_line() {
        for given in ["", "gw", "gw:8080", "ftp://gw", "http://", "http://gw?x=1", "http://gw:99999"] {
            let said = address(&["--gateway", given]).unwrap_err();
            assert!(said.starts_with("--gateway") && !said.contains('\n'), "{given}: {said}");
        }
    }
}
