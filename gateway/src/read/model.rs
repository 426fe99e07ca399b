use std::sync::{Arc, RwLockReadGuard};
use std::time::Duration;

use deadpool_postgres::Pool;
use nexus_common::db::{self, Session};
use nexus_common::domain::{Thresholds, Timestamp};
use nexus_common::observe::Registry;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use tokio_util::task::TaskTracker;

use super::running::Running;
use super::seen::Seen;
use super::texts::Texts;
use super::together::Together;
use super::{Error, Result};
use crate::Config;
use crate::audit::Books;
use crate::memory::{Fleet, Memory};

/// Statements a connection keeps prepared. Those over chosen metrics and other days come in many forms, those of days that are
/// over stay, and the plan of one takes PostgreSQL some 0.3 MiB (an hour in minutes) to 1 MiB (a month in hours): so the number
/// needs a bound.
const PREPARED: usize = 64;

/// How much longer than the server the client waits before it takes the connection for dead.
const SLACK: Duration = Duration::from_secs(2);

/// How long a heavy question waits for its turn before the client is asked to come back.
const QUEUE: Duration = Duration::from_secs(2);

/// The read model; cheap to clone, which every request does.
#[derive(Clone, Debug)]
pub struct Model {
    pool: Pool,
    shared: Arc<Shared>,
    /// A turn that is had for several statements.
    turn: Option<Arc<OwnedSemaphorePermit>>,
}

/// What all clones share, whatever their pool.
#[derive(Clone, Debug)]
struct Shared {
    longest: Duration,
    /// Clusters, hosts, GPUs and their newest values.
    memory: Memory,
    /// Turns of the questions over time ranges, fewer than there are connections: the others never wait behind them.
    turns: Arc<Semaphore>,
    /// How many turns there are.
    heavy: usize,
    /// The texts of statements.
    texts: Arc<Texts>,
    /// Who waits for the same turn.
    together: Arc<Together>,
    /// What samples have values of.
    seen: Arc<Seen>,
    /// Statements that are being ended.
    tasks: TaskTracker,
    /// How PostgreSQL is told to end one.
    access: db::Access,
    /// Whether rollups are read (ENABLE_ROLLUPS).
    rollups: bool,
    /// Who looks into the books.
    books: Option<Books>,
    /// The cluster whose queue this gateway follows.
    cluster_id: Arc<str>,
}

/// What is asked about lies in memory or on flash. PostgreSQL's 4 is a spinning disk's: with it, statements over three days of
/// five million samples each were planned at every question (0.8 ms), because a plan that is kept seemed to read too much.
const RANDOM_PAGE_COST: f64 = 1.1;

/// How the server bounds the gateway's connections: short, and read-only.
pub fn session(config: &Config) -> Session {
    Session {
        application: "nexus-gateway".to_owned(),
        statement_timeout: config.query_timeout,
        read_only: true,
        random_page_cost: Some(RANDOM_PAGE_COST),
        wait: Duration::from_secs(2),
        ..Session::default()
    }
}

impl Model {
    /// Over a pool of its own. Nothing is connected yet.
    ///
    /// # Errors
    /// Where the pool cannot be made.
    pub fn new(config: &Config, access: db::Access, memory: Memory) -> std::result::Result<Self, db::Error> {
        let pool = db::pool_with(&config.db, config.pool_size, &session(config))?;
        let heavy = usize::try_from(config.bounds.heavy_queries).unwrap_or(usize::MAX);
        let heavy = heavy.min(config.pool_size.saturating_sub(1)).clamp(1, Semaphore::MAX_PERMITS);
        let shared = Shared {
            access,
            longest: config.query_timeout,
            turns: Arc::new(Semaphore::new(heavy)),
            heavy,
            texts: Arc::default(),
            together: Arc::default(),
            seen: Arc::default(),
            tasks: TaskTracker::new(),
            memory,
            rollups: config.enable_rollups,
            books: None,
            cluster_id: config.common.cluster_id.as_str().into(),
        };
        Ok(Model { pool, shared: Arc::new(shared), turn: None })
    }

    /// The same with somebody who looks into the books.
    #[must_use]
    pub fn audited(mut self, books: Books) -> Self {
        Arc::make_mut(&mut self.shared).books = Some(books);
        self
    }

    /// What samples have values of.
    pub(super) fn seen(&self) -> &Seen {
        &self.shared.seen
    }

    /// The texts of statements.
    pub(super) fn texts(&self) -> &Texts {
        &self.shared.texts
    }

    /// Who waits for the same turn.
    pub(super) fn together(&self) -> &Together {
        &self.shared.together
    }

    /// Whether rollups may be read.
    pub(super) fn reads_rollups(&self) -> bool {
        self.shared.rollups
    }

    pub(super) fn books(&self) -> Option<&Books> {
        self.shared.books.as_ref()
    }

    /// The cluster whose queue this gateway follows.
    pub(super) fn cluster_id(&self) -> &str {
        &self.shared.cluster_id
    }

    /// The longest one question may take.
    pub(super) fn longest(&self) -> Duration {
        self.shared.longest + SLACK
    }

    /// A connection for a question of the books.
    pub(super) async fn open(&self) -> Result<Running> {
        let client = self.pool.get().await.map_err(|error| self.refusal(error.into()))?;
        Ok(Running::new(client, None, &self.shared.access, &self.shared.tasks))
    }

    /// What PostgreSQL said to another pool's question.
    pub(super) fn refusal(&self, error: db::Error) -> Error {
        Error::of(error, self.shared.longest)
    }

    /// The same over another pool.
    pub(super) fn over(&self, pool: Pool) -> Self {
        Model { pool, shared: Arc::clone(&self.shared), turn: None }
    }

    /// What is known of now, once the memory was filled.
    ///
    /// # Errors
    /// [`Error::Unavailable`] before that.
    pub(super) fn fleet(&self) -> Result<RwLockReadGuard<'_, Fleet>> {
        if self.shared.memory.is_seeded() {
            Ok(self.shared.memory.fleet())
        } else {
            Err(Error::Unavailable(db::Error::transient("the newest values are not in memory yet")))
        }
    }

    /// Whether questions about now can be answered.
    pub fn is_seeded(&self) -> bool {
        self.shared.memory.is_seeded()
    }

    /// From where on something is the matter.
    pub(super) fn thresholds(&self) -> &Thresholds {
        self.shared.memory.thresholds()
    }

    /// Has Prometheus told how the pool is used.
    pub fn register(&self, registry: &mut Registry) {
        db::register(&self.pool, registry);
    }

    /// A question that reads little: one prepared, read-only statement.
    pub(super) async fn query(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>> {
        self.run(sql, parameters, None).await
    }

    /// A question over a range of time: it waits for its turn, so that any number of them leave connections free.
    ///
    /// # Errors
    /// [`Error::Busy`] where the turn does not come soon.
    pub(super) async fn heavy_query(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>> {
        let turn = self.turn().await?;
        self.run(sql, parameters, Some(turn)).await
    }

    /// The same in a turn: its heavy questions, one after the other, wait no more.
    ///
    /// # Errors
    /// [`Error::Busy`] where the turn does not come soon.
    pub(crate) async fn in_turn(&self) -> Result<Self> {
        Ok(Model { turn: Some(self.turn().await?), ..self.clone() })
    }

    async fn turn(&self) -> Result<Arc<OwnedSemaphorePermit>> {
        if let Some(turn) = &self.turn {
            return Ok(Arc::clone(turn));
        }
        let turn = timeout(QUEUE, Arc::clone(&self.shared.turns).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return Err(Error::Busy { most: self.shared.heavy, waited: QUEUE }) };
        Ok(Arc::new(turn))
    }

    /// The only way to PostgreSQL. Whoever stops waiting for it ends the statement on the server, too.
    async fn run(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
        turn: Option<Arc<OwnedSemaphorePermit>>,
    ) -> Result<Vec<Row>> {
        let failed = |error: db::Error| Error::of(error, self.shared.longest);
        let client = self.pool.get().await.map_err(|error| failed(error.into()))?;
        let running = Running::new(client, turn, &self.shared.access, &self.shared.tasks);
        let asked = timeout(self.shared.longest + SLACK, async {
            let Some(client) = running.connection() else { return Ok(Vec::new()) };
            if client.statement_cache.size() >= PREPARED {
                client.statement_cache.clear();
            }
            let statement = client.prepare_cached(sql).await?;
            client.query(&statement, parameters).await
        });
        // Without an answer the server is frozen or gone without a word: nobody gets this connection again.
        let Ok(rows) = asked.await else { return Err(Error::TooSlow(self.shared.longest)) };
        running.done();
        rows.map_err(|error: tokio_postgres::Error| failed(error.into()))
    }

    /// One column of one row.
    pub(super) fn column<'a, T: tokio_postgres::types::FromSql<'a>>(&self, row: &'a Row, name: &str) -> Result<T> {
        row.try_get(name).map_err(|error| Error::of(error.into(), self.shared.longest))
    }

    /// The same by position, for columns that are made from the catalogue.
    pub(super) fn nth<'a, T: tokio_postgres::types::FromSql<'a>>(&self, row: &'a Row, at: usize) -> Result<T> {
        row.try_get(at).map_err(|error| Error::of(error.into(), self.shared.longest))
    }

    pub(super) fn is_stale(&self, seen: Timestamp, now: Timestamp) -> bool {
        nexus_common::domain::is_silent(seen, now, self.thresholds().stale_after)
    }
}
