//! The books, for whoever asks over HTTP: one look at a time, and a look serves all who ask within a moment of it. One that
//! fails serves those who waited for it: where a server is away they are not kept waiting in turn. A ledger that takes
//! longer to sum up than a request may is summed up beside the requests ([`Rounds`]), for these and for `/metrics`.

mod books;
mod error;
mod rounds;

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Pool;
use nexus_common::books::{Audit, Scope};
use nexus_common::domain::Timestamp;
use nexus_common::etcd::Client;
use nexus_common::queue::Keys;
use tokio::sync::Mutex;
use tokio::time::Instant;

pub use self::books::Books;
pub use self::error::Error;
pub(crate) use self::rounds::Known;
pub use self::rounds::Rounds;

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
    newest: Mutex<Option<Look>>,
}

/// What a look found.
#[derive(Debug, Clone)]
pub struct Seen {
    /// When the look began: the figures are of a moment since.
    pub at: Timestamp,
    /// How long it took.
    pub took: Duration,
    /// The books.
    pub audit: Arc<Audit>,
}

/// A look that has ended: what it found, or why it found nothing.
#[derive(Debug)]
struct Look {
    ended: Instant,
    found: Result<Seen, Error>,
}

impl Auditor {
    /// Over etcd and a pool of its own.
    pub fn new(client: Client, keys: Keys, memory: Pool) -> Self {
        Auditor(Arc::new(Inner { client, keys, memory, newest: Mutex::default() }))
    }

    /// Whose books they are.
    pub fn cluster_id(&self) -> &str {
        self.0.keys.cluster_id()
    }

    /// The state of the books, at most a second ago.
    ///
    /// # Errors
    /// Where etcd or PostgreSQL cannot be read.
    pub async fn look(&self) -> Result<Seen, Error> {
        let asked = Instant::now();
        let Inner { client, keys, memory, newest } = &*self.0;
        let mut newest = newest.lock().await;
        match &*newest {
            Some(Look { ended, found: Ok(seen) }) if ended.elapsed() < GOOD_FOR => return Ok(seen.clone()),
            Some(Look { ended, found: Err(error) }) if *ended >= asked => return Err(error.told()),
            _ => {}
        }
        let (at, began) = (Timestamp::now(), Instant::now());
        let found = nexus_common::books::audit(client, keys, memory, &Scope::All).await;
        let found = found.map(|audit| Seen { at, took: began.elapsed(), audit: Arc::new(audit) }).map_err(Error::from);
        let shared = found.as_ref().map(Seen::clone).map_err(Error::told);
        *newest = Some(Look { ended: Instant::now(), found: shared });
        found
    }
}
