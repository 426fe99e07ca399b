//! Several families as they stood at one moment.

use etcd_client::{GetOptions, KeyValue, Txn, TxnOp};

use super::client::prefix_end;
use super::{Client, Result};

/// Keys an answer holds at most.
const PAGE: usize = 5_000;

impl Client {
    /// Hands everything below each of the prefixes to `take`, with the prefix's place in the list, as all of it stood at
    /// the one revision that is returned: the first pages in one transaction, further ones at its revision.
    ///
    /// # Errors
    /// As etcd answers; [`super::Error::Compacted`] when the revision went away meanwhile: forget what was taken, and
    /// begin again.
    pub async fn snapshot(&self, prefixes: &[&str], mut take: impl FnMut(usize, &KeyValue)) -> Result<i64> {
        let page = |from: Vec<u8>, prefix: &str| {
            let options = GetOptions::new().with_range(prefix_end(prefix)).with_limit(PAGE as i64);
            (from, options)
        };
        let first = prefixes.iter().map(|prefix| {
            let (from, options) = page(prefix.as_bytes().to_vec(), prefix);
            TxnOp::get(from, Some(options))
        });
        let answer = self.txn(Txn::new().and_then(first.collect::<Vec<_>>())).await?;
        for (place, (prefix, mut found)) in prefixes.iter().zip(answer.found).enumerate() {
            loop {
                found.kvs.iter().for_each(|kv| take(place, kv));
                let Some(last) = found.kvs.last().filter(|_| found.more) else { break };
                let (from, options) = page([last.key(), &[0]].concat(), prefix);
                found = self.page(from, options.with_revision(answer.revision)).await?;
            }
        }
        Ok(answer.revision)
    }
}
