//! One pipeline: take batches, claim, decode, store, acknowledge.
//!
//! All pipelines of a process put what they have decoded onto one [`Quay`]. One of them at a time stores, and takes along
//! what waits there: while PostgreSQL is busy the next flight grows, so that the more there is to do, the more batches one
//! transaction takes, and rows of one GPU meet in memory instead of in the database.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};
use nexus_common::db::Error as DbError;
use nexus_common::etcd::Error as EtcdError;
use nexus_common::failpoint;
use nexus_common::queue::{Claimed, Consumer, Decoder, Outcome, Session};
use nexus_common::retry::Retry;
use nexus_common::shutdown::drained;
use nexus_common::traces::trace_id;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::field;

use crate::breaker::Breaker;
use crate::figures::Figures;
use crate::merge::feed_of;
use crate::quay::{Quay, Turn};
use crate::tally::Tally;
use crate::traced::{step, tell_stored};
use crate::view::Pick;
use crate::watching::Board;
use crate::work::{Newer, Work};
use crate::write::Writer;

/// Batches a pipeline takes at once, at most: each is a claim and an acknowledgement of its own.
const TAKE_BATCHES: usize = 64;
/// Claims, or acknowledgements, that one pipeline has under way at once: each may carry a mebibyte.
const AT_ONCE: usize = 8;
/// From this attempt on a batch is worked on alone: it may be what killed the others.
const SUSPECT_FROM: u32 = 3;
/// How long a stop waits for PostgreSQL to answer a store: well below DRAIN_TIMEOUT, so that claims are given back.
const LAST_TRY: Duration = Duration::from_secs(8);
/// What storing a flight may take. The server ends a statement after a minute and says so; a server that says nothing is
/// not there, though the connection to it may be.
const STORE_DEADLINE_MS: i64 = 120_000;
/// How long a batch that a newer version wrote is left to a newer collector.
const LEAVE_TO_NEWER: Duration = Duration::from_secs(30);

/// What all pipelines share.
pub(crate) struct Shared {
    pub(crate) board: Board,
    pub(crate) consumer: Consumer,
    pub(crate) session: Session,
    pub(crate) writer: Writer,
    pub(crate) breaker: Breaker,
    pub(crate) tally: Tally,
    pub(crate) figures: Figures,
    /// etcd is full: nobody claims, see [`Consumer::read`].
    pub(crate) out_of_space: AtomicBool,
    /// Batches acknowledged without a feed since the last one that was put: the next one says so.
    pub(crate) untold: AtomicUsize,
    /// Held while a batch that may kill its collector is worked on.
    pub(crate) suspect: tokio::sync::Mutex<()>,
    /// One for all pipelines: what is said of a GPU is kept once.
    pub(crate) decoder: Mutex<Decoder>,
    pub(crate) quay: Quay,
    /// Rows a pipeline takes at once.
    pub(crate) take_rows: u64,
    pub(crate) max_attempts: u32,
}

pub(crate) fn store_deadline() -> Duration {
    Duration::from_millis(failpoint::number("store.deadline", STORE_DEADLINE_MS).unsigned_abs())
}

/// Works until `stop`; then what is claimed and not stored is given back, no attempt counted.
pub(crate) async fn work(shared: Arc<Shared>, stop: CancellationToken) {
    loop {
        let picks = tokio::select! {
            picks = shared.take() => picks,
            () = stop.cancelled() => return,
        };
        let (suspects, sound) = shared.claim_all(picks).await;
        shared.quay.put(sound);
        shared.deliver_waiting(&stop).await;
        shared.deliver_suspects(suspects, &stop).await;
    }
}

impl Shared {
    async fn take(&self) -> Vec<Pick> {
        self.board
            .next(|view| {
                if self.out_of_space.load(Ordering::Relaxed) {
                    view.take_unclaimed(Instant::now()).into_iter().collect()
                } else if self.session.lease().is_some() {
                    view.take(self.take_rows, TAKE_BATCHES, Instant::now())
                } else {
                    Vec::new()
                }
            })
            .await
    }

    /// One suspect at a time in the whole process: whichever kills it must not take others' attempts along. So the others
    /// are given back before, which counts no attempt, and claimed again when it is their turn.
    async fn deliver_suspects(&self, suspects: Vec<Claimed>, stop: &CancellationToken) {
        if suspects.is_empty() {
            return;
        }
        let Ok(_alone) = self.suspect.try_lock() else {
            let later = Instant::now() + Duration::from_secs(1);
            join_all(suspects.iter().map(|suspect| self.release(suspect, later))).await;
            return;
        };
        let mut suspects = suspects.into_iter();
        let first = suspects.next();
        let others: Vec<_> = suspects.collect();
        join_all(others.iter().map(|suspect| self.let_go(suspect))).await;
        self.deliver_alone(first, stop).await;
        for Claimed { batch, manifest, revision, .. } in others {
            if stop.is_cancelled() {
                return;
            }
            let (suspect, sound) = self.claim_all(vec![Pick { batch, manifest, revision }]).await;
            self.deliver_alone(suspect, stop).await;
            self.quay.put(sound);
            self.deliver_waiting(stop).await;
        }
    }

    /// Decodes a suspect only now, and stores it by itself.
    async fn deliver_alone(&self, suspect: impl IntoIterator<Item = Claimed>, stop: &CancellationToken) {
        for claimed in suspect {
            if let Some(work) = self.decode(claimed).await {
                let turn = self.quay.turn().await;
                let works = vec![work];
                self.deliver(works, turn, stop).await;
            }
        }
    }

    /// Claims these batches. Those that may be deadly are returned as they are, the others decoded.
    async fn claim_all(&self, picks: Vec<Pick>) -> (Vec<Claimed>, Vec<Work>) {
        let claims = stream::iter(picks).map(async |pick| {
            let claimed = self.claim_one(&pick).await?;
            match claimed.attempt >= SUSPECT_FROM {
                true => Some(Err(claimed)),
                false => self.decode(claimed).await.map(Ok),
            }
        });
        let mut claims = pin!(claims.buffer_unordered(AT_ONCE));
        let (mut suspects, mut sound) = (Vec::new(), Vec::new());
        while let Some(claimed) = claims.next().await {
            match claimed {
                Some(Ok(work)) => sound.push(work),
                Some(Err(suspect)) => suspects.push(suspect),
                None => {}
            }
        }
        (suspects, sound)
    }

    /// `None`: not ours now; the view knows.
    async fn claim_one(&self, pick: &Pick) -> Option<Claimed> {
        let began = Instant::now();
        let outcome = self.claim(pick).await;
        let now = Instant::now();
        match outcome {
            Ok(Outcome::Claimed(claimed)) => {
                let trace_id = trace_id(claimed.manifest.traceparent.as_deref());
                tracing::debug!(batch = %claimed.batch, trace_id, attempt = claimed.attempt, "claimed");
                if let Some(span) = step("claim", &claimed) {
                    span.took(now - began).with("nexus.attempt", u64::from(claimed.attempt)).end();
                }
                // Without a claim it was only read.
                if claimed.attempt > 0 {
                    self.tally.claimed(now - began);
                }
                return Some(claimed);
            }
            Ok(Outcome::Gone) => {
                self.tally.claims_lost.inc();
                self.board.view().finish(&pick.batch);
            }
            Ok(Outcome::Taken) => {
                self.tally.claims_lost.inc();
                self.board.view().give_back(&pick.batch, now + Duration::from_secs(1));
            }
            Err(error) => {
                if matches!(error, EtcdError::NoSpace) && !self.out_of_space.swap(true, Ordering::Relaxed) {
                    tracing::error!("etcd is full: draining it without claims");
                } else {
                    tracing::debug!(%error, batch = %pick.batch, "cannot claim yet");
                }
                self.board.view().give_back(&pick.batch, now + Duration::from_millis(500));
            }
        }
        None
    }

    async fn claim(&self, pick: &Pick) -> Result<Outcome, EtcdError> {
        match self.session.lease() {
            _ if self.out_of_space.load(Ordering::Relaxed) => {
                self.consumer.read(&pick.batch, &pick.manifest, pick.revision).await
            }
            Some(lease) => self.consumer.claim(&pick.batch, &pick.manifest, pick.revision, lease).await,
            None => Err(EtcdError::Unavailable("no session".to_owned())),
        }
    }

    /// `None`: left for a newer collector.
    async fn decode(&self, claimed: Claimed) -> Option<Work> {
        let batch = claimed.batch.clone();
        if claimed.attempt > self.max_attempts {
            tracing::error!(%batch, attempts = claimed.attempt, "too many attempts: the batch goes to the dead letters");
            return Some(Work::bury(claimed, self.max_attempts));
        }
        let decoded = Work::decode(claimed, &mut self.decoder.lock().unwrap_or_else(PoisonError::into_inner));
        match decoded {
            Ok(work) => Some(work),
            Err(refused) => {
                let (claimed, Newer(version)) = *refused;
                tracing::warn!(%batch, version, "written by a newer version: left for a newer collector");
                self.release(&claimed, Instant::now() + LEAVE_TO_NEWER).await;
                None
            }
        }
    }

    /// Stores what waits, flight by flight, until nothing does or another pipeline will: they take ours along as we take
    /// theirs.
    async fn deliver_waiting(&self, stop: &CancellationToken) {
        while let Some((turn, works)) = self.quay.next_flight(stop).await {
            self.deliver(works, turn, stop).await;
        }
    }

    /// Stores a flight however long PostgreSQL takes to come back, then acknowledges it while the next one is stored.
    async fn deliver(&self, mut works: Vec<Work>, turn: Turn<'_>, stop: &CancellationToken) {
        let stored = self.store(&mut works, stop).await;
        if !stored {
            // The others that wait would not fare better.
            works.extend(self.quay.clear());
        }
        drop(turn);
        stream::iter(&works)
            .for_each_concurrent(AT_ONCE, async |work| match stored {
                true => self.ack(work, stop).await,
                false => self.release(&work.claimed, Instant::now()).await,
            })
            .await;
    }

    /// `false`: told to stop before PostgreSQL came back.
    async fn store(&self, works: &mut [Work], stop: &CancellationToken) -> bool {
        loop {
            let found_out = self.breaker.found_out();
            if let Err(until) = self.breaker.admit(Instant::now()) {
                tokio::select! {
                    () = tokio::time::sleep_until(until) => continue,
                    () = found_out => continue,
                    () = stop.cancelled() => return false,
                }
            }
            let started = Instant::now();
            let tried = timeout(store_deadline(), self.writer.store(works));
            let Some(stored) = drained(tried, stop, LAST_TRY).await else {
                // Whether it was committed after all, the ledger tells the next one.
                return false;
            };
            let stored = stored.unwrap_or_else(|_| {
                // The others lead the same way: none of them should take the next try's time.
                self.writer.forget_connections();
                Err(DbError::transient("PostgreSQL does not answer"))
            });
            match stored {
                Ok(stored) => {
                    if self.breaker.succeeded() {
                        tracing::info!("PostgreSQL is back");
                    }
                    let took = started.elapsed();
                    self.tally.stored(stored, works, took);
                    tell_stored(works, took);
                    return true;
                }
                Err(error) => {
                    self.tally.store_failures.inc();
                    let wait = self.breaker.failed(Instant::now());
                    let (batch, batches) = (works.first().map(|work| field::display(&work.claimed.batch)), works.len());
                    tracing::warn!(batch, batches, %error, ?wait, "cannot store; keeping the claims");
                }
            }
        }
    }

    /// Acknowledges until etcd takes it: the rows are stored, so a repeat or a redelivery changes nothing.
    async fn ack(&self, work: &Work, stop: &CancellationToken) {
        let (mut retry, began) = (Retry::call(), Instant::now());
        let span = step("acknowledge", &work.claimed);
        // Who does not trace hands on what came.
        let traceparent = span.as_ref().map(|span| span.context().to_string());
        let traceparent = traceparent.as_deref().or(work.claimed.manifest.traceparent.as_deref());
        let (mut tries_after_stop, mut mute) = (3, false);
        while tries_after_stop > 0 {
            let feed = (!mute && !self.out_of_space.load(Ordering::Relaxed)).then(|| self.tell(work, traceparent));
            let told = self.consumer.ack(&work.claimed, feed.as_ref().map(|(feed, _)| feed.as_slice())).await;
            match (&told, &feed) {
                (Ok(true), Some(_)) => {}
                (Ok(true), None) => _ = self.untold.fetch_add(1, Ordering::Relaxed),
                // Not known to be told: the next feed says it again.
                (_, Some((_, untold))) => _ = self.untold.fetch_add(*untold, Ordering::Relaxed),
                (_, None) => {}
            }
            let error = match told {
                Ok(_) => {
                    self.tally.acknowledged(began.elapsed());
                    let trace_id = trace_id(traceparent);
                    tracing::debug!(batch = %work.claimed.batch, trace_id, "acknowledged");
                    if let Some(span) = span {
                        span.end();
                    }
                    self.board.view().finish(&work.claimed.batch);
                    return;
                }
                Err(EtcdError::NoSpace) => {
                    self.out_of_space.store(true, Ordering::Relaxed);
                    continue;
                }
                Err(EtcdError::TooLarge(_)) if !mute => {
                    mute = true;
                    continue;
                }
                Err(error) => error,
            };
            if !error.is_transient() {
                // Stored, but not deletable: say so loudly, and leave it to be tried again.
                tracing::error!(%error, batch = %work.claimed.batch, "etcd refuses the acknowledgement");
                self.board.view().give_back(&work.claimed.batch, Instant::now() + Duration::from_secs(30));
                return;
            }
            if stop.is_cancelled() {
                tries_after_stop -= 1;
            }
            tokio::time::sleep(retry.next_wait()).await;
        }
        tracing::warn!(batch = %work.claimed.batch, "stored but not acknowledged: it will be redelivered and recognised");
    }

    /// The feed of a batch, and how many batches it says were not told.
    fn tell(&self, work: &Work, traceparent: Option<&str>) -> (Vec<u8>, usize) {
        let untold = self.untold.swap(0, Ordering::Relaxed);
        (feed_of(work, untold, traceparent), untold)
    }

    /// Gives a batch back, to be tried again from `from` on.
    async fn release(&self, claimed: &Claimed, from: Instant) {
        self.let_go(claimed).await;
        self.board.view().give_back(&claimed.batch, from);
    }

    /// Gives a batch back in etcd; this process keeps it in mind as its own.
    async fn let_go(&self, claimed: &Claimed) {
        if let Err(error) = self.consumer.release(claimed).await {
            tracing::debug!(%error, batch = %claimed.batch, "not released: the claim goes with the session");
        }
    }
}
