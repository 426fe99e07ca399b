//! Ports of this machine.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use super::Error;

/// Below the ports that a system gives to whoever asks for any: clients' ends of connections have those, and listeners on
/// port 0, so that one of them may be taken between the look and the use, or while a server is started again.
const QUIET: Range<u32> = 10_000..32_768;

/// A port of 127.0.0.1 that nobody listens on now, and, where there are quiet ones, that this process was not given lately.
/// Another process may take it before it is used: whoever starts a server on it has to be ready to ask again.
///
/// # Errors
/// Where the system has none.
pub fn free() -> Result<u16, Error> {
    // Each process begins somewhere else, and goes on from there.
    static NEXT: LazyLock<AtomicU32> = LazyLock::new(|| AtomicU32::new(RandomState::new().hash_one(0) as u32));
    if is_quiet(given_away().as_deref()) {
        for _ in QUIET {
            let at = NEXT.fetch_add(1, Ordering::Relaxed) % (QUIET.end - QUIET.start);
            if let Some(port) = u16::try_from(QUIET.start + at).ok().filter(|port| !taken(*port)) {
                return Ok(port);
            }
        }
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Error::io("looking for a free port"))?;
    Ok(listener.local_addr().map_err(Error::io("looking for a free port"))?.port())
}

/// From where to where Linux gives ports away by itself.
fn given_away() -> Option<String> {
    fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()
}

/// Whether the system gives away none of those by itself (pure): Linux says from where to where it does, others begin far
/// above.
fn is_quiet(given_away: Option<&str>) -> bool {
    let lowest = given_away.and_then(|range| range.split_whitespace().next()?.parse::<u32>().ok());
    lowest.is_none_or(|lowest| lowest >= QUIET.end)
}

/// Whether somebody listens on this port already.
pub fn taken(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_quiet_port_is_given_twice_in_a_row() {
        if !is_quiet(given_away().as_deref()) {
            return;
        }
        let ports: std::collections::BTreeSet<_> = (0..200).map(|_| free().unwrap()).collect();
        assert_eq!(ports.len(), 200);
    }

    #[test]
    fn ports_that_the_system_gives_away_are_left_to_it() {
        assert!(is_quiet(Some("32768\t60999\n")) && is_quiet(None));
        assert!(!is_quiet(Some("1024\t65535\n")));
    }
}
