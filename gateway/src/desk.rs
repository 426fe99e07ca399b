//! What operators do over HTTP: dead letters sent again, or given up. The same acts as those of the command line
//! ([`nexus_common::books`]): noted first, safe to repeat, each letter once, and each act in the audit log.
//!
//! It has connections of its own that may write, and only where ENABLE_OPERATOR_ROUTES says so. One redrive at a time runs
//! here; one that takes longer than [`LONGEST_MS`] is left where it stands, and the same request goes on with it. A return that
//! cannot go on for a reason of its own keeps no other.

mod answer;
mod asked;
mod error;

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Client, Pool};
use nexus_common::books::actions::{self, Actor};
use nexus_common::books::letters::{self, Purged};
use nexus_common::books::redrive::{self, Plan, Wish};
use nexus_common::books::returns::{self, Kind, Return};
use nexus_common::books::sending::{Manner, Sending, Told};
use nexus_common::db::{self, Session};
use nexus_common::queue::Keys;
use nexus_common::{etcd, failpoint};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

pub(crate) use self::answer::{PurgeAnswer, RedriveAnswer};
pub(crate) use self::asked::{Purge, Redrive, Which};
use self::error::MOST_PURGED;
pub(crate) use self::error::{Error, Sort};
use crate::Config;

/// How long a request may publish, in milliseconds.
const LONGEST_MS: i64 = 20_000;

/// Where operators act; cheap to clone.
#[derive(Debug, Clone)]
pub struct Desk(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    pool: Pool,
    client: etcd::Client,
    keys: Keys,
    manner: Manner,
    /// Of the one who redrives.
    turn: Semaphore,
}

/// A return that a request began or went on with.
#[derive(Debug)]
struct Sent {
    of: Return,
    /// Rows it has published in all; `None`: not finished yet.
    rows: Option<i64>,
    resumed: bool,
    /// Why it does not go on, where that is its own affair.
    why: Option<String>,
}

/// What a redrive came to.
#[derive(Debug)]
struct Redriven {
    plan: Plan,
    returns: Vec<Sent>,
}

impl Desk {
    /// As configured; `None` where operators do nothing over HTTP. Nothing is connected yet.
    ///
    /// # Errors
    /// A password's file that cannot be used; or where the pool cannot be made.
    pub(crate) fn new(config: &Config, client: etcd::Client, keys: Keys) -> anyhow::Result<Option<Self>> {
        if !config.access.enable_operator_routes {
            return Ok(None);
        }
        let db = config.access.operators(&config.db);
        db.access()?;
        let session = Session { application: "nexus-gateway-operator".to_owned(), ..Session::default() };
        let manner = Manner {
            message_ttl: config.access.redrive_ttl,
            high_water_rows: config.access.redrive_high_water_rows,
            max_txn_ops: config.common.max_txn_ops,
        };
        let pool = db::pool_with(&db, 2, &session)?;
        Ok(Some(Desk(Arc::new(Inner { pool, client, keys, manner, turn: Semaphore::new(1) }))))
    }

    /// Sends letters again; in a dry run it tells what that would come to.
    pub(crate) async fn redrive(&self, asked: Redrive, by: &Actor) -> Result<RedriveAnswer, Error> {
        let dry_run = asked.dry_run;
        let wish = asked.wish()?;
        let redriven = if dry_run { self.plan(&wish).await? } else { self.send(&wish, by).await? };
        Ok(RedriveAnswer::of(redriven, dry_run))
    }

    /// Gives up the payload of letters, where they are as many as expected; in a dry run it tells how many they are.
    pub(crate) async fn purge(&self, asked: Purge, by: &Actor) -> Result<PurgeAnswer, Error> {
        let (dry_run, expected) = (asked.dry_run, asked.expect);
        let selection = asked.selection()?;
        let (mut client, cluster) = self.open().await?;
        if dry_run {
            return Ok(PurgeAnswer::of(letters::purgeable(&client, cluster, &selection).await?, dry_run));
        }
        if let Some(many) = expected.filter(|expected| *expected > MOST_PURGED) {
            return Err(Error::TooMany(many));
        }
        match letters::purge(&mut client, cluster, &selection, by, expected).await? {
            Purged::Done(tally) => Ok(PurgeAnswer::of(tally, dry_run)),
            Purged::Otherwise(found) => Err(Error::Otherwise { expected: expected.unwrap_or_default(), found }),
        }
    }

    /// What a redrive of these would do; nothing is changed.
    async fn plan(&self, wish: &Wish<'_>) -> Result<Redriven, Error> {
        let (client, cluster) = self.open().await?;
        let unfinished = returns::unfinished(&client, cluster, Kind::Redrive).await?;
        let plan = redrive::plan(&client, cluster, wish, &[]).await?;
        let returns = unfinished.into_iter().map(|of| Sent { of, rows: None, resumed: true, why: None });
        Ok(Redriven { plan, returns: returns.collect() })
    }

    /// Goes on with what is not finished, then sends these.
    async fn send(&self, wish: &Wish<'_>, by: &Actor) -> Result<Redriven, Error> {
        let _turn = self.0.turn.try_acquire().map_err(|_| Error::UnderWay)?;
        let mut left = Left::all();
        let (mut client, cluster) = self.open().await?;
        let Inner { client: etcd, keys, manner, .. } = &*self.0;
        let mut sending = Sending::begin(etcd.clone(), keys.clone(), *manner, Box::new(tell)).await?;
        let mut returns = Vec::new();
        for of in returns::unfinished(&client, cluster, Kind::Redrive).await? {
            let sent = go_on(&client, cluster, &mut sending, of, by, &mut left).await?;
            let is_over = sent.rows.is_none() && sent.why.is_none();
            returns.push(sent);
            if is_over {
                let plan = Plan { more: true, ..Plan::default() };
                return Ok(Redriven { plan, returns });
            }
        }
        let resumed: Vec<i64> = returns.iter().map(|sent| sent.of.id).collect();
        let plan = redrive::plan(&client, cluster, wish, &resumed).await?;
        let noted = match plan.fits.is_empty() {
            true => None,
            false => {
                let by = (by, &wish.selection);
                returns::begin_redrive(&mut client, cluster, &plan.fits, wish.again, by).await?
            }
        };
        if let Some(of) = noted {
            let rows = publish(&client, &mut sending, &of, &mut left).await?;
            returns.push(Sent { of, rows, resumed: false, why: None });
        }
        Ok(Redriven { plan, returns })
    }

    async fn open(&self) -> Result<(Client, i32), Error> {
        let client = self.0.pool.get().await.map_err(db::Error::from)?;
        let cluster = letters::cluster(&client, self.0.keys.cluster_id()).await?;
        Ok((client, cluster.ok_or(Error::NoCluster)?))
    }
}

/// Goes on with a return that somebody began. What it cannot go on for, and others can, is told with it.
async fn go_on(
    client: &Client,
    cluster: i32,
    sending: &mut Sending,
    of: Return,
    by: &Actor,
    left: &mut Left,
) -> Result<Sent, Error> {
    // Looked at before its lane is opened: that would fence whoever goes on with it on the command line.
    let hindrance = redrive::hindrance(client, sending, &of).await?;
    let published = match hindrance {
        Some(error) => Err(error.into()),
        None => {
            actions::resume(client, cluster, by, &of).await?;
            publish(client, sending, &of, left).await
        }
    };
    match published {
        Ok(rows) => Ok(Sent { of, rows, resumed: true, why: None }),
        Err(Error::Sending(error)) => {
            let Some(why) = error::of_one(&error) else { return Err(error.into()) };
            tracing::warn!(redrive = of.id, why, "a redrive does not go on; others do");
            Ok(Sent { of, rows: None, resumed: true, why: Some(why) })
        }
        Err(error) => Err(error),
    }
}

/// Publishes a return while time is left. `None`: there is more; its lane's cursor knows from where.
async fn publish(client: &Client, sending: &mut Sending, of: &Return, left: &mut Left) -> Result<Option<i64>, Error> {
    left.spend(redrive::send(client, sending, of, None)).await.transpose().map_err(Error::from)
}

/// What is left of the time that a request may publish. Looking at what is to be published takes nothing of it: however long
/// that is, each request gets further.
struct Left(Duration);

impl Left {
    fn all() -> Left {
        Left(Duration::from_millis(failpoint::number("redrive.longest", LONGEST_MS).unsigned_abs()))
    }

    /// What comes of this work; `None`: the time is over before it.
    async fn spend<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let began = Instant::now();
        let done = timeout(self.0, work).await.ok();
        self.0 = self.0.saturating_sub(began.elapsed());
        done
    }
}

#[expect(clippy::needless_pass_by_value, reason = "that is how it is handed over")]
fn tell(told: Told<'_>) {
    match told {
        Told::NoCollector => tracing::warn!("a redrive, and no collector runs: what is published waits in the queue"),
        Told::Waiting { queued, limit } => tracing::warn!(queued, limit, "a redrive waits for room in the queue"),
        Told::Rewound(lane) => tracing::warn!(lane, "etcd went back in time: going on from where its cursor stands"),
        Told::Published { of, rows } => tracing::debug!(redrive = of.id, rows, "published"),
    }
}
