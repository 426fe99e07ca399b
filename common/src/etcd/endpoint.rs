//! The connections to one member.

use std::time::Duration;

use etcd_client::ConnectOptions;

use super::Result;
use super::access::{Access, Key};
use crate::config::Password;
use crate::tls::Edition;

/// A claim returns up to 1 MiB of messages, a list page more than the default 4 MiB.
const DECODE_LIMIT: usize = 64 << 20;

/// The crate's balancer keeps sending to dead endpoints (etcd-client 12), so each endpoint is a client of its own.
pub(super) struct Endpoint {
    /// Its place among the endpoints.
    pub(super) index: usize,
    pub(super) data: etcd_client::Client,
    /// Bulk traffic must not starve keep-alives.
    pub(super) leases: etcd_client::Client,
    /// What it was connected with.
    pub(super) edition: u64,
    /// Whether there is a user to log in as.
    pub(super) has_user: bool,
}

impl Endpoint {
    /// Connects. Without a user nothing goes over the wire yet; with one it logs in.
    pub(super) async fn connect(index: usize, address: &str, access: &Access, key: &Edition<Key>) -> Result<Self> {
        let mut options = options();
        if let Some(tls) = key.value.tls.as_ref().filter(|_| access.is_secure(address)) {
            options = options.with_tls(tls.clone());
        }
        let user = key.value.user.as_ref();
        Ok(Endpoint {
            index,
            data: connect(address, &options, user).await?,
            leases: connect(address, &options, user).await?,
            edition: key.number,
            has_user: user.is_some(),
        })
    }

    pub(super) fn kv(&self) -> etcd_client::KvClient {
        self.data.kv_client().max_decoding_message_size(DECODE_LIMIT)
    }

    pub(super) fn watch(&self) -> etcd_client::WatchClient {
        self.data.watch_client().max_decoding_message_size(DECODE_LIMIT)
    }
}

async fn connect(
    address: &str,
    options: &ConnectOptions,
    user: Option<&(String, Password)>,
) -> Result<etcd_client::Client> {
    let Some((name, password)) = user else {
        return Ok(etcd_client::Client::connect([address], Some(options.clone())).await?);
    };
    // A token lives for minutes: it is made anew when etcd says that it has expired.
    let with_user = options.clone().with_user(name.as_str(), password.reveal()).with_auto_token_refresh(true);
    match etcd_client::Client::connect([address], Some(with_user)).await {
        // As etcdctl does: where nobody is asked who he is, there is nothing to log in to.
        Err(etcd_client::Error::GRpcStatus(status)) if status.message().contains("authentication is not enabled") => {
            Ok(etcd_client::Client::connect([address], Some(options.clone())).await?)
        }
        connected => Ok(connected?),
    }
}

fn options() -> ConnectOptions {
    ConnectOptions::new()
        .with_keep_alive(Duration::from_secs(10), Duration::from_secs(3))
        .with_keep_alive_while_idle(true)
        .with_connect_timeout(Duration::from_secs(2))
        .with_require_leader(true)
}
