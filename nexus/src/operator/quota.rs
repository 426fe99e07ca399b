//! etcd's members as an operator sees them: how full each is, and whether an alarm is raised.

use std::time::Duration;

use nexus_common::etcd::{Alarm, Client, Error, Result, Status};

/// What one endpoint says.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) address: String,
    pub(crate) status: Result<Status>,
}

/// Every endpoint, with its quota, and the alarms.
pub(crate) async fn members(client: &Client) -> (Vec<Endpoint>, Result<Vec<Alarm>>) {
    let mut endpoints = Vec::new();
    for (address, status) in client.statuses().await {
        let status = match status {
            Ok(status) if status.quota_bytes.is_none() => {
                let quota_bytes = told(&address).await;
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
async fn told(address: &str) -> Option<u64> {
    let base = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    let client = reqwest::Client::builder().timeout(Duration::from_secs(2)).build().ok()?;
    let page = client.get(format!("{}/metrics", base.trim_end_matches('/'))).send().await.ok()?.text().await.ok()?;
    quota_in(&page)
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
