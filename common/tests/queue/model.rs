//! The queue against a model of it: random actions, and after each one every key in etcd is as the model says.
//!
//! A crash is the end of a lease, so nothing waits. Two lanes share one time, so that their keys interleave.
//!
//! What PostgreSQL would know is known here: a row is stored, expired or dead, each once. A dead one that is published
//! again was noted to be before (`returns`), with a number that the cursor of the lane it goes through repeats.

use std::collections::{BTreeMap, BTreeSet};

use nexus_common::etcd::{Client, Error, PutOptions, Txn, TxnOp};
use nexus_common::queue::{BatchId, Claimed, Consumer, Cursor, Draft, Fate, Keys, Lane, MessageKey, Outcome};
use nexus_common::testing::{self, TestEtcd};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::action::{Action, CONSUMERS, LANES, action};
use crate::support::{FUTURE_MS, TTL, batches, body, claimed, draft_of, lines, lines_of, put_future_cursor};

/// The lane of what is sent again, as `nexus dlq redrive` names it.
const REDRIVE: &str = "redrive-1";
/// What fills etcd up.
const FILLER: &str = "/filler";

/// A batch that was published and not acknowledged.
#[derive(Debug)]
struct Batch {
    lines: Vec<u64>,
    /// The keys that are still there.
    keys: BTreeSet<String>,
    holder: Option<String>,
    attempts: u32,
}

struct Member {
    consumer: Consumer,
    id: String,
    lease: i64,
    held: Vec<Claimed>,
}

/// The real queue beside what it must look like.
struct World {
    client: Client,
    keys: Keys,
    lanes: Vec<Lane>,
    members: Vec<Member>,
    zombies: Vec<(Consumer, Claimed)>,
    fenced: Vec<Lane>,
    cursors: Vec<Cursor>,
    waiting: BTreeMap<BatchId, Batch>,
    gone: Vec<Claimed>,
    stored: Vec<u64>,
    expired: Vec<u64>,
    /// Batches that became dead letters, with their rows.
    dead: Vec<Vec<u64>>,
    /// Dead rows that were sent again, in the order in which that was noted.
    returns: Vec<Vec<u64>>,
    published: u64,
    sequences: BTreeSet<u64>,
    members_ever: usize,
}

#[test]
fn the_queue_does_what_its_model_does() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (etcd, client) = runtime.block_on(async {
        let etcd: TestEtcd = testing::etcd_with(|options| options.quota_backend_bytes = 16 << 20).await;
        let client = Client::connect(&etcd.endpoints()).await.unwrap();
        (etcd, client)
    });
    let mut runner =
        TestRunner::new(Config { cases: 32, max_shrink_iters: 200, source_file: Some(file!()), ..Config::default() });
    let case = std::cell::Cell::new(0);
    let outcome = runner.run(&prop::collection::vec(action(), 40..100), |actions| {
        case.set(case.get() + 1);
        runtime.block_on(async {
            let mut world = World::new(client.clone(), &format!("case-{}", case.get())).await;
            for action in actions {
                world.act(action).await;
                world.compare().await;
            }
            world.drain().await;
        });
        Ok(())
    });
    drop(etcd);
    outcome.unwrap();
}

impl World {
    async fn new(client: Client, cluster: &str) -> World {
        let keys = Keys::new("/telemetry/queue", cluster);
        let mut world = World {
            client,
            keys,
            lanes: Vec::new(),
            members: Vec::new(),
            zombies: Vec::new(),
            fenced: Vec::new(),
            cursors: Vec::new(),
            waiting: BTreeMap::new(),
            gone: Vec::new(),
            stored: Vec::new(),
            expired: Vec::new(),
            dead: Vec::new(),
            returns: Vec::new(),
            published: 0,
            sequences: BTreeSet::new(),
            members_ever: 0,
        };
        for name in LANES {
            put_future_cursor(&world.client, &world.keys, name).await;
            let lane = world.open(name).await;
            world.cursors.push(lane.cursor().clone());
            world.lanes.push(lane);
        }
        for _ in 0..CONSUMERS {
            let member = world.member().await;
            world.members.push(member);
        }
        world
    }

    async fn open(&self, name: &str) -> Lane {
        Lane::open(&self.client, &self.keys, name, &Value::Null, TTL).await.unwrap()
    }

    async fn member(&mut self) -> Member {
        self.members_ever += 1;
        let id = format!("member-{}", self.members_ever);
        let lease = self.client.grant(std::time::Duration::from_secs(600)).await.unwrap().id;
        Member { consumer: Consumer::new(self.client.clone(), self.keys.clone(), &id), id, lease, held: Vec::new() }
    }

    async fn act(&mut self, action: Action) {
        match action {
            Action::Publish { lane, hosts } => self.publish(lane, &hosts).await,
            Action::Send { lane, batches } => self.send(lane, &batches).await,
            Action::Claim { consumer, batch } => self.claim(consumer, batch).await,
            Action::Ack { consumer, which, feed } => {
                if let Some(claimed) = take(&mut self.members[consumer].held, which) {
                    let consumer = self.members[consumer].consumer.clone();
                    self.ack(&consumer, claimed, feed).await;
                }
            }
            Action::Bury { consumer, which } => {
                if let Some(claimed) = take(&mut self.members[consumer].held, which) {
                    let consumer = self.members[consumer].consumer.clone();
                    self.bury(&consumer, claimed).await;
                }
            }
            Action::Redrive { which, dies } => {
                if let Some(rows) = take(&mut self.dead, which) {
                    self.returns.push(rows);
                    if !dies {
                        self.redrive().await;
                    }
                }
            }
            Action::RedriveAgain => self.redrive().await,
            Action::Full { lane, hosts, drained } => self.fill_up(lane, &hosts, drained).await,
            Action::Release { consumer, which } => {
                if let Some(claimed) = take(&mut self.members[consumer].held, which) {
                    let member = &self.members[consumer];
                    member.consumer.release(&claimed).await.unwrap();
                    let id = member.id.clone();
                    if let Some(batch) = self.waiting.get_mut(&claimed.batch).filter(|batch| batch.holder == Some(id)) {
                        batch.holder = None;
                        batch.attempts -= 1;
                    }
                }
            }
            Action::Crash { consumer } => {
                let heir = self.member().await;
                let dead = std::mem::replace(&mut self.members[consumer], heir);
                self.client.revoke(dead.lease).await.unwrap();
                for batch in self.waiting.values_mut().filter(|batch| batch.holder.as_ref() == Some(&dead.id)) {
                    batch.holder = None;
                }
                self.zombies.extend(dead.held.into_iter().map(|claimed| (dead.consumer.clone(), claimed)));
            }
            // The rows may well be stored: such an acknowledgement counts, whoever holds the batch now.
            Action::StaleAck { which } => {
                if let Some((consumer, claimed)) = take(&mut self.zombies, which) {
                    self.ack(&consumer, claimed, true).await;
                }
            }
            Action::StaleRelease { which } => {
                if let Some((consumer, claimed)) = take(&mut self.zombies, which) {
                    consumer.release(&claimed).await.unwrap();
                }
            }
            Action::StalePublish { which } => {
                if let Some(mut lane) = take(&mut self.fenced, which) {
                    let fate = lane.publish(&draft_of(vec![body("fenced", &[0])]), &Value::Null).await;
                    assert!(matches!(fate, Err(Fate::Fenced(_))), "{fate:?}");
                }
            }
            Action::Expire { batch } => self.expire(batch).await,
            Action::Reopen { lane } => {
                let new = self.open(LANES[lane]).await;
                let (before, now) = (&self.cursors[lane], new.cursor());
                let expected = Cursor {
                    run: now.run.clone(),
                    epoch: before.epoch + 1,
                    n: 0,
                    opened_rows: Some(before.rows),
                    ..before.clone()
                };
                assert_eq!(*now, expected);
                assert_ne!(before.run, now.run);
                self.cursors[lane] = now.clone();
                self.fenced.push(std::mem::replace(&mut self.lanes[lane], new));
            }
        }
    }

    /// Rows that were not there before, as the hosts send them.
    fn draft(&mut self, hosts: &[u8]) -> Draft {
        let mut bodies = Vec::new();
        for host in hosts {
            // Host 0 sends two rows in one message.
            let count = if *host == 0 { 2 } else { 1 };
            bodies.push(body(&format!("h{host}"), &(self.published..self.published + count).collect::<Vec<_>>()));
            self.published += count;
        }
        draft_of(bodies)
    }

    async fn publish(&mut self, lane: usize, hosts: &[u8]) {
        let draft = self.draft(hosts);
        let before = self.keys_below(&self.keys.messages()).await;
        let position = json!(self.published);
        let batch = self.lanes[lane].publish(&draft, &position).await.unwrap();
        let keys = self.new_keys(draft.messages.len(), &before).await;
        self.was_published(lane, batch, &draft, position, keys);
    }

    async fn send(&mut self, lane: usize, batches: &[Vec<u8>]) {
        let before = self.keys_below(&self.keys.messages()).await;
        let mut sent = Vec::new();
        for hosts in batches {
            let (draft, position) = (self.draft(hosts), json!(self.published));
            self.lanes[lane].send(&draft, &position).await;
            sent.push((draft, position));
        }
        let mut published = Vec::new();
        while let Some(settled) = self.lanes[lane].settled().await {
            published.push(settled.unwrap().batch);
        }
        assert_eq!(published.len(), sent.len());
        let messages = sent.iter().map(|(draft, _)| draft.messages.len()).sum();
        // A lane counts its messages: those of the first batch come first.
        let mut keys: Vec<_> = self.new_keys(messages, &before).await.into_iter().collect();
        keys.sort_by_key(|key| key.parse::<MessageKey>().unwrap().sequence);
        let mut keys = keys.into_iter();
        for (batch, (draft, position)) in published.into_iter().zip(sent) {
            let own = keys.by_ref().take(draft.messages.len()).collect();
            self.was_published(lane, batch, &draft, position, own);
        }
    }

    /// What the lane's batch must have put, and what its cursor must say behind it.
    fn was_published(&mut self, lane: usize, batch: BatchId, draft: &Draft, position: Value, keys: BTreeSet<String>) {
        assert!(keys.iter().all(|key| key.parse::<MessageKey>().unwrap().published_ms == FUTURE_MS));
        let cursor = &mut self.cursors[lane];
        assert_eq!((batch.lane.as_str(), &batch.run, batch.n), (LANES[lane], &cursor.run, cursor.n + 1));
        (cursor.n, cursor.rows, cursor.position) = (batch.n, cursor.rows + draft.rows, position);
        let lines = draft.messages.iter().flat_map(lines_of).collect();
        self.waiting.insert(batch, Batch { lines, keys, holder: None, attempts: 0 });
    }

    /// The messages that were not there before; there must be so many.
    async fn new_keys(&mut self, count: usize, before: &BTreeSet<String>) -> BTreeSet<String> {
        let now = self.keys_below(&self.keys.messages()).await;
        let keys: BTreeSet<String> = now.difference(before).cloned().collect();
        assert_eq!(keys.len(), count);
        for key in &keys {
            let key: MessageKey = key.parse().unwrap();
            assert!(self.sequences.insert(key.sequence), "sequence {} comes twice", key.sequence);
        }
        keys
    }

    /// The rows go to the dead letters, and leave the queue as stored ones do.
    async fn bury(&mut self, consumer: &Consumer, claimed: Claimed) {
        let acknowledged = consumer.ack(&claimed, None).await.unwrap();
        let batch = self.waiting.remove(&claimed.batch);
        assert_eq!(acknowledged, batch.is_some(), "acknowledged once: {:?}", claimed.batch);
        if let Some(batch) = batch {
            let read = lines(&claimed);
            self.expired.extend(batch.lines.iter().filter(|line| !read.contains(line)));
            self.dead.push(read);
            self.gone.push(claimed);
        }
    }

    /// Publishes every return that the cursor does not know yet. Whoever did so before is fenced by the opening.
    async fn redrive(&mut self) {
        let mut lane = Lane::open(&self.client, &self.keys, REDRIVE, &json!(0), TTL).await.unwrap();
        let done = lane.cursor().position.as_u64().unwrap();
        for (number, rows) in self.returns.clone().iter().enumerate().skip(usize::try_from(done).unwrap()) {
            let draft = draft_of(rows.iter().map(|row| body("again", &[*row])).collect());
            let before = self.keys_below(&self.keys.messages()).await;
            if draft.messages.is_empty() {
                // All of it had expired: there is nothing to send, and the next return says so as well.
                continue;
            }
            let batch = lane.publish(&draft, &json!(number + 1)).await.unwrap();
            let keys = self.new_keys(draft.messages.len(), &before).await;
            self.waiting.insert(batch, Batch { lines: rows.clone(), keys, holder: None, attempts: 0 });
        }
    }

    /// In a full etcd nobody publishes and nobody claims; batches are read and acknowledged all the same, whoever holds
    /// them (I6). Then there is room again, and what waited is published.
    async fn fill_up(&mut self, lane: usize, hosts: &[u8], drained: usize) {
        let filler = vec![b'x'; 1 << 20];
        let full = loop {
            let put = TxnOp::put(FILLER, filler.clone(), None::<PutOptions>);
            if let Err(error) = self.client.txn(Txn::new().and_then([put])).await {
                break error;
            }
        };
        assert!(matches!(full, Error::NoSpace), "{full}");
        assert!(matches!(self.client.grant(TTL).await, Err(Error::NoSpace)));
        let (draft, position) = (self.draft(hosts), json!(self.published));
        let before = self.keys_below(&self.keys.messages()).await;
        let newcomer = Consumer::new(self.client.clone(), self.keys.clone(), "newcomer");
        // Out of the world for as long as it publishes.
        let mut publisher = self.lanes.remove(lane);
        let mut publishing = Box::pin(publisher.publish(&draft, &position));
        let mut left = before.clone();
        tokio::select! {
            biased;
            outcome = &mut publishing => panic!("published into a full etcd: {outcome:?}"),
            () = async {
                for (batch, manifest, revision) in batches(&self.client, &self.keys).await.into_iter().take(drained) {
                    let free = self.waiting[&batch].holder.is_none();
                    let claim = newcomer.claim(&batch, &manifest, revision, self.members[0].lease).await;
                    match free {
                        true => assert!(matches!(claim, Err(Error::NoSpace)), "claimed in a full etcd: {claim:?}"),
                        false => assert!(matches!(claim, Ok(Outcome::Taken) | Err(Error::NoSpace)), "{claim:?}"),
                    }
                    let read = claimed(newcomer.read(&batch, &manifest, revision).await.unwrap());
                    assert_eq!(read.attempt, 0);
                    left.retain(|key| !read.messages.iter().any(|(own, _)| own == key));
                    self.ack(&newcomer, read, false).await;
                    self.compare_all_but_cursors().await;
                }
            } => {}
        }
        self.make_room().await;
        let batch = publishing.as_mut().await.unwrap();
        drop(publishing);
        self.lanes.insert(lane, publisher);
        let keys = self.new_keys(draft.messages.len(), &left).await;
        self.was_published(lane, batch, &draft, position, keys);
    }

    async fn make_room(&self) {
        self.client.txn(Txn::new().and_then([TxnOp::delete(FILLER, None)])).await.unwrap();
        let revision = self.client.list(&self.keys.lanes(), 1).await.unwrap().revision;
        self.client.compact(revision, true).await.unwrap();
        self.client.defragment().await.unwrap();
        self.client.disarm().await.unwrap();
        assert!(!self.client.out_of_space().await.unwrap());
    }

    async fn claim(&mut self, member: usize, which: usize) {
        // Now and then one that is gone.
        let (waiting, gone) = (self.waiting.len(), self.gone.len());
        if waiting + gone == 0 {
            return;
        }
        let index = which % (waiting + gone.min(1));
        let member = &mut self.members[member];
        let Some((id, batch)) = self.waiting.iter_mut().nth(index) else {
            let old = &self.gone[which % gone];
            let outcome = member.consumer.claim(&old.batch, &old.manifest, old.revision, member.lease).await.unwrap();
            assert!(matches!(outcome, Outcome::Gone), "{outcome:?}");
            return;
        };
        let found = batches(&self.client, &self.keys).await;
        let (_, manifest, revision) = found.iter().find(|(found, ..)| found == id).unwrap();
        let outcome = member.consumer.claim(id, manifest, *revision, member.lease).await.unwrap();
        if batch.holder.as_ref().is_some_and(|holder| *holder != member.id) {
            assert!(matches!(outcome, Outcome::Taken), "held by {:?}: {outcome:?}", batch.holder);
            return;
        }
        if batch.holder.is_none() {
            batch.attempts += 1;
            batch.holder = Some(member.id.clone());
        }
        let claimed = claimed(outcome);
        let there = if batch.keys.is_empty() { Vec::new() } else { batch.lines.clone() };
        assert_eq!((lines(&claimed), claimed.attempt), (there, batch.attempts));
        assert_eq!(claimed.manifest.rows as usize, batch.lines.len());
        member.held.retain(|held| held.batch != claimed.batch);
        member.held.push(claimed);
    }

    async fn ack(&mut self, consumer: &Consumer, claimed: Claimed, feed: bool) {
        let feed = feed.then(|| claimed.batch.to_string());
        let acknowledged = consumer.ack(&claimed, feed.as_ref().map(String::as_bytes)).await.unwrap();
        let batch = self.waiting.remove(&claimed.batch);
        assert_eq!(acknowledged, batch.is_some(), "acknowledged once: {:?}", claimed.batch);
        if let Some(batch) = batch {
            let read = lines(&claimed);
            self.expired.extend(batch.lines.iter().filter(|line| !read.contains(line)));
            self.stored.extend(read);
            self.gone.push(claimed);
        }
    }

    async fn expire(&mut self, which: usize) {
        let found = batches(&self.client, &self.keys).await;
        let Some((_, manifest, _)) = found.get(which % found.len().max(1)) else { return };
        let _ = self.client.revoke(manifest.lease).await;
        for (batch, other, _) in &found {
            if other.lease == manifest.lease {
                self.waiting.get_mut(batch).unwrap().keys.clear();
            }
        }
    }

    /// Every key of every family is as the model says, and there is no other.
    async fn compare(&self) {
        self.compare_all_but_cursors().await;
        for (name, expected) in LANES.iter().zip(&self.cursors) {
            let found = Lane::look(&self.client, &self.keys, name).await.unwrap().unwrap();
            assert_eq!(found, *expected);
        }
    }

    async fn compare_all_but_cursors(&self) {
        let all = |of: fn(&Batch) -> bool| self.waiting.iter().filter(move |(_, batch)| of(batch));
        let messages: BTreeSet<_> = self.waiting.values().flat_map(|batch| batch.keys.iter().cloned()).collect();
        assert_eq!(self.keys_below(&self.keys.messages()).await, messages);
        let manifests: BTreeSet<_> = self.waiting.keys().map(|batch| self.keys.manifest(batch)).collect();
        assert_eq!(self.keys_below(&self.keys.manifests()).await, manifests);
        let claims: BTreeMap<_, _> = all(|batch| batch.holder.is_some())
            .map(|(id, batch)| (self.keys.claim(id), batch.holder.clone().unwrap_or_default()))
            .collect();
        assert_eq!(self.values_below(&self.keys.claims()).await, claims);
        let attempts: BTreeMap<_, _> = all(|batch| batch.attempts > 0)
            .map(|(id, batch)| (self.keys.attempt(id), format!("{{\"v\":1,\"attempts\":{}}}", batch.attempts)))
            .collect();
        assert_eq!(self.values_below(&format!("/telemetry/attempt/{}/", self.keys.cluster_id())).await, attempts);
    }

    /// Whoever still lives acknowledges what it holds, and a newcomer the rest: then every row is accounted for.
    async fn drain(mut self) {
        for index in 0..CONSUMERS {
            let consumer = self.members[index].consumer.clone();
            for held in std::mem::take(&mut self.members[index].held) {
                self.ack(&consumer, held, false).await;
            }
            self.compare().await;
        }
        // Whatever was noted to be sent again is.
        self.redrive().await;
        let newcomer = self.member().await;
        for (batch, manifest, revision) in batches(&self.client, &self.keys).await {
            let outcome = newcomer.consumer.claim(&batch, &manifest, revision, newcomer.lease).await.unwrap();
            self.ack(&newcomer.consumer, claimed(outcome), false).await;
        }
        self.compare().await;
        let mut accounted = [self.stored, self.expired, self.dead.concat()].concat();
        accounted.sort_unstable();
        assert_eq!(
            accounted,
            (0..self.published).collect::<Vec<_>>(),
            "each published row once: stored, expired or dead"
        );
        assert!(self.waiting.is_empty());
    }

    async fn keys_below(&self, prefix: &str) -> BTreeSet<String> {
        self.values_below(prefix).await.into_keys().collect()
    }

    async fn values_below(&self, prefix: &str) -> BTreeMap<String, String> {
        let found = self.client.list(prefix, usize::MAX).await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        found.kvs.iter().map(|kv| (text(kv.key()), text(kv.value()))).collect()
    }
}

/// Takes one of them out, by a number that knows nothing of how many there are.
fn take<T>(from: &mut Vec<T>, which: usize) -> Option<T> {
    let index = which.checked_rem(from.len())?;
    Some(from.swap_remove(index))
}
