//! Where the streamers and collectors tell how they are: each its own address, decided before anything is started, so that
//! what is shown is what is there.

use std::net::{Ipv4Addr, SocketAddr};

use nexus_common::config::MetricsAddr;

/// The first streamer's port; the collectors' follow.
const FIRST: u16 = 9101;

/// The components' METRICS_ADDR.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Addresses {
    streamers: Vec<String>,
    collectors: Vec<String>,
}

impl Addresses {
    /// The first streamer has the address that was `given`, else 127.0.0.1:9101; collectors and then further streamers have
    /// the next ports that are not `taken`. Port 0 is any port for all of them.
    pub(super) fn choose(
        given: Option<MetricsAddr>,
        streamers: u16,
        collectors: u16,
        taken: impl Fn(u16) -> bool,
    ) -> Addresses {
        let (streamers, collectors) = (usize::from(streamers), usize::from(collectors));
        let first = match given {
            Some(MetricsAddr::Off) => {
                return Addresses {
                    streamers: vec![String::new(); streamers],
                    collectors: vec![String::new(); collectors],
                };
            }
            Some(MetricsAddr::At(address)) => address,
            None => SocketAddr::from((Ipv4Addr::LOCALHOST, FIRST)),
        };
        let any = first.port() == 0;
        // The streamer's port stays its own where there is none: collectors are found where they always are.
        let mut free = (first.port()..=u16::MAX).filter(|port| any || !taken(*port));
        let mut next = || SocketAddr::new(first.ip(), if any { 0 } else { free.next().unwrap_or(0) }).to_string();
        let head = next();
        let collectors: Vec<_> = (0..collectors).map(|_| next()).collect();
        let further: Vec<_> = (1..streamers).map(|_| next()).collect();
        let streamers = std::iter::once(head).chain(further).take(streamers).collect();
        Addresses { streamers, collectors }
    }

    /// Of the `index`-th component of a role; the gateway tells on its own port.
    pub(super) fn of(&self, role: &str, index: u16) -> Option<&str> {
        let of_role = match role {
            "streamer" => &self.streamers,
            "collector" => &self.collectors,
            _ => return None,
        };
        of_role.get(usize::from(index)).map(String::as_str)
    }

    /// For people, the gateway's among them.
    pub(super) fn shown(&self, gateway: u16) -> String {
        let others = self.streamers.iter().chain(&self.collectors);
        let mut shown = vec![format!("http://localhost:{gateway}/metrics")];
        shown.extend(others.clone().filter(|at| is_known(at)).map(|at| format!("http://{at}/metrics")));
        if others.clone().any(|at| !at.is_empty() && !is_known(at)) {
            shown.push("others as their logs say".to_owned());
        }
        shown.join(" ")
    }
}

fn is_known(address: &str) -> bool {
    !address.is_empty() && !address.ends_with(":0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_port_of_its_own() {
        let of = |given: Option<&str>, streamers, collectors| {
            let given = given.map(|text| text.parse().unwrap());
            let Addresses { streamers, collectors } =
                Addresses::choose(given, streamers, collectors, |port| [9103, 9200].contains(&port));
            (streamers.join(" "), collectors.join(" "))
        };
        let both = |streamers: &str, collectors: &str| (streamers.to_owned(), collectors.to_owned());
        assert_eq!(of(None, 1, 1), both("127.0.0.1:9101", "127.0.0.1:9102"));
        assert_eq!(of(None, 0, 1), both("", "127.0.0.1:9102"));
        assert_eq!(of(None, 2, 2), both("127.0.0.1:9101 127.0.0.1:9105", "127.0.0.1:9102 127.0.0.1:9104"));
        assert_eq!(of(Some("0.0.0.0:9200"), 1, 1), both("0.0.0.0:9201", "0.0.0.0:9202"));
        assert_eq!(of(Some("127.0.0.1:0"), 1, 2), both("127.0.0.1:0", "127.0.0.1:0 127.0.0.1:0"));
        assert_eq!(of(Some(""), 1, 1), both("", ""));
    }

    #[test]
    fn what_is_shown_can_be_opened() {
        let shown = |given: &str| Addresses::choose(Some(given.parse().unwrap()), 1, 1, |_| false).shown(8080);
        let gateway = "http://localhost:8080/metrics";
        assert_eq!(
            shown("127.0.0.1:9101"),
            format!("{gateway} http://127.0.0.1:9101/metrics http://127.0.0.1:9102/metrics")
        );
        assert_eq!(shown(""), gateway);
        assert_eq!(shown("127.0.0.1:0"), format!("{gateway} others as their logs say"));
    }
}
