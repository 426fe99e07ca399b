use std::time::Duration;

use deadpool_postgres::{ClientWrapper, Hook, HookError, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};

use super::{Config, Error};

/// How the server bounds each connection of a pool. Zero means no bound.
#[derive(Debug, Clone)]
pub struct Session {
    /// What `pg_stat_activity` calls the connection.
    pub application: String,
    /// The longest one statement may run.
    pub statement_timeout: Duration,
    /// The longest a statement waits for a lock.
    pub lock_timeout: Duration,
    /// The longest a transaction may sit without a statement before the server ends the connection.
    pub idle_in_transaction_timeout: Duration,
    /// Refuse every write.
    pub read_only: bool,
    /// What a page that is not the next one costs, in pages that are (`random_page_cost`); `None` is what the server says.
    pub random_page_cost: Option<f64>,
    /// The longest a caller waits for a free connection, and then for the connection to be made.
    pub wait: Duration,
}

/// How long a connection is believed in that was in order when it was last given out.
const UNSEEN: Duration = Duration::from_secs(2);
/// How long one that is doubted has to say something.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

impl Default for Session {
    fn default() -> Self {
        Session {
            application: "nexus".to_owned(),
            statement_timeout: Duration::from_secs(30),
            lock_timeout: Duration::from_secs(5),
            idle_in_transaction_timeout: Duration::from_secs(10),
            read_only: false,
            random_page_cost: None,
            wait: Duration::from_secs(5),
        }
    }
}

impl Session {
    /// The settings as the startup message's `options`.
    fn options(&self) -> String {
        let mut options = format!(
            "-c TimeZone=UTC -c statement_timeout={} -c lock_timeout={} -c idle_in_transaction_session_timeout={}",
            self.statement_timeout.as_millis(),
            self.lock_timeout.as_millis(),
            self.idle_in_transaction_timeout.as_millis(),
        );
        if self.read_only {
            options.push_str(" -c default_transaction_read_only=on");
        }
        if let Some(cost) = self.random_page_cost {
            options.push_str(&format!(" -c random_page_cost={cost}"));
        }
        options
    }
}

/// A pool of at most `size` connections with the default [`Session`]. Nothing is connected yet.
///
/// # Errors
/// As [`pool_with`].
pub fn pool(config: &Config, size: usize) -> Result<Pool, Error> {
    pool_with(config, size, &Session::default())
}

/// A pool of at most `size` connections whose sessions are bounded as given. Nothing is connected yet.
///
/// Connections come back as they were left, temporary tables and prepared statements included: the writer keeps a
/// staging table per connection, which is why the recycling method must never become `Clean`. One that was made with
/// another password or other certificates than the files hold now is not given out again: another is made instead.
///
/// # Errors
/// Where a file that the configuration names cannot be used, or there is no runtime to time connections with.
pub fn pool_with(config: &Config, size: usize, session: &Session) -> Result<Pool, Error> {
    let mut driver = config.driver(&session.application);
    driver.options(session.options());
    let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let access = config.access().map_err(Error::other)?;
    let files = access.clone();
    Pool::builder(Manager::from_connect(driver, access, recycling))
        .max_size(size)
        .pre_recycle(Hook::sync_fn(move |_, metrics| match metrics.created < files.since() {
            true => Err(HookError::message("it was made with other files")),
            false => Ok(()),
        }))
        .pre_recycle(Hook::async_fn(|client, metrics| Box::pin(still_answers(client, metrics.last_used()))))
        .wait_timeout(Some(session.wait))
        .create_timeout(Some(config.connect_timeout))
        .recycle_timeout(Some(session.wait))
        .runtime(Runtime::Tokio1)
        .build()
        .map_err(Error::other)
}

/// A connection that was not asked for a while, or was asked something that took a while, has to answer before it is
/// given out: one that nobody serves any more (its server or what lies between is gone without a word) would take every
/// caller's time, one after the other, and never be seen to be closed.
async fn still_answers(client: &mut ClientWrapper, since: Duration) -> Result<(), HookError> {
    if since < UNSEEN {
        return Ok(());
    }
    match tokio::time::timeout(ANSWERS_WITHIN, client.simple_query("")).await {
        Ok(answer) => answer.map(drop).map_err(HookError::Backend),
        Err(_) => Err(HookError::message("no answer")),
    }
}
