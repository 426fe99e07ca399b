use super::{Client, GetOptions};
use crate::observe::Probe;

/// etcd as `/health` names it.
pub const DEPENDENCY: &str = "etcd";

/// etcd answers a linearizable read: it has a leader and a majority.
pub fn probe(client: Client) -> Probe {
    Probe::new(DEPENDENCY, move || {
        let client = client.clone();
        async move {
            let options = GetOptions::new().with_count_only();
            client.get("health", options).await.map(drop).map_err(|error| error.to_string())
        }
    })
}
