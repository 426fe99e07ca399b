//! The books, for whoever asks over HTTP: one look at a time, and a look serves all who ask within a moment of it.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Pool;
use nexus_common::books::{self, Audit, Scope};
use nexus_common::etcd::Client;
use nexus_common::queue::Keys;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How long a look stands for those that ask after it: it reads the whole ledger.
const GOOD_FOR: Duration = Duration::from_secs(1);

/// Audits the gateway's own cluster; cheap to clone.
#[derive(Debug, Clone)]
pub struct Auditor(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    client: Client,
    keys: Keys,
    memory: Pool,
    /// Held while a look is taken: who comes meanwhile waits for it instead of taking another.
    newest: Mutex<Option<(Instant, Arc<Audit>)>>,
}

impl Auditor {
    /// Over etcd and a pool of its own.
    pub fn new(client: Client, keys: Keys, memory: Pool) -> Self {
        Auditor(Arc::new(Inner { client, keys, memory, newest: Mutex::default() }))
    }

    /// The state of the books, at most a second ago.
    ///
    /// # Errors
    /// Where etcd or PostgreSQL cannot be read.
    pub async fn look(&self) -> Result<Arc<Audit>, books::Error> {
        let Inner { client, keys, memory, newest } = &*self.0;
        let mut newest = newest.lock().await;
        if let Some((_, audit)) = newest.as_ref().filter(|(taken, _)| taken.elapsed() < GOOD_FOR) {
            return Ok(Arc::clone(audit));
        }
        let audit = Arc::new(books::audit(client, keys, memory, &Scope::All).await?);
        *newest = Some((Instant::now(), Arc::clone(&audit)));
        Ok(audit)
    }
}
