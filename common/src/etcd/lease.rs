//! Leases: granted, kept alive, given back.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::{Client, Error, Result};

/// A lease of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// etcd's number for it.
    pub id: i64,
    /// How long it lives without a keep-alive.
    pub ttl: Duration,
}

impl Client {
    /// A new lease.
    ///
    /// # Errors
    /// As etcd answers; [`Error::NoSpace`] when its quota is used up.
    pub async fn grant(&self, ttl: Duration) -> Result<Lease> {
        let seconds = i64::try_from(ttl.as_secs().max(2)).unwrap_or(i64::MAX);
        let id = self
            .call("grant", async |endpoint| Ok(endpoint.leases.lease_client().grant(seconds, None).await?.id()))
            .await?;
        Ok(Lease { id, ttl })
    }

    /// Gives a lease back: its keys go at once.
    ///
    /// # Errors
    /// As etcd answers; [`Error::LeaseGone`] when it has expired already.
    pub async fn revoke(&self, lease: i64) -> Result<()> {
        self.call("revoke", async |endpoint| {
            endpoint.leases.lease_client().revoke(lease).await?;
            Ok(())
        })
        .await
    }

    /// Renews a lease once. `Ok(false)`: it has expired.
    ///
    /// # Errors
    /// As etcd answers.
    pub async fn renew(&self, lease: i64) -> Result<bool> {
        self.call("renew", async |endpoint| match endpoint.leases.lease_client().keep_alive(lease).await {
            Ok(_) => Ok(true),
            Err(etcd_client::Error::LeaseKeepAliveError(_)) => Ok(false),
            Err(error) => Err(error.into()),
        })
        .await
    }

    /// Keeps a lease alive until it is lost: expired on the server, or not renewed for its whole TTL.
    pub async fn keep_alive(&self, lease: Lease) {
        let pause = lease.ttl / 4;
        let mut renewed = Instant::now();
        while renewed.elapsed() < lease.ttl {
            if let Err(Error::Refused(reason)) = self.renew_on_one_stream(lease, pause, &mut renewed).await {
                tracing::debug!(reason, "lease lost");
                return;
            }
            tokio::time::sleep(pause / 4).await;
        }
    }

    /// Renews on one stream until it breaks. [`Error::Refused`]: the lease is gone.
    async fn renew_on_one_stream(&self, lease: Lease, pause: Duration, renewed: &mut Instant) -> Result<()> {
        let endpoint = self.current().await?;
        let late = || Error::Unavailable("no answer to a keep-alive".to_owned());
        let gone = || Error::Refused("it has expired".to_owned());
        let opened = timeout(pause, endpoint.leases.lease_client().keep_alive(lease.id)).await;
        let (mut keeper, mut answers) = match opened {
            Ok(Ok(opened)) => opened,
            Ok(Err(etcd_client::Error::LeaseKeepAliveError(_))) => return Err(gone()),
            Ok(Err(error)) => {
                let error = Error::from(error);
                if endpoint.has_user && matches!(error, Error::LoggedOut) {
                    self.log_in_again(&endpoint).await;
                }
                self.turn_from(&endpoint);
                return Err(Error::Unavailable(error.to_string()));
            }
            Err(_) => {
                self.turn_from(&endpoint);
                return Err(late());
            }
        };
        *renewed = Instant::now();
        loop {
            tokio::time::sleep(pause).await;
            keeper.keep_alive().await?;
            match timeout(pause, answers.message()).await {
                Ok(Ok(Some(answer))) if answer.ttl() <= 0 => return Err(gone()),
                Ok(Ok(Some(_))) if self.is_outdated(&endpoint) => {
                    *renewed = Instant::now();
                    return Err(Error::Unavailable("going on with other certificates".to_owned()));
                }
                Ok(Ok(Some(_))) => *renewed = Instant::now(),
                Ok(Ok(None)) => return Err(Error::Unavailable("the keep-alive stream ended".to_owned())),
                Ok(Err(error)) => {
                    self.turn_from(&endpoint);
                    return Err(Error::Unavailable(error.to_string()));
                }
                Err(_) => {
                    self.turn_from(&endpoint);
                    return Err(late());
                }
            }
        }
    }
}
