//! Ports of this machine.

use std::net::{Ipv4Addr, TcpListener};

use super::Error;

/// A port of 127.0.0.1 that nobody listens on now. Somebody may take it before it is used: whoever starts a server on
/// it has to be ready to ask again.
///
/// # Errors
/// Where the system has none.
pub fn free() -> Result<u16, Error> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Error::io("looking for a free port"))?;
    Ok(listener.local_addr().map_err(Error::io("looking for a free port"))?.port())
}

/// Whether somebody listens on this port already.
pub fn taken(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err()
}
