use super::{Client, GetOptions};
use crate::observe::Probe;

/// etcd as `/health` names it.
pub const DEPENDENCY: &str = "etcd";

/// etcd answers a linearizable read: it has a leader and a majority. `key` is one that our user may read.
pub fn probe(client: Client, key: String) -> Probe {
    Probe::new(DEPENDENCY, move || {
        let (client, key) = (client.clone(), key.clone());
        async move {
            let options = GetOptions::new().with_count_only();
            client.get(&key, options).await.map(drop).map_err(|error| error.to_string())
        }
    })
}
