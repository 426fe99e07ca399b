//! What a transaction came to.

use etcd_client::proto::PbTxnOpResponse;
use etcd_client::{KeyValue, TxnResponse};

use super::client::Found;

/// What a transaction came to.
#[derive(Debug, Default)]
pub struct Answer {
    /// Whether its conditions held, so that its first list of operations was carried out and not the other.
    pub succeeded: bool,
    /// The store's revision: the transaction's own, if it wrote.
    pub revision: i64,
    /// What its reads found, in the order of its operations.
    pub found: Vec<Found>,
}

impl From<TxnResponse> for Answer {
    /// Takes the answer apart: [`TxnResponse::op_responses`] copies every key and value of it.
    fn from(TxnResponse(answer): TxnResponse) -> Self {
        let revision = answer.header.map_or(0, |header| header.revision);
        let found = answer.responses.into_iter().filter_map(|response| match response.response? {
            PbTxnOpResponse::ResponseRange(range) => {
                let kvs = range.kvs.into_iter().map(KeyValue).collect();
                Some(Found { revision, kvs, more: range.more })
            }
            _ => None,
        });
        Answer { succeeded: answer.succeeded, revision, found: found.collect() }
    }
}

impl Answer {
    /// What each read found, to be taken one after the other.
    pub fn into_reads(self) -> impl Iterator<Item = Vec<KeyValue>> {
        self.found.into_iter().map(|found| found.kvs)
    }
}
