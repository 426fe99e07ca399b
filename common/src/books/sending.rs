//! Publishing rows once more: the lane of a return, and back-pressure.
//!
//! A return is noted in PostgreSQL before its first row is published, and its lane's cursor moves with every batch. So
//! whoever is killed here, or gives up, loses nothing: the same wish goes on behind the last batch that was published.

use std::fmt;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::returns::Return;
use crate::domain::Reject;
use crate::queue::{Body, Bounds, Depth, Draft, Fate, Keys, Lane};
use crate::{db, etcd};

/// How long etcd may be silent before somebody hears of it.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a publish that is not answered asks why.
const ASK_EVERY: Duration = Duration::from_secs(2);

/// How rows go into the queue again.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// How long a message waits in the queue before it expires (which is recorded).
    pub message_ttl: Duration,
    /// Nothing is published while so many rows wait in the queue.
    pub high_water_rows: u64,
    /// The server's `--max-txn-ops`.
    pub max_txn_ops: u32,
}

/// What whoever waits is told.
#[derive(Debug)]
pub enum Told<'a> {
    /// No collector runs: what is published waits.
    NoCollector,
    /// There is no room in the queue.
    Waiting {
        /// Rows that are queued.
        queued: u64,
        /// As many as may be.
        limit: u64,
    },
    /// etcd went back in time: this lane goes on from where its cursor stands.
    Rewound(&'a str),
    /// So many rows of a return are published.
    Published {
        /// Which.
        of: &'a Return,
        /// Rows, in all.
        rows: u64,
    },
}

/// Who is told.
pub type Tell = Box<dyn FnMut(Told<'_>) + Send + Sync>;

/// Why rows are not in the queue again. Nothing is lost: the same wish goes on later.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// As etcd answers.
    #[error(transparent)]
    Queue(#[from] etcd::Error),
    /// As PostgreSQL answers.
    #[error("{0}")]
    Memory(#[from] db::Error),
    /// etcd says nothing.
    #[error("etcd does not answer; nothing is lost, the same command goes on later")]
    Silent,
    /// etcd takes nothing.
    #[error(
        "etcd is out of space (NOSPACE alarm): nothing more is published; start collectors to drain it (upkeep then clears \
         the alarm), and run the same command again: it goes on where it stopped"
    )]
    Full,
    /// Somebody else has the lane now.
    #[error("somebody else goes on with {0} (the same command, run again): it is in their hands now")]
    Fenced(String),
    /// A message that etcd does not take even by itself.
    #[error("etcd refuses even a single message: {0}")]
    TooLarge(String),
    /// etcd refuses for good.
    #[error(transparent)]
    Refused(Fate),
    /// The cursor of a lane, which somebody else wrote.
    #[error("the cursor of the lane cannot be read: {0}")]
    Cursor(#[from] serde_json::Error),
    /// A letter was named that there is not.
    #[error("there is no dead letter {0} among those you mean; nothing of them was redriven")]
    NoLetter(i64),
    /// A letter of a return that was begun with a header.
    #[error("redrive {0} was begun with a header: the same command with --header or --header-from goes on")]
    NeedsHeader(i64),
    /// A letter of a return that cannot be sent after all.
    #[error("letter {id}: {why}")]
    Stuck {
        /// Which.
        id: i64,
        /// Why.
        why: String,
    },
}

/// What became of a batch.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Sent {
    /// It is in the queue.
    Yes,
    /// Open the lane again and go on from where its cursor stands: etcd lost what it had, or takes smaller batches only.
    Again,
}

/// A way into the queue.
pub struct Sending {
    client: etcd::Client,
    keys: Keys,
    manner: Manner,
    depth: watch::Receiver<Option<Depth>>,
    _following: JoinSet<()>,
    tell: Tell,
    /// What a batch may hold.
    pub bounds: Bounds,
}

impl fmt::Debug for Sending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sending").field("manner", &self.manner).field("bounds", &self.bounds).finish_non_exhaustive()
    }
}

impl Sending {
    /// Looks whether etcd takes anything at all.
    ///
    /// # Errors
    /// Where it does not answer, or is full.
    pub async fn begin(client: etcd::Client, keys: Keys, manner: Manner, mut tell: Tell) -> Result<Sending, Error> {
        if client.count(&keys.members("collector")).await? == 0 {
            tell(Told::NoCollector);
        }
        let (depth, work) = Depth::follow(client.clone(), &keys);
        let mut following = JoinSet::new();
        following.spawn(work);
        let bounds = Bounds::new(usize::MAX, manner.max_txn_ops);
        let sending = Sending { client, keys, manner, depth, _following: following, tell, bounds };
        sending.has_space().await?;
        Ok(sending)
    }

    /// Opens a return's lane. Whoever had it open before can publish nothing any more.
    ///
    /// # Errors
    /// Where etcd does not answer, or refuses.
    pub async fn open(&self, of: &Return) -> Result<Lane, Error> {
        let (name, start) = (of.lane(), Value::Object(serde_json::Map::default()));
        let opening = Lane::open(&self.client, &self.keys, &name, &start, self.manner.message_ttl);
        Ok(tokio::time::timeout(PATIENCE, opening).await.map_err(|_| Error::Silent)??)
    }

    /// Where a lane's cursor stands in its source, as its producer wrote it; `None` where etcd has no such lane (any more).
    ///
    /// # Errors
    /// As etcd answers.
    pub async fn position(&self, lane: &str) -> Result<Option<Value>, Error> {
        Ok(Lane::look(&self.client, &self.keys, lane).await?.map(|cursor| cursor.position))
    }

    /// Publishes a batch when there is room for it.
    ///
    /// # Errors
    /// Where somebody else goes on with this return, or etcd is full, away or refuses for good.
    pub async fn publish(&mut self, lane: &mut Lane, mut draft: Draft, position: &Value) -> Result<Sent, Error> {
        self.has_room().await?;
        self.has_space().await?;
        loop {
            match self.attempt(lane, &draft, position).await? {
                Ok(_) => return Ok(Sent::Yes),
                Err(Fate::Fenced(lane)) => return Err(Error::Fenced(lane)),
                Err(Fate::Rewound(lane)) => {
                    (self.tell)(Told::Rewound(&lane));
                    return Ok(Sent::Again);
                }
                Err(Fate::TooLarge(_)) if draft.messages.len() > 1 => {
                    self.bounds.messages = self.bounds.messages.min(draft.messages.len().div_ceil(2));
                    self.bounds.bytes /= 2;
                    return Ok(Sent::Again);
                }
                Err(Fate::TooLarge(reason)) => {
                    if !bury(&mut draft, &reason) {
                        return Err(Error::TooLarge(reason));
                    }
                }
                Err(fate) => return Err(Error::Refused(fate)),
            }
        }
    }

    /// Waits for etcd's answer as long as etcd answers otherwise.
    async fn attempt(
        &self,
        lane: &mut Lane,
        draft: &Draft,
        position: &Value,
    ) -> Result<Result<crate::queue::BatchId, Fate>, Error> {
        let mut silent_since = Instant::now();
        let mut publishing = std::pin::pin!(lane.publish(draft, position));
        loop {
            tokio::select! {
                outcome = &mut publishing => return Ok(outcome),
                () = tokio::time::sleep(ASK_EVERY) => {}
            }
            match self.client.out_of_space().await {
                Ok(true) => return Err(Error::Full),
                Ok(false) => silent_since = Instant::now(),
                Err(_) if silent_since.elapsed() > PATIENCE => return Err(Error::Silent),
                Err(_) => {}
            }
        }
    }

    async fn has_space(&self) -> Result<(), Error> {
        if self.client.out_of_space().await? { Err(Error::Full) } else { Ok(()) }
    }

    /// Waits below the high-water mark.
    async fn has_room(&mut self) -> Result<(), Error> {
        let limit = self.manner.high_water_rows;
        let queued = |depth: &Option<Depth>| depth.map(|depth| depth.rows);
        let listed = tokio::time::timeout(PATIENCE, self.depth.wait_for(Option::is_some)).await;
        let rows = queued(&*listed.map_err(|_| Error::Silent)?.map_err(|_| Error::Silent)?);
        if let Some(rows) = rows.filter(|rows| *rows >= limit) {
            (self.tell)(Told::Waiting { queued: rows, limit });
            let room = self.depth.wait_for(|depth| queued(depth).is_some_and(|rows| rows < limit)).await;
            room.map_err(|_| Error::Silent)?;
        }
        Ok(())
    }

    /// Says how far it is.
    pub fn tell(&mut self, of: &Return, rows: u64) {
        (self.tell)(Told::Published { of, rows });
    }
}

/// A row that etcd does not take becomes a dead letter once more; `false` when it is one already.
fn bury(draft: &mut Draft, reason: &str) -> bool {
    let [body @ Body::Rows { rows, .. }] = draft.messages.as_slice() else { return false };
    let [row] = rows.as_slice() else { return false };
    let reject = Reject::new(format!("too large for etcd: {reason}"), &body.encode());
    draft.messages = vec![Body::Dead { line: row.line, byte: row.byte, reject }];
    true
}
