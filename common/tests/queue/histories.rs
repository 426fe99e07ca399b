//! Producers and collectors that really run at once, through lines that break, so that calls end with nobody knowing
//! what became of them; then what happened is held against I1 to I4 (`history/check.rs`).
//!
//! `HISTORY_SEED` repeats the choices (not the interleaving), `HISTORY_SECONDS` makes it longer. On a machine that does little
//! in this time it goes on until there is something to show.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nexus_common::etcd::{self, Client, Error, KeyValue, Scope, follow};
use nexus_common::queue::{BatchId, Claimed, Consumer, Cursor, Fate, Keys, Lane, Manifest, Outcome as Claim, Settled};
use nexus_common::testing::{self, Proxy};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::history;
use crate::history::check::{Figures, check};
use crate::history::{Change, Outcome, Put, Recorder, What};
use crate::support::{TTL, draft, lines, put};

/// Producers and the lanes they fight for.
const PRODUCERS: [&str; 5] = ["a", "a", "b", "b", "c"];
const COLLECTORS: u64 = 4;
/// How much longer it goes on where there is nothing to show.
const AT_MOST: Duration = Duration::from_secs(180);
/// Batches that may wait before producers pause.
const DEEP: usize = 60;

/// What all workers share.
struct World {
    keys: Keys,
    /// Straight to etcd: for what ends with a known outcome.
    direct: Client,
    recorder: Recorder,
    /// Insert-once, as PostgreSQL's ledger is.
    ledger: Mutex<BTreeMap<BatchId, (Vec<u64>, u64)>>,
    stop: AtomicBool,
    published: AtomicUsize,
    acknowledged: AtomicUsize,
}

#[test]
fn a_history_of_concurrent_workers_keeps_to_the_invariants() {
    let number = |name: &str| std::env::var_os(name).and_then(|value| value.to_str()?.parse::<u64>().ok());
    let seed = number("HISTORY_SEED").unwrap_or_else(rand::random);
    let lasting = Duration::from_secs(number("HISTORY_SECONDS").unwrap_or(8));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    println!("HISTORY_SEED={seed}");
    let figures = runtime.block_on(live(seed, lasting));
    println!("{figures:?}");
    assert!(figures.show_something(), "{figures:?}");
}

async fn live(seed: u64, lasting: Duration) -> Figures {
    let etcd = testing::etcd().await;
    let direct = Client::connect(&etcd.endpoints()).await.unwrap();
    let world = Arc::new(World {
        keys: Keys::new("/telemetry/queue", "history"),
        direct,
        recorder: Recorder::default(),
        ledger: Mutex::default(),
        stop: AtomicBool::new(false),
        published: AtomicUsize::new(0),
        acknowledged: AtomicUsize::new(0),
    });
    let (upstream, downstream) = (Proxy::to(etcd.endpoint()).await, Proxy::to(etcd.endpoint()).await);
    let (mut watching, (empty, seen)) = (JoinSet::new(), oneshot::channel());
    watching.spawn(watch(world.clone(), empty));
    seen.await.unwrap();
    let mut workers = JoinSet::new();
    for (index, lane) in PRODUCERS.iter().enumerate() {
        let client = Client::connect(&[upstream.endpoint()]).await.unwrap();
        workers.spawn(produce(world.clone(), client, lane, StdRng::seed_from_u64(seed ^ (index as u64 + 1))));
    }
    for index in 0..COLLECTORS {
        let client = Client::connect(&[downstream.endpoint()]).await.unwrap();
        let random = StdRng::seed_from_u64(seed ^ (index + 101));
        workers.spawn(Collector::new(world.clone(), client, index, random).await.work());
    }
    disturb(&world, [&upstream, &downstream], StdRng::seed_from_u64(seed), lasting).await;
    world.stop.store(true, Ordering::SeqCst);
    workers.join_all().await;
    drain(&world).await;
    put(&world.direct, END, "").await;
    watching.join_all().await;
    let mut history = world.recorder.history();
    for prefix in
        [world.keys.messages(), world.keys.manifests(), world.keys.claims(), "/telemetry/attempt/history/".into()]
    {
        let found = world.direct.list(&prefix, usize::MAX).await.unwrap();
        history.left.extend(found.kvs.iter().map(|kv| kv.key_str().unwrap().to_owned()));
    }
    check(&history).unwrap_or_else(|broken| {
        panic!("HISTORY_SEED={seed}: {} violations\n{}", broken.len(), broken[..broken.len().min(20)].join("\n"))
    })
}

/// The last key to be put: the watch ends with it.
const END: &str = "/telemetry/end";

/// Records every change, and says when it has seen that there is nothing yet: what is put before that it would not tell.
async fn watch(world: Arc<World>, empty: oneshot::Sender<()>) {
    let mut empty = Some(empty);
    let scope = Scope::all("test", "/telemetry/");
    follow(&world.direct, &scope, |change| {
        match change {
            etcd::Change::Put(kv) if kv.key() == END.as_bytes() => return false,
            etcd::Change::Put(kv) => put_seen(&world, &kv),
            etcd::Change::Delete(key) => gone_seen(&world, key),
            etcd::Change::Snapshot(found, _) => {
                // Once: a watch that begins anew may have missed something.
                let empty = empty.take().unwrap();
                assert!(found.is_empty(), "the watch sees everything from the first revision on");
                empty.send(()).unwrap();
            }
            etcd::Change::Interrupted | etcd::Change::Resumed => {}
        }
        true
    })
    .await;
}

fn put_seen(world: &World, kv: &KeyValue) {
    let (keys, key) = (&world.keys, kv.key_str().unwrap());
    let put = Put { revision: kv.mod_revision(), version: kv.version(), lease: kv.lease() };
    let text = || kv.value_str().unwrap().to_owned();
    let batch = || Keys::batch_of(key).unwrap();
    let change = if key.starts_with(&keys.messages()) {
        Change::Message { key: key.to_owned(), put }
    } else if key.starts_with(&keys.manifests()) {
        Change::Manifest { batch: batch(), manifest: Manifest::decode(kv.value()).unwrap(), put }
    } else if key.starts_with(&keys.claims()) {
        Change::Claim { batch: batch(), by: text(), put }
    } else if let Some(lane) = key.strip_prefix(&keys.lanes()) {
        let Cursor { run, epoch, n, rows, .. } = serde_json::from_slice(kv.value()).unwrap();
        Change::Cursor { lane: lane.to_owned(), run, epoch, n, rows, put }
    } else {
        return;
    };
    world.recorder.saw(change);
}

fn gone_seen(world: &World, key: String) {
    let keys = &world.keys;
    let batch = || Keys::batch_of(&key).unwrap();
    let change = if key.starts_with(&keys.manifests()) {
        Change::ManifestGone { batch: batch() }
    } else if key.starts_with(&keys.claims()) {
        Change::ClaimGone { batch: batch() }
    } else if let Some(lane) = key.strip_prefix(&keys.lanes()) {
        Change::CursorGone { lane: lane.to_owned() }
    } else if key.starts_with(&keys.messages()) {
        Change::MessageGone { key }
    } else {
        return;
    };
    world.recorder.saw(change);
}

impl World {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    fn deep(&self) -> bool {
        let acknowledged = self.acknowledged.load(Ordering::SeqCst);
        self.published.load(Ordering::SeqCst).saturating_sub(acknowledged) > DEEP
    }

    async fn revoke(&self, lease: i64) {
        let begin = self.recorder.now();
        let outcome = self.direct.revoke(lease).await;
        assert!(matches!(outcome, Ok(()) | Err(Error::LeaseGone)), "{outcome:?}");
        self.recorder.ended(begin, What::Revoke { lease }, Outcome::Done);
    }

    /// What the ledger's INSERT … ON CONFLICT DO NOTHING does.
    fn store(&self, claimed: &Claimed) {
        let (begin, lines) = (self.recorder.now(), lines(claimed));
        let expired = claimed.manifest.rows.saturating_sub(lines.len() as u64);
        let fresh = {
            let mut ledger = self.ledger.lock().unwrap();
            let fresh = !ledger.contains_key(&claimed.batch);
            ledger.entry(claimed.batch.clone()).or_insert_with(|| (lines.clone(), expired));
            fresh
        };
        let what = What::Store { batch: claimed.batch.clone(), lines, expired, fresh };
        self.recorder.ended(begin, what, Outcome::Done);
    }
}

/// Publishes line after line, is killed in the middle of it, and starts again where the cursor says.
async fn produce(world: Arc<World>, client: Client, name: &'static str, mut random: StdRng) {
    while !world.stopped() {
        let begin = world.recorder.now();
        let start = json!(0);
        let lane = Lane::open(&client, &world.keys, name, &start, TTL);
        let Ok(lane) = timeout(Duration::from_millis(random.random_range(5..500)), lane).await else {
            // Killed while it opened: what it may have put nobody knows.
            continue;
        };
        let mut lane = lane.unwrap();
        let Cursor { run, epoch, .. } = lane.cursor().clone();
        let what = What::Open { lane: name.to_owned(), run: run.clone(), epoch };
        world.recorder.ended(begin, what, Outcome::Done);
        let (mut at, mut n) = (lane.cursor().position.as_u64().unwrap(), lane.cursor().n);
        let (batches, ahead) = (random.random_range(1..40), random.random_range(0..3));
        let mut sent = VecDeque::new();
        let mut killed = false;
        for _ in 0..batches {
            while !killed && world.deep() && !world.stopped() {
                match sent.is_empty() {
                    true => sleep(Duration::from_millis(5)).await,
                    false => killed = !settle(&world, &mut lane, &mut sent, patience(&mut random)).await,
                }
            }
            killed |= world.stopped();
            let (to, begin) = (at + random.random_range(1..6), world.recorder.now());
            n += 1;
            if !killed {
                sent.push_back((begin, What::Publish { lane: name.to_owned(), run: run.clone(), n }));
                let sending = timeout(patience(&mut random), async {
                    lane.send(&draft(at..to), &json!(to)).await;
                });
                killed = sending.await.is_err();
                at = to;
            }
            while !killed && sent.len() > ahead {
                killed = !settle(&world, &mut lane, &mut sent, patience(&mut random)).await;
            }
            if killed {
                break;
            }
        }
        while !killed && !sent.is_empty() {
            killed = !settle(&world, &mut lane, &mut sent, patience(&mut random)).await;
        }
        for (begin, what) in sent {
            world.recorder.ended(begin, what, Outcome::Unknown);
        }
    }
}

/// How long somebody lives: one in ten is killed in the middle of what he does.
fn patience(random: &mut StdRng) -> Duration {
    match random.random_bool(0.1) {
        true => Duration::from_micros(random.random_range(0..5_000)),
        false => Duration::from_secs(3_600),
    }
}

/// Waits for the first of the batches that were sent. `false`: the producer does not go on, and what became of it, and of
/// those behind it, nobody knows.
async fn settle(
    world: &World,
    lane: &mut Lane,
    sent: &mut VecDeque<(history::Moment, What)>,
    patience: Duration,
) -> bool {
    let settled = timeout(patience, lane.settled()).await;
    let (begin, what) = sent.pop_front().unwrap();
    let outcome = match settled.map(Option::unwrap) {
        Ok(Ok(Settled { batch, .. })) => {
            let What::Publish { lane, run, n } = &what else { panic!("{what:?} was sent") };
            assert_eq!((&batch.lane, &batch.run, batch.n), (lane, run, *n));
            world.published.fetch_add(1, Ordering::SeqCst);
            Outcome::Done
        }
        // It may have been committed before the other one came.
        Ok(Err(Fate::Fenced(_))) | Err(_) => Outcome::Unknown,
        Ok(Err(other)) => {
            world.recorder.surprised(format!("{what:?}: {other}"));
            Outcome::Unknown
        }
    };
    world.recorder.ended(begin, what, outcome);
    outcome == Outcome::Done
}

struct Collector {
    world: Arc<World>,
    client: Client,
    consumer: Consumer,
    name: String,
    lease: i64,
    lives: u64,
    index: u64,
    /// What is claimed and not given up.
    held: Vec<Claimed>,
    /// What a former life held, and still believes to hold.
    zombies: Vec<(Consumer, String, Claimed)>,
    random: StdRng,
}

impl Collector {
    async fn new(world: Arc<World>, client: Client, index: u64, random: StdRng) -> Self {
        let (name, lease) = (format!("c{index}-0"), lease(&world).await);
        let consumer = Consumer::new(client.clone(), world.keys.clone(), &name);
        let (held, zombies) = (Vec::new(), Vec::new());
        Collector { world, client, consumer, name, lease, lives: 0, index, held, zombies, random }
    }

    async fn work(mut self) {
        while !self.world.stopped() {
            match self.random.random_range(0..100) {
                0..4 => self.die().await,
                4..14 => self.haunt().await,
                14..20 => self.release().await,
                20..55 if !self.held.is_empty() => self.finish().await,
                _ => self.claim().await,
            }
        }
    }

    /// Claims one of the oldest batches: others want it too.
    async fn claim(&mut self) {
        let found = match self.client.list(&self.world.keys.manifests(), 6).await {
            Ok(found) if !found.kvs.is_empty() => found.kvs,
            _ => return sleep(Duration::from_millis(5)).await,
        };
        let kv = &found[self.random.random_range(0..found.len())];
        let (batch, manifest) = (Keys::batch_of(kv.key_str().unwrap()).unwrap(), Manifest::decode(kv.value()).unwrap());
        let what = What::Claim { batch: batch.clone(), by: self.name.clone(), lease: self.lease };
        let begin = self.world.recorder.now();
        let outcome = self.consumer.claim(&batch, &manifest, kv.mod_revision(), self.lease).await;
        match outcome {
            Ok(Claim::Claimed(claimed)) => {
                self.world.recorder.ended(begin, what, Outcome::Done);
                self.held.retain(|held| held.batch != batch);
                self.held.push(claimed);
            }
            Ok(Claim::Taken | Claim::Gone) => self.world.recorder.ended(begin, what, Outcome::Refused),
            Err(error) => {
                assert!(error.is_transient(), "{error}");
                self.world.recorder.ended(begin, what, Outcome::Unknown);
            }
        }
    }

    /// Stores what it holds, and acknowledges it most of the time.
    async fn finish(&mut self) {
        let claimed = self.held.swap_remove(self.random.random_range(0..self.held.len()));
        self.world.store(&claimed);
        if self.random.random_bool(0.9) {
            acknowledge(&self.world, &self.consumer, &claimed, self.random.random_bool(0.5)).await;
        } else {
            self.held.push(claimed);
        }
    }

    async fn release(&mut self) {
        let Some(claimed) = self.held.pop() else { return };
        release(&self.world, &self.consumer, &self.name, &claimed).await;
    }

    /// The session ends; what was held a zombie believes to hold.
    async fn die(&mut self) {
        self.world.revoke(self.lease).await;
        self.lives += 1;
        let name = format!("c{}-{}", self.index, self.lives);
        let consumer = Consumer::new(self.client.clone(), self.world.keys.clone(), &name);
        let (dead, name) = (std::mem::replace(&mut self.consumer, consumer), std::mem::replace(&mut self.name, name));
        self.lease = lease(&self.world).await;
        self.zombies.extend(self.held.drain(..).map(|claimed| (dead.clone(), name.clone(), claimed)));
    }

    /// A zombie stores late, or gives back what it has not.
    async fn haunt(&mut self) {
        if self.zombies.is_empty() {
            return;
        }
        let (consumer, name, claimed) = self.zombies.swap_remove(self.random.random_range(0..self.zombies.len()));
        if self.random.random_bool(0.5) {
            return release(&self.world, &consumer, &name, &claimed).await;
        }
        self.world.store(&claimed);
        if self.random.random_bool(0.5) {
            acknowledge(&self.world, &consumer, &claimed, true).await;
        }
    }
}

async fn lease(world: &World) -> i64 {
    world.direct.grant(Duration::from_secs(3_600)).await.unwrap().id
}

async fn acknowledge(world: &World, consumer: &Consumer, claimed: &Claimed, feed: bool) {
    let feed = feed.then(|| claimed.batch.to_string());
    let begin = world.recorder.now();
    let outcome = match consumer.ack(claimed, feed.as_deref().map(str::as_bytes)).await {
        Ok(true) => {
            world.acknowledged.fetch_add(1, Ordering::SeqCst);
            Outcome::Done
        }
        Ok(false) => Outcome::Refused,
        Err(error) => {
            assert!(error.is_transient(), "{error}");
            Outcome::Unknown
        }
    };
    world.recorder.ended(begin, What::Ack { batch: claimed.batch.clone() }, outcome);
}

async fn release(world: &World, consumer: &Consumer, name: &str, claimed: &Claimed) {
    let begin = world.recorder.now();
    let outcome = if consumer.release(claimed).await.is_ok() { Outcome::Done } else { Outcome::Unknown };
    let what = What::Release { batch: claimed.batch.clone(), by: name.to_owned() };
    world.recorder.ended(begin, what, outcome);
}

/// Breaks lines and lets messages expire, until the time is over and there is something to show; leaves everything whole.
async fn disturb(world: &World, lines: [&Proxy; 2], mut random: StdRng, lasting: Duration) {
    let shows = || Figures::of(&world.recorder.history()).show_something();
    let until = Instant::now() + lasting;
    while Instant::now() < until || (Instant::now() < until + AT_MOST && !shows()) {
        sleep(Duration::from_millis(random.random_range(10..150))).await;
        let line = lines[random.random_range(0..2)];
        let pause = Duration::from_millis(random.random_range(1..60));
        match random.random_range(0..10) {
            0..3 => line.cut(),
            3..7 => {
                line.withhold_answers();
                sleep(pause).await;
                line.cut();
            }
            7..9 => line.stall(),
            _ => {
                expire(world, &mut random).await;
            }
        }
        sleep(pause).await;
        line.heal();
    }
}

/// The lease of some batch's messages ends.
async fn expire(world: &World, random: &mut StdRng) {
    let found = world.direct.list(&world.keys.manifests(), 20).await.unwrap().kvs;
    if !found.is_empty() {
        let lease = Manifest::decode(found[random.random_range(0..found.len())].value()).unwrap().lease;
        world.revoke(lease).await;
    }
}

/// All sessions end, and one collector takes what is left.
async fn drain(world: &Arc<World>) {
    let history = world.recorder.history();
    let mut leases: Vec<i64> = history
        .calls
        .iter()
        .filter_map(|call| match call.what {
            What::Claim { lease, .. } => Some(lease),
            _ => None,
        })
        .collect();
    leases.sort_unstable();
    leases.dedup();
    for lease in leases {
        world.revoke(lease).await;
    }
    let mut last = Collector::new(world.clone(), world.direct.clone(), COLLECTORS, StdRng::seed_from_u64(0)).await;
    while world.direct.count(&world.keys.manifests()).await.unwrap() > 0 {
        last.claim().await;
        while !last.held.is_empty() {
            last.finish().await;
        }
    }
}
