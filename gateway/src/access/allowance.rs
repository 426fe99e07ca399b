//! How often somebody may ask on a connection that is open already: what goes over one WebSocket is counted as requests
//! are, and in the same bucket. Else whoever wants more than RATE_LIMIT would open one and ask there.

use axum::http::HeaderMap;

use super::rates::{Client, TooOften};
use super::{Access, Identity, Peer, shown};

/// Takes a token for each thing that is asked; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Allowance {
    access: Access,
    /// Whose bucket; `None`: without limit.
    client: Option<Client>,
}

impl Allowance {
    /// Of whoever came from there, before he says who he is. `headers` are those of the request that opened the connection.
    pub(crate) fn new(access: Access, peer: Peer, headers: &HeaderMap) -> Self {
        let client = access.client(None, peer, headers);
        Allowance { access, client }
    }

    /// The same, once it is known who he is: a key's name has one bucket, wherever its holder comes from.
    pub(crate) fn of(&self, identity: &Identity) -> Self {
        let client = identity.name.clone().map(Client::Name).or_else(|| self.client.clone());
        Allowance { access: self.access.clone(), client }
    }

    /// Takes a token.
    ///
    /// # Errors
    /// Where there is none: how long to wait for one.
    pub(crate) fn take(&self) -> Result<(), TooOften> {
        self.access.take(self.client.clone())
    }
}

impl Access {
    /// Whose bucket a request's token is taken from; `None`: it is not counted.
    pub(super) fn client(&self, identity: Option<&Identity>, Peer(peer): Peer, headers: &HeaderMap) -> Option<Client> {
        match identity.and_then(|identity| identity.name.clone()) {
            Some(name) => Some(Client::Name(name)),
            // Whoever is on this host, and no proxy there that speaks for others.
            None if peer.to_canonical().is_loopback() && !headers.contains_key(shown::FORWARDED) => None,
            None => Some(Client::at(shown::client(peer, headers, &self.0.proxies))),
        }
    }

    /// Takes a token of this bucket.
    pub(super) fn take(&self, client: Option<Client>) -> Result<(), TooOften> {
        match (&self.0.rates, client) {
            (Some(rates), Some(client)) => rates.admit(client),
            _ => Ok(()),
        }
    }
}
