//! A session: the lease that a process's claims and its membership live under.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Keys, VERSION};
use crate::config;
use crate::domain::Timestamp;
use crate::etcd::{Client, Lease, PutOptions, Result, Txn, TxnOp};
use crate::failpoint;
use crate::retry::Retry;

/// How long etcd holds a silent process's claims.
pub const SESSION_TTL: Duration = Duration::from_secs(10);

/// What a process is in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Publishes.
    Streamer,
    /// Claims and stores.
    Collector,
    /// Serves.
    Gateway,
}

impl Role {
    /// The role's part of a member key.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Streamer => "streamer",
            Role::Collector => "collector",
            Role::Gateway => "gateway",
        }
    }
}

/// The value of a member key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Version of this value.
    pub v: u32,
    /// Where it can be asked, or the host it runs on.
    pub address: String,
    /// The program's version.
    pub version: String,
    /// When it started, in milliseconds since 1970.
    pub started_ms: i64,
}

/// A cheap handle on this process's session.
#[derive(Debug, Clone)]
pub struct Session {
    id: String,
    lease: watch::Receiver<Option<i64>>,
}

impl Session {
    /// A session and the work that keeps it: run it on the component's task tracker. It opens the session, renews it,
    /// opens a new one when it was lost, and gives it back when `stop` is cancelled.
    pub fn start(
        client: Client,
        keys: Keys,
        role: Role,
        stop: CancellationToken,
    ) -> (Session, impl Future<Output = ()>) {
        Session::at(config::hostname(), client, keys, role, stop)
    }

    /// The same for a process that can be asked at `address`.
    pub fn at(
        address: String,
        client: Client,
        keys: Keys,
        role: Role,
        stop: CancellationToken,
    ) -> (Session, impl Future<Output = ()>) {
        let id = format!("{:016x}", rand::random::<u64>());
        let (tell, lease) = watch::channel(None);
        (Session { id: id.clone(), lease }, keep(client, keys, role, id, address, tell, stop))
    }

    /// This process's id: random at each start.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The lease to claim under; `None` while there is no session.
    pub fn lease(&self) -> Option<i64> {
        *self.lease.borrow()
    }

    /// Waits until there is a session.
    pub async fn ready(&mut self) -> Option<i64> {
        self.lease.wait_for(Option::is_some).await.ok().and_then(|lease| *lease)
    }
}

async fn keep(
    client: Client,
    keys: Keys,
    role: Role,
    id: String,
    address: String,
    tell: watch::Sender<Option<i64>>,
    stop: CancellationToken,
) {
    let member = Member {
        v: VERSION,
        address,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_ms: Timestamp::now().as_millis(),
    };
    let mut retry = Retry::call();
    loop {
        let open = tokio::select! {
            open = open(&client, &keys, role, &id, &member) => open,
            () = stop.cancelled() => return,
        };
        match open {
            Ok(lease) => {
                retry.reset();
                let _ = tell.send(Some(lease.id));
                tokio::select! {
                    () = client.keep_alive(lease) => tracing::warn!(id, "session lost; opening another"),
                    () = stop.cancelled() => {
                        let _ = tell.send(None);
                        // What etcd does not hear of now, it forgets within the TTL.
                        let _ = tokio::time::timeout(Duration::from_secs(2), client.revoke(lease.id)).await;
                        return;
                    }
                }
                let _ = tell.send(None);
            }
            Err(error) => {
                tracing::debug!(%error, "no session yet");
                let wait = retry.next_wait();
                tokio::select! { () = tokio::time::sleep(wait) => (), () = stop.cancelled() => return }
            }
        }
    }
}

async fn open(client: &Client, keys: &Keys, role: Role, id: &str, member: &Member) -> Result<Lease> {
    let lease = client.grant(SESSION_TTL).await?;
    failpoint::here("session.granted");
    let value = serde_json::to_vec(member).unwrap_or_default();
    let put = TxnOp::put(keys.member(role.as_str(), id), value, Some(PutOptions::new().with_lease(lease.id)));
    client.txn(Txn::new().and_then([put])).await?;
    failpoint::here("session.opened");
    Ok(lease)
}
