//! etcd's members as an operator sees them: how full each is, and whether an alarm is raised.

use std::time::Duration;

use nexus_common::config::EtcdAccess;
use nexus_common::etcd::{Alarm, Client, Error, Result, Status};
use reqwest::Url;
use tokio::time::timeout;

use crate::web;

/// What one endpoint says.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) address: String,
    pub(crate) status: Result<Status>,
}

/// Every endpoint, with its quota, and the alarms.
pub(crate) async fn members(client: &Client, access: &EtcdAccess) -> (Vec<Endpoint>, Result<Vec<Alarm>>) {
    let mut endpoints = Vec::new();
    for (address, status) in client.statuses().await {
        let status = match status {
            Ok(status) if status.quota_bytes.is_none() => {
                let quota_bytes = told(&address, access).await;
                Ok(Status { quota_bytes, ..status })
            }
            status => status,
        };
        endpoints.push(Endpoint { address, status });
    }
    let answers = endpoints.iter().any(|endpoint| endpoint.status.is_ok());
    let alarms = match answers {
        true => client.alarms().await,
        false => Err(Error::Unavailable("no endpoint answers".to_owned())),
    };
    (endpoints, alarms)
}

/// Before 3.6 only the metrics page tells a server's quota.
async fn told(address: &str, access: &EtcdAccess) -> Option<u64> {
    let (scheme, tls) = match access.is_secure(address) {
        true => ("https", Some(access.https().ok()?)),
        false => ("http", None),
    };
    let place = address.split_once("://").map_or(address, |(_, place)| place).trim_end_matches('/');
    let url = Url::parse(&format!("{scheme}://{place}/metrics")).ok()?;
    let (_, page) = timeout(Duration::from_secs(2), web::get(&url, tls, None)).await.ok()?.ok()?;
    quota_in(std::str::from_utf8(&page).ok()?)
}

fn quota_in(page: &str) -> Option<u64> {
    let line = page.lines().find_map(|line| line.strip_prefix("etcd_server_quota_backend_bytes "))?;
    let bytes: f64 = line.trim().parse().ok()?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a size in bytes, far below 2^53")]
    (bytes > 0.0).then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_quota_is_found_among_the_metrics() {
        let page = "# HELP etcd_server_quota_backend_bytes Quota.\netcd_server_quota_backend_bytes 2.147483648e+09\n";
        assert_eq!(super::quota_in(page), Some(2 << 30));
        assert_eq!(super::quota_in("etcd_server_has_leader 1\n"), None);
    }
}
