//! CLAIM, ACK and RELEASE: a batch goes into one pair of hands, and leaves etcd when it is stored.

use super::attempt::Attempts;
use super::{BatchId, Claimed, Keys, Manifest, Outcome};
use crate::etcd::{Client, Compare, CompareOp, Error, GetOptions, KeyValue, PutOptions, Result, Txn, TxnOp};
use crate::failpoint;

/// A consumer's side of the queue.
#[derive(Debug, Clone)]
pub struct Consumer {
    client: Client,
    keys: Keys,
    id: String,
}

impl Consumer {
    /// A consumer with this id: random at each process start.
    pub fn new(client: Client, keys: Keys, id: impl Into<String>) -> Self {
        Consumer { client, keys, id: id.into() }
    }

    /// Claims a batch whose manifest was written at `revision`, and reads its messages in the same transaction.
    ///
    /// # Errors
    /// As etcd answers. A claim that ended in an error may stand: claiming again finds it.
    pub async fn claim(&self, batch: &BatchId, manifest: &Manifest, revision: i64, lease: i64) -> Result<Outcome> {
        let mut attempts = Attempts::default();
        // A second round knows the attempt key, a third one that somebody else is quicker.
        for _ in 0..3 {
            match self.try_claim(batch, manifest, revision, lease, attempts).await? {
                Tried::Done(outcome) => return Ok(outcome),
                Tried::Known(known) => attempts = known,
            }
        }
        Ok(Outcome::Taken)
    }

    async fn try_claim(
        &self,
        batch: &BatchId,
        manifest: &Manifest,
        revision: i64,
        lease: i64,
        attempts: Attempts,
    ) -> Result<Tried> {
        let (claim, attempt, name) = (self.keys.claim(batch), self.keys.attempt(batch), self.keys.manifest(batch));
        let txn = Txn::new()
            .when([
                Compare::create_revision(claim.as_str(), CompareOp::Equal, 0),
                Compare::mod_revision(name.as_str(), CompareOp::Equal, revision),
                Compare::mod_revision(attempt.as_str(), CompareOp::Equal, attempts.revision),
            ])
            .and_then([
                TxnOp::put(claim.as_str(), self.id.as_str(), Some(PutOptions::new().with_lease(lease))),
                TxnOp::put(attempt.as_str(), Attempts::encode(attempts.count + 1), None),
                range(manifest),
            ])
            .or_else([
                TxnOp::get(claim.as_str(), None),
                TxnOp::get(name.as_str(), None),
                TxnOp::get(attempt.as_str(), None),
                range(manifest),
            ]);
        failpoint::here("claim.begin");
        let answer = self.client.txn(txn).await?;
        failpoint::here("claim.committed");
        let (succeeded, mut reads) = (answer.succeeded, answer.into_reads());
        let mut next = || reads.next().unwrap_or_default();
        let claimed = |kvs: Vec<KeyValue>, attempt| {
            let messages = published_at(kvs, revision);
            let (batch, manifest) = (batch.clone(), manifest.clone());
            Tried::Done(Outcome::Claimed(Claimed { batch, manifest, revision, messages, attempt }))
        };
        if succeeded {
            return Ok(claimed(next(), attempts.count + 1));
        }
        let (holder, stored, known, messages) = (next(), next(), Attempts::of(next().first()), next());
        if stored.first().map(KeyValue::mod_revision) != Some(revision) {
            return Ok(Tried::Done(Outcome::Gone));
        }
        match holder.first() {
            // Ours: a claim that timed out had committed.
            Some(holder) if holder.value() == self.id.as_bytes() => Ok(claimed(messages, known.count)),
            Some(_) => Ok(Tried::Done(Outcome::Taken)),
            None => Ok(Tried::Known(known)),
        }
    }

    /// Reads a batch without claiming it: all that is possible while etcd is full, when nobody claims.
    ///
    /// # Errors
    /// As etcd answers.
    pub async fn read(&self, batch: &BatchId, manifest: &Manifest, revision: i64) -> Result<Outcome> {
        let txn = Txn::new()
            .when([Compare::mod_revision(self.keys.manifest(batch), CompareOp::Equal, revision)])
            .and_then([range(manifest)]);
        let answer = self.client.txn(txn).await?;
        if !answer.succeeded {
            return Ok(Outcome::Gone);
        }
        let messages = published_at(answer.into_reads().next().unwrap_or_default(), revision);
        let (batch, manifest) = (batch.clone(), manifest.clone());
        Ok(Outcome::Claimed(Claimed { batch, manifest, revision, messages, attempt: 0 }))
    }

    /// Deletes a stored batch from etcd: each message by name, manifest, claim and attempt, and puts the feed if one is
    /// given, in one transaction. `false`: somebody else did it before; nothing was done, and nothing is wrong.
    ///
    /// A server may take a batch and not its acknowledgement, which has two operations more. Then half of the messages go first, and
    /// the other half; whoever claims the batch in between finds fewer messages, and in the ledger that all were stored.
    ///
    /// Call it only after the batch's rows are committed. Repeating it is harmless.
    ///
    /// # Errors
    /// As etcd answers; [`Error::NoSpace`] only when a feed was given; [`Error::TooLarge`] where the feed is.
    pub async fn ack(&self, claimed: &Claimed, feed: Option<&[u8]>) -> Result<bool> {
        let delete = |(key, _): &(String, Vec<u8>)| TxnOp::delete(key.as_str(), None);
        let last = || {
            let (manifest, claim) = (self.keys.manifest(&claimed.batch), self.keys.claim(&claimed.batch));
            let rest = [manifest, claim, self.keys.attempt(&claimed.batch)].map(|key| TxnOp::delete(key, None));
            rest.into_iter().chain(feed.map(|feed| TxnOp::put(self.keys.feed(), feed, None)))
        };
        let Claimed { messages, .. } = claimed;
        match self.while_it_stands(claimed, messages.iter().map(delete).chain(last()).collect()).await {
            Err(Error::TooLarge(_)) if !messages.is_empty() => {
                for half in messages.chunks(messages.len().div_ceil(2)) {
                    if !self.while_it_stands(claimed, half.iter().map(delete).collect()).await? {
                        return Ok(false);
                    }
                }
                self.while_it_stands(claimed, last().collect()).await
            }
            acknowledged => acknowledged,
        }
    }

    /// Does this, unless the batch is gone: then `false`.
    async fn while_it_stands(&self, claimed: &Claimed, work: Vec<TxnOp>) -> Result<bool> {
        let name = self.keys.manifest(&claimed.batch);
        let txn = Txn::new().when([Compare::mod_revision(name, CompareOp::Equal, claimed.revision)]).and_then(work);
        failpoint::here("ack.begin");
        let answer = self.client.txn(txn).await?;
        failpoint::here("ack.committed");
        Ok(answer.succeeded)
    }

    /// Gives a claimed batch back untouched: no attempt is counted. A claim that is not ours (any more) stays.
    ///
    /// # Errors
    /// As etcd answers; a claim that could not be given back goes with the session.
    pub async fn release(&self, claimed: &Claimed) -> Result<()> {
        let (claim, attempt) = (self.keys.claim(&claimed.batch), self.keys.attempt(&claimed.batch));
        let put_back = match claimed.attempt {
            0 => return Ok(()),
            1 => TxnOp::delete(attempt.as_str(), None),
            more => TxnOp::put(attempt.as_str(), Attempts::encode(more - 1), None),
        };
        let txn = Txn::new()
            .when([Compare::value(claim.as_str(), CompareOp::Equal, self.id.as_str())])
            .and_then([TxnOp::delete(claim.as_str(), None), put_back]);
        failpoint::here("release.begin");
        let answer = self.client.txn(txn).await;
        failpoint::here("release.committed");
        match answer {
            // A full etcd takes no put: let the claim go, the attempt stays counted.
            Err(Error::NoSpace) => {
                let delete = Txn::new()
                    .when([Compare::value(claim.as_str(), CompareOp::Equal, self.id.as_str())])
                    .and_then([TxnOp::delete(claim.as_str(), None)]);
                self.client.txn(delete).await.map(drop)
            }
            answer => answer.map(drop),
        }
    }
}

#[expect(clippy::large_enum_variant, reason = "moved once, from the claim into the flight")]
enum Tried {
    Done(Outcome),
    /// The attempt key was not where we thought: try again with this.
    Known(Attempts),
}

/// All keys from the batch's first message to its last.
fn range(manifest: &Manifest) -> TxnOp {
    let behind_last = [manifest.last.as_bytes(), &[0]].concat();
    TxnOp::get(manifest.first.as_str(), Some(GetOptions::new().with_range(behind_last)))
}

/// The messages that the manifest's own transaction put: other lanes' keys may lie between.
fn published_at(kvs: Vec<KeyValue>, revision: i64) -> Vec<(String, Vec<u8>)> {
    kvs.into_iter()
        .filter(|kv| kv.mod_revision() == revision)
        .map(|kv| {
            let (key, value) = kv.into_key_value();
            (text(key), value)
        })
        .collect()
}

/// Our keys are text; a stranger's among them is shown as well as may be.
fn text(key: Vec<u8>) -> String {
    String::from_utf8(key).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}
